package kube

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// The types of an Event.
const (
	EventNormal  = "Normal"
	EventWarning = "Warning"
)

// Event is the part of an Event of events.k8s.io/v1 that whypull writes.
type Event struct {
	metav1.ObjectMeta   `json:"metadata"`
	EventTime           metav1.MicroTime `json:"eventTime"`
	ReportingController string           `json:"reportingController"`
	ReportingInstance   string           `json:"reportingInstance"`
	Action              string           `json:"action"`
	Reason              string           `json:"reason"`
	Regarding           Regarding        `json:"regarding"`
	Note                string           `json:"note"`
	Type                string           `json:"type"`
}

// Regarding is the object that an Event is about (core/v1 ObjectReference).
type Regarding struct {
	APIVersion string    `json:"apiVersion,omitempty"`
	Kind       string    `json:"kind,omitempty"`
	Namespace  string    `json:"namespace,omitempty"`
	Name       string    `json:"name,omitempty"`
	UID        types.UID `json:"uid,omitempty"`
	FieldPath  string    `json:"fieldPath,omitempty"`
}

// Event creates an Event. It returns nil if one of that name already exists,
// and leaves that one unchanged.
func (c *Client) Event(ctx context.Context, e *Event) error {
	err := c.postEvent(ctx, e, &metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (c *Client) postEvent(ctx context.Context, e *Event, o *metav1.CreateOptions) error {
	_, err := post(ctx, c.events.Post().Namespace(e.Namespace).Resource("events").VersionedParams(o, metav1.ParameterCodec), struct {
		metav1.TypeMeta
		*Event
	}{metav1.TypeMeta{APIVersion: "events.k8s.io/v1", Kind: "Event"}, e})
	return err
}

// post sends an object in JSON and returns the response in JSON.
func post(ctx context.Context, r *rest.Request, object any) ([]byte, error) {
	body, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	answer := r.SetHeader("Content-Type", runtime.ContentTypeJSON).SetHeader("Accept", runtime.ContentTypeJSON).Body(body).Do(ctx)
	if err := answer.Error(); err != nil { // more specific than Raw's error
		return nil, err
	}
	return answer.Raw()
}
