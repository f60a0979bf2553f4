package kube

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
)

const (
	// largeEvent is the size in bytes from which an event of a watch is made slim
	// before it is decoded. As a rule pods are smaller.
	largeEvent = 16 << 10
	// largestEvent is the size from which client-go's decoder refuses an event.
	largestEvent = 16 << 20
	// maxDistinct is how many names of pull secrets are compared: as many as are
	// examined of a pod (podwatch), so that the number of the others stays right.
	maxDistinct = 32
)

// slimSerializer is a serializer whose watches decode less of large pods: no managed
// fields, and a pull secret that is named twice once. A pod may name one 100,000 times,
// and each of its events would keep those of other pods waiting.
type slimSerializer struct{ runtime.NegotiatedSerializer }

// SupportedMediaTypes implements runtime.NegotiatedSerializer.
func (s slimSerializer) SupportedMediaTypes() []runtime.SerializerInfo {
	all := slices.Clone(s.NegotiatedSerializer.SupportedMediaTypes())
	for i := range all {
		if of := all[i].StreamSerializer; of != nil && all[i].MediaType == runtime.ContentTypeProtobuf {
			stream := *of
			stream.Framer = slimFramer{of.Framer}
			all[i].StreamSerializer = &stream
		}
	}
	return all
}

type slimFramer struct{ runtime.Framer }

// NewFrameReader implements runtime.Framer.
func (slimFramer) NewFrameReader(r io.ReadCloser) io.ReadCloser { return &slimReader{ReadCloser: r} }

// slimReader reads frames, each of which its length precedes, and makes large ones slim.
type slimReader struct {
	io.ReadCloser

	frame io.Reader
	left  int // of the frame, in bytes
}

// Read implements runtime.Framer's contract: it reads no more than one frame, and
// returns io.ErrShortBuffer if there is more of it.
func (r *slimReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n, err := io.ReadFull(r.frame, p[:min(len(p), r.left)])
	switch r.left -= n; {
	case err == nil && r.left > 0:
		err = io.ErrShortBuffer
	case r.left == 0:
		r.frame = nil // a large one is not kept
	}
	return n, err
}

// next begins the next frame.
func (r *slimReader) next() error {
	var header [4]byte
	if _, err := io.ReadFull(r.ReadCloser, header[:]); err != nil {
		return err
	}
	r.frame, r.left = r.ReadCloser, int(binary.BigEndian.Uint32(header[:]))
	if r.left < largeEvent || r.left > largestEvent {
		return nil
	}
	event := make([]byte, r.left)
	switch _, err := io.ReadFull(r.ReadCloser, event); {
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	}
	event, err := slimEvent(event)
	if err != nil {
		return err
	}
	r.frame, r.left = bytes.NewReader(event), len(event)
	return nil
}

// errMalformed is the error for an event that is no protobuf.
var errMalformed = errors.New("malformed event of a watch")

// The numbers of fields, by the messages they are in.
const (
	eventObject   uint64 = 2  // WatchEvent
	extensionRaw  uint64 = 1  // RawExtension
	unknownType   uint64 = 1  // Unknown
	unknownRaw    uint64 = 2  // Unknown
	podMetadata   uint64 = 1  // Pod
	podSpec       uint64 = 2  // Pod
	managedFields uint64 = 17 // ObjectMeta
	pullSecrets   uint64 = 15 // PodSpec
	referenceName uint64 = 1  // LocalObjectReference
)

// magic precedes each object in protobuf, and podType is a Pod's TypeMeta.
const (
	magic   = "k8s\x00"
	podType = "\x0a\x02v1\x12\x03Pod"
)

// slimEvent makes an event slim, in place, if it is about a pod.
func slimEvent(event []byte) ([]byte, error) {
	return within(eventObject, within(extensionRaw, func(raw []byte) ([]byte, error) {
		object, found := bytes.CutPrefix(raw, []byte(magic))
		if !found {
			return raw, nil
		}
		isPod := false
		slim, err := rewrite(object, func(number uint64, value []byte) ([]byte, bool, error) {
			switch {
			case number == unknownType:
				isPod = string(value) == podType
			case number == unknownRaw && isPod:
				slim, err := slimPod(value)
				return slim, true, err
			}
			return value, true, nil
		})
		return raw[:len(magic)+len(slim)], err
	}))(event)
}

