// Command crio serves the image-related parts of CRI as CRI-O 1.37 does.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"go.podman.io/storage/pkg/reexec"
	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	if reexec.Init() { // the library unpacks layers in a separate process
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "crio:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, usage io.Writer) error {
	flags := flag.NewFlagSet("crio", flag.ContinueOnError)
	flags.SetOutput(usage)
	configFile := flags.String("config", "/etc/crio/crio.conf", "path to the configuration `file`")
	configDir := flags.String("config-dir", "/etc/crio/crio.conf.d", "path to the `directory` of its drop-ins")
	registries := flags.String("registries-conf", "", "path to registries.conf; the image library's own when empty")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c, err := loadConfig(*configFile, *configDir)
	if err != nil {
		return err
	}
	s, err := newServer(c, *registries)
	if err != nil {
		return err
	}
	defer func() { _, _ = s.store.Shutdown(true) }()
	return s.serve(ctx)
}

// serve serves on the socket until ctx is done.
func (s *server) serve(ctx context.Context) error {
	socket := s.config.CRIO.API.Listen
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if err := os.RemoveAll(socket); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	service := grpc.NewServer()
	runtimeapi.RegisterImageServiceServer(service, s)
	runtimeapi.RegisterRuntimeServiceServer(service, s)
	defer context.AfterFunc(ctx, service.Stop)()
	return service.Serve(listener)
}
