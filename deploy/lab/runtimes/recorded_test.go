package runtimes

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/whypull/whypull/cri/registry/faulttest"
)

// answer is what a real CRI-O 1.37 said in a case.
type answer struct {
	Case            string
	Pulled          bool
	Reason, Message string
}

// assertRecorded compares the answers of our CRI-O with those of a real one.
func assertRecorded(t *testing.T, all []Result) {
	file, err := os.Open(filepath.Join("..", "..", "..", "..", "shared", "testdata", "crio-1.37-pulls.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the answers of a real CRI-O are not part of the repository")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	ours := map[string]Result{}
	for _, one := range all {
		if one.Runtime == faulttest.CRIO137 {
			ours[one.Case] = one
		}
	}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var want answer
		if err := json.Unmarshal(lines.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		if difference := deviation(want, ours[want.Case]); difference != "" {
			t.Errorf("%s: %s", want.Case, difference)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// deviation says how an answer differs from a recorded one, "" if it does not.
func deviation(want answer, got Result) string {
	one := func(pulled bool, reason, message string) string {
		if pulled {
			return "pulled"
		}
		return reason + ": " + timeless(message)
	}
	recorded, ours := one(want.Pulled, want.Reason, want.Message), one(got.Pulled, got.Reason, got.Message)
	if recorded == ours {
		return ""
	}
	return fmt.Sprintf("\n   ours %s\n  CRI-O %s", ours, recorded)
}

// timeless leaves out of a text what differs from run to run of CRI-O: ports,
// addresses, digests, names of temporary files, times, which of two timers of the
// same length has ended a dial, and which end of a connection has noticed first
// that the kubelet's time is up.
func timeless(s string) string {
	for _, r := range [][2]string{
		{`[0-9a-f]{64}`, "DIGEST"},
		{`\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z`, "TIME"},
		{`container_images_storage\d+/\d+`, "TEMPORARY"},
		{`(\d+ )?@ ?[0-9.]+ ms`, "@PROGRESS"},
		{`\b127\.0\.0\.1:\d+`, "ADDRESS"},
		{`:\d{4,5}\b`, ":PORT"},
		{`^rpc error: code = DeadlineExceeded desc = (unable to pull image: .*i/o timeout)$`, "$1"},
		{`stream terminated by RST_STREAM with error code: CANCEL`, "context deadline exceeded"},
	} {
		s = regexp.MustCompile(r[0]).ReplaceAllString(s, r[1])
	}
	return strings.TrimSpace(s)
}