func slimPod(pod []byte) ([]byte, error) {
	return rewrite(pod, func(number uint64, value []byte) (slim []byte, keep bool, err error) {
		slim = value
		switch number {
		case podMetadata:
			slim, err = rewrite(value, func(number uint64, value []byte) ([]byte, bool, error) {
				return value, number != managedFields, nil
			})
		case podSpec:
			slim, err = slimSpec(value)
		}
		return slim, true, err
	})
}

// slimSpec drops the pull secrets without a name, and those that are named again.
func slimSpec(spec []byte) ([]byte, error) {
	named := map[string]bool{}
	return rewrite(spec, func(number uint64, value []byte) ([]byte, bool, error) {
		if number != pullSecrets {
			return value, true, nil
		}
		name, err := nameOf(value)
		switch {
		case err != nil || len(name) == 0 || named[string(name)]:
			return nil, false, err
		case len(named) < maxDistinct:
			named[string(name)] = true
		}
		return value, true, nil
	})
}

// nameOf returns the name in a LocalObjectReference.
func nameOf(reference []byte) (name []byte, err error) {
	for len(reference) > 0 {
		number, tag, size, value := field(reference)
		if size < 0 {
			return nil, errMalformed
		}
		if number == referenceName && value != nil {
			name = value
		}
		reference = reference[tag+size:]
	}
	return name, nil
}

// edit returns what becomes of a field: no more than it was, or nothing.
type edit func(number uint64, value []byte) (slim []byte, keep bool, err error)

// within edits the messages in one field.
func within(field uint64, do func([]byte) ([]byte, error)) func([]byte) ([]byte, error) {
	return func(message []byte) ([]byte, error) {
		return rewrite(message, func(number uint64, value []byte) ([]byte, bool, error) {
			if number != field {
				return value, true, nil
			}
			slim, err := do(value)
			return slim, true, err
		})
	}
}

// rewrite edits the fields of a message that have a length, in place: what is written
// is never longer than what has been read.
func rewrite(message []byte, change edit) ([]byte, error) {
	out := message[:0]
	for rest := message; len(rest) > 0; {
		number, tag, size, value := field(rest)
		if size < 0 {
			return nil, errMalformed
		}
		whole := rest[:tag+size]
		rest = rest[tag+size:]
		if value == nil {
			out = append(out, whole...)
			continue
		}
		slim, keep, err := change(number, value)
		switch {
		case err != nil:
			return nil, err
		case keep:
			out = append(out, whole[:tag]...)
			out = binary.AppendUvarint(out, uint64(len(slim)))
			out = append(out, slim...)
		}
	}
	return out, nil
}

// The kinds of fields that Kubernetes' messages have.
const (
	kindVarint  = 0
	kindFixed64 = 1
	kindBytes   = 2
	kindFixed32 = 5
)

// field reads the first field of a message: its number, and the lengths of its tag and of
// what follows; size is negative if it is malformed. value is nil for one without a length.
func field(message []byte) (number uint64, tag, size int, value []byte) {
	key, tag := binary.Uvarint(message)
	if tag <= 0 {
		return 0, 0, -1, nil
	}
	rest := message[tag:]
	size = -1
	switch key & 7 {
	case kindVarint:
		if _, n := binary.Uvarint(rest); n > 0 {
			size = n
		}
	case kindFixed64:
		size = 8
	case kindFixed32:
		size = 4
	case kindBytes:
		if length, n := binary.Uvarint(rest); n > 0 && length <= uint64(len(rest)-n) { //nolint:gosec // neither is negative
			size = n + int(length) //nolint:gosec // it is no more than there is
			value = rest[n:size]
		}
	}
	if size > len(rest) {
		size = -1
	}
	return key >> 3, tag, size, value
}
