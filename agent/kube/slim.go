package kube

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	// keptBuffer is the size in bytes up to which the buffer for events is kept. As a rule
	// pods are smaller.
	keptBuffer = 16 << 10
	// largestEvent is the size from which client-go's decoder refuses an event.
	largestEvent = 16 << 20
	// maxDistinct is how many names of pull secrets are compared: as many as are
	// examined of a pod (podwatch), so that the number of the others stays right. No more
	// image volumes are decoded, of which half as many are examined.
	maxDistinct = 32
)

// slimSerializer is a serializer whose watches decode of pods only what is read
// (podParts), which is less than half of a usual one. Decoded, a pod may take twenty times
// its size, and one that names a pull secret 100,000 times would keep other pods' events
// waiting.
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

// slimReader reads frames, each of which its length precedes, and makes them slim.
type slimReader struct {
	io.ReadCloser

	frame  []byte // what is left of it
	buffer []byte
}

// Read implements runtime.Framer's contract: it reads no more than one frame, and
// returns io.ErrShortBuffer if there is more of it.
func (r *slimReader) Read(p []byte) (int, error) {
	if len(r.frame) == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.frame)
	if r.frame = r.frame[n:]; len(r.frame) > 0 {
		return n, io.ErrShortBuffer
	}
	return n, nil
}

