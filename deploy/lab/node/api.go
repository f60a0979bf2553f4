package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// apiClient sends the API server the few requests that show when the lab is ready.
type apiClient struct {
	http *http.Client
	// started is when this run of the lab started: the API server also remembers the
	// heartbeats of earlier runs.
	started time.Time
}

func newAPIClient() (*apiClient, error) {
	authority, err := os.ReadFile(pkiDir + "/ca.crt")
	if err != nil {
		return nil, fmt.Errorf("cluster authority: %w", err)
	}
	certificate, err := tls.LoadX509KeyPair(pkiDir+"/admin.crt", pkiDir+"/admin.key")
	if err != nil {
		return nil, fmt.Errorf("administrator's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	config := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	return &apiClient{
		http:    &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 10 * time.Second},
		started: time.Now().Truncate(time.Second), // the API has a resolution of one second
	}, nil
}

func (c *apiClient) get(ctx context.Context, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://127.0.0.1:"+apiPort+path, nil)
	if err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("API server: GET %s: %s", path, response.Status)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("API server: GET %s: %w", path, err)
	}
	return nil
}

func (c *apiClient) ready(ctx context.Context) error { return c.get(ctx, "/readyz", nil) }

// nodeObject holds the fields of the Node that the lab needs.
type nodeObject struct {
	Spec struct {
		Taints []struct {
			Key string `json:"key"`
		} `json:"taints"`
	} `json:"spec"`
	Status struct {
		Conditions []struct {
			Type, Status, Message string
			LastHeartbeatTime     time.Time
		} `json:"conditions"`
	} `json:"status"`
}

func (n nodeObject) ready(since time.Time) error {
	for _, c := range n.Status.Conditions {
		if c.Type != "Ready" || c.LastHeartbeatTime.Before(since) {
			continue
		}
		if c.Status == "True" {
			return nil
		}
		return errors.New("the node is not ready: " + c.Message)
	}
	return errors.New("the node is not ready yet")
}

func (c *apiClient) nodeReady(ctx context.Context) error {
	var node nodeObject
	if err := c.get(ctx, "/api/v1/nodes/"+Name, &node); err != nil {
		return err
	}
	return node.ready(c.started)
}

// waitSettled waits until the cluster accepts pods: the node has no taint, and the
// default namespace has what every pod refers to.
func (c *apiClient) waitSettled(ctx context.Context) error {
	for {
		err := c.settled(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *apiClient) settled(ctx context.Context) error {
	var node nodeObject
	if err := c.get(ctx, "/api/v1/nodes/"+Name, &node); err != nil {
		return err
	}
	if len(node.Spec.Taints) > 0 {
		return errors.New("the node has the taint " + node.Spec.Taints[0].Key)
	}
	if err := c.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil); err != nil {
		return err
	}
	return c.get(ctx, "/api/v1/namespaces/default/configmaps/kube-root-ca.crt", nil)
}
