package retry

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Because of its file's name this test runs last, when the logs hold the output of all
// others.
func TestInsideNoPasswordInRuntimeLogs(t *testing.T) {
	if world == nil {
		t.Skip("runs inside the box of TestRetry")
	}
	logs, err := filepath.Glob("/var/log/lab/*")
	if err != nil || len(logs) == 0 {
		t.Fatalf("%q, %v", logs, err)
	}
	all := 0
	for _, file := range logs {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all += len(data)
		for _, secret := range []string{
			password, base64.StdEncoding.EncodeToString([]byte(user + ":" + password)),
			clerksPassword, base64.StdEncoding.EncodeToString([]byte(clerk + ":" + clerksPassword)),
		} {
			if strings.Contains(string(data), secret) {
				t.Errorf("%s has a password", file)
			}
		}
	}
	if all == 0 {
		t.Error("the logs are empty")
	}
}
