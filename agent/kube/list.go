package kube

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// readList reads a list of pods in protobuf, and returns one of what listed returns for
// each. Only one pod at a time is in memory: there may be 1.5 MB of each on a node, and an
// API server takes no notice of a limit on a list from its cache.
func readList(r io.Reader, listed func(*corev1.Pod) *metav1.PartialObjectMetadata) (runtime.Object, error) {
	list := &metav1.PartialObjectMetadataList{}
	var message []byte
	read := func(number int32, value *io.LimitedReader) (err error) {
		message, err = readAll(message, value)
		switch {
		case err != nil:
		case number == listMetadata:
			err = list.ListMeta.Unmarshal(message)
		case number == listItems:
			pod := &corev1.Pod{}
			if err = decodePod(pod, message); err == nil {
				list.Items = append(list.Items, *listed(pod))
			}
		}
		return err
	}
	start := make([]byte, len(magic))
	_, err := io.ReadFull(r, start)
	switch {
	case err != nil:
	case string(start) != magic:
		err = errMalformed
	default:
		err = eachField(r, func(number int32, value *io.LimitedReader) error {
			if number != unknownRaw {
				return nil
			}
			return eachField(value, read)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read the list of pods: %w", err)
	}
	return list, nil
}

// eachField calls do for each field of a message, all of which have a length. It skips what
// do does not read of the value.
func eachField(r io.Reader, do func(number int32, value *io.LimitedReader) error) error {
	b := bufio.NewReader(r)
	for {
		key, err := binary.ReadUvarint(b)
		if errors.Is(err, io.EOF) {
			return nil
		}
		var size uint64
		if err == nil {
			size, err = binary.ReadUvarint(b)
		}
		number, kind := protowire.DecodeTag(key)
		switch {
		case err != nil:
			return err
		case kind != protowire.BytesType, size > math.MaxInt64:
			return errMalformed
		}
		value := &io.LimitedReader{R: b, N: int64(size)}
		if err := do(int32(number), value); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, value); err != nil {
			return err
		}
		if value.N > 0 {
			return io.ErrUnexpectedEOF
		}
	}
}

// readAll reads a value that is not too large, into a buffer if that is large enough.
func readAll(buffer []byte, value *io.LimitedReader) ([]byte, error) {
	if value.N > largestEvent {
		return nil, errMalformed
	}
	buffer = slices.Grow(buffer[:0], int(value.N))[:value.N]
	_, err := io.ReadFull(value, buffer)
	return buffer, err
}

// decodePod decodes what is read of a pod.
func decodePod(pod *corev1.Pod, message []byte) error {
	message, err := slimPod(message)
	if err != nil {
		return err
	}
	return pod.Unmarshal(message)
}
