package apitest

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// Run returns the output and the exit status of a command.
type Run func(command []string, stdin string) (stdout, stderr string, status int)

// Exec answers a request for exec as a kubelet does, over a WebSocket or SPDY.
func Exec(w http.ResponseWriter, r Request, run Run) {
	if wsstream.IsWebSocketRequest(r.Request) {
		overWebSocket(w, r, run)
		return
	}
	overSPDY(w, r, run)
}

// overWebSocket serves protocol v5.channel.k8s.io. Its channels have a fixed order.
func overWebSocket(w http.ResponseWriter, r Request, run Run) {
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{remotecommand.StreamProtocolV5Name: {Binary: true, Channels: []wsstream.ChannelType{
		wsstream.ReadChannel, wsstream.WriteChannel, wsstream.WriteChannel, wsstream.WriteChannel, wsstream.ReadChannel,
	}}})
	_, streams, err := conn.Open(w, r.Request)
	if err != nil {
		return // the client has gone
	}
	execute(r, run, streams[0], streams[1], streams[2], streams[3])
	_ = conn.Close() // the client may have closed it
}

// overSPDY serves protocol v4.channel.k8s.io. The client opens the streams.
func overSPDY(w http.ResponseWriter, r Request, run Run) {
	if _, err := httpstream.Handshake(r.Request, w, []string{remotecommand.StreamProtocolV4Name}); err != nil {
		return // has been answered
	}
	opened := make(chan httpstream.Stream, 8)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r.Request, func(s httpstream.Stream, _ <-chan struct{}) error {
		opened <- s
		return nil
	})
	if conn == nil {
		return // has been answered
	}
	streams := map[string]httpstream.Stream{}
	for len(streams) < 4 {
		select {
		case s := <-opened:
			streams[s.Headers().Get(corev1.StreamType)] = s
		case <-conn.CloseChan():
			return
		}
	}
	execute(r, run, streams[corev1.StreamTypeStdin], streams[corev1.StreamTypeStdout], streams[corev1.StreamTypeStderr], streams[corev1.StreamTypeError])
	for _, s := range streams {
		_ = s.Close() // the client may have gone
	}
	<-conn.CloseChan()
}

func execute(r Request, run Run, in io.Reader, out, errs, result io.Writer) {
	stdin, err := io.ReadAll(in)
	if err != nil {
		return // the client has gone
	}
	stdout, stderr, status := run(r.URL.Query()["command"], string(stdin))
	_, _ = io.WriteString(out, stdout) // so may it below
	_, _ = io.WriteString(errs, stderr)
	s := metav1.Status{Status: metav1.StatusSuccess}
	if status != 0 {
		s = metav1.Status{Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason, Details: &metav1.StatusDetails{
			Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(status)}},
		}}
	}
	_ = json.NewEncoder(result).Encode(s)
}