// next reads the next frame.
func (r *slimReader) next() error {
	var header [4]byte
	if _, err := io.ReadFull(r.ReadCloser, header[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(header[:])
	if size > largestEvent {
		return errMalformed
	}
	if cap(r.buffer) > keptBuffer && size <= keptBuffer {
		r.buffer = nil
	}
	r.buffer = slices.Grow(r.buffer[:0], int(size))[:size]
	_, err := io.ReadFull(r.ReadCloser, r.buffer)
	switch {
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	}
	r.frame, err = slimEvent(r.buffer)
	return err
}

// errMalformed is the error for what is no protobuf.
var errMalformed = errors.New("malformed protobuf")

// The numbers of fields, by the messages they are in.
const (
	eventObject   int32 = 2  // WatchEvent
	extensionRaw  int32 = 1  // RawExtension
	unknownType   int32 = 1  // Unknown
	unknownRaw    int32 = 2  // Unknown
	listMetadata  int32 = 1  // PodList
	listItems     int32 = 2  // PodList
	podSpec       int32 = 2  // Pod
	pullSecrets   int32 = 15 // PodSpec
	referenceName int32 = 1  // LocalObjectReference
	volumes       int32 = 1  // PodSpec
	volumeSource  int32 = 2  // Volume
	imageSource   int32 = 30 // VolumeSource
)

// part is a field that is decoded, by its number, and which fields are of the message in
// it: all if parts is nil. Numbers and booleans always are.
type part struct {
	number int32
	parts  []part
}

// podParts is what podwatch reads of a pod.
var podParts = []part{ //nolint:gochecknoglobals // never written
	{1, []part{ // metadata
		{1, nil},  // name
		{3, nil},  // namespace
		{5, nil},  // uid
		{6, nil},  // resourceVersion
		{8, nil},  // creationTimestamp
		{9, nil},  // deletionTimestamp
		{11, nil}, // labels
		{12, nil}, // annotations
		{13, []part{ // ownerReferences
			{1, nil}, // kind
			{3, nil}, // name
			{5, nil}, // apiVersion
		}},
	}},
	{podSpec, []part{
		{volumes, []part{
			{1, nil}, // name
			{volumeSource, []part{{imageSource, nil}}},
		}},
		{2, containerParts}, // containers
		{8, nil},            // serviceAccountName
		{10, nil},           // nodeName
		{pullSecrets, nil},
		{20, containerParts}, // initContainers
		{26, []part{ // dnsConfig
			{1, nil}, // nameservers
		}},
		{28, nil}, // readinessGates
		{34, []part{ // ephemeralContainers
			{1, containerParts},
		}},
	}},
	{3, []part{ // status
		{1, nil},          // phase
		{2, nil},          // conditions
		{8, statusParts},  // containerStatuses
		{10, statusParts}, // initContainerStatuses
		{13, statusParts}, // ephemeralContainerStatuses
	}},
}

var containerParts = []part{ //nolint:gochecknoglobals // never written
	{1, nil}, // name
	{2, nil}, // image
	{9, []part{ // volumeMounts
		{1, nil}, // name
	}},
	{14, nil}, // imagePullPolicy
	{24, nil}, // restartPolicy
}

var statusParts = []part{ //nolint:gochecknoglobals // never written
	{1, nil}, // name
	{2, nil}, // state
}

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
		slim, err := rewrite(object, func(number int32, value []byte) ([]byte, bool, error) {
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
	pod, err := only(podParts, pod)
	if err != nil {
		return nil, err
	}
	return within(podSpec, slimSpec)(pod)
}

// only drops what is not among the parts of a message.
func only(parts []part, message []byte) ([]byte, error) {
	if parts == nil {
		return message, nil
	}
	return rewrite(message, func(number int32, value []byte) ([]byte, bool, error) {
		for _, p := range parts {
			if p.number == number {
				slim, err := only(p.parts, value)
				return slim, true, err
			}
		}
		return nil, false, nil
	})
}

// slimSpec drops the pull secrets without a name, those that are named again, and the
// volumes that are no images.
func slimSpec(spec []byte) ([]byte, error) {
	named, images := map[string]bool{}, 0
	return rewrite(spec, func(number int32, value []byte) ([]byte, bool, error) {
		switch number {
		case pullSecrets:
			name, err := find(value, referenceName)
			if err != nil || len(name) == 0 || named[string(name)] {
				return nil, false, err
			}
			if len(named) < maxDistinct {
				named[string(name)] = true
			}
		case volumes:
			source, err := find(value, volumeSource)
			if err == nil {
				source, err = find(source, imageSource)
			}
			if err != nil || source == nil || images == maxDistinct {
				return nil, false, err
			}
			images++
		}
		return value, true, nil
	})
}

// find returns the value of a field; nil if there is none.
func find(message []byte, wanted int32) (found []byte, err error) {
	for len(message) > 0 {
		number, _, size, value := field(message)
		if size < 0 {
			return nil, errMalformed
		}
		if number == wanted && value != nil {
			found = value
		}
		message = message[size:]
	}
	return found, nil
}

// edit returns what becomes of a field: no more than it was, or nothing.
type edit func(number int32, value []byte) (slim []byte, keep bool, err error)

// within edits the messages in one field.
func within(field int32, do func([]byte) ([]byte, error)) func([]byte) ([]byte, error) {
	return func(message []byte) ([]byte, error) {
		return rewrite(message, func(number int32, value []byte) ([]byte, bool, error) {
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
		whole := rest[:size]
		rest = rest[size:]
		if value == nil {
			out = append(out, whole...)
			continue
		}
		slim, keep, err := change(number, value)
		switch {
		case err != nil:
			return nil, err
		case keep:
			out = protowire.AppendBytes(append(out, whole[:tag]...), slim)
		}
	}
	return out, nil
}

// field reads the first field of a message: its number, the size of its tag, and that of
// all of it, which is negative if it is malformed. value is nil for one without a length.
func field(message []byte) (number int32, tag, size int, value []byte) {
	n, kind, tag := protowire.ConsumeTag(message)
	if tag < 0 {
		return 0, 0, tag, nil
	}
	size = protowire.ConsumeFieldValue(n, kind, message[tag:])
	if size < 0 {
		return 0, 0, size, nil
	}
	if kind == protowire.BytesType {
		value, _ = protowire.ConsumeBytes(message[tag:])
	}
	return int32(n), tag, tag + size, value
}
