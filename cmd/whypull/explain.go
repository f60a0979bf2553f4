package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/diagnosis/message"
)

// maxLine is the longest line that explain-message accepts.
const maxLine = 1 << 20

func explainMessageCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain-message",
		Short: "Classify messages of kubelets and runtimes from standard input",
		Long: `Read one message per line, or JSON lines with "id" and "message", from standard
input, and print for each a JSON line with "id", "cause", "label" and
"confidence". A message alone never has more than the confidence Suspected. The
id of a plain line is its line number.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return explainMessages(cmd.InOrStdin(), cmd.OutOrStdout()) },
	}
}

// explained is one line of the output.
type explained struct {
	ID         string               `json:"id"`
	Cause      diagnosis.Cause      `json:"cause"`
	Label      string               `json:"label"`
	Confidence diagnosis.Confidence `json:"confidence"`
}

func explainMessages(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	enc := json.NewEncoder(out)
	for n := 1; lines.Scan(); n++ {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		id, text := messageOf(lines.Text(), n)
		cause := message.Read("", text).Cause
		if err := enc.Encode(explained{id, cause, cause.Entry().Label, diagnosis.Suspected}); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	return nil
}

// messageOf splits a JSON line into ID and message; any other line is the
// message itself.
func messageOf(line string, n int) (id, text string) {
	var row struct {
		ID      *string `json:"id"`
		Message *string `json:"message"`
	}
	id, text = strconv.Itoa(n), line
	if !strings.HasPrefix(strings.TrimSpace(line), "{") || json.Unmarshal([]byte(line), &row) != nil || row.Message == nil {
		return id, text
	}
	if row.ID != nil {
		id = *row.ID
	}
	return id, *row.Message
}
