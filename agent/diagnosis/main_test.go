package diagnosis_test

import (
	"os"
	"testing"

	"github.com/whypull/whypull/agent/diagnosis"
	"github.com/whypull/whypull/agent/diagnosis/message"
)

func TestMain(m *testing.M) {
	diagnosis.ReadMessagesWith(message.Read)
	os.Exit(m.Run())
}
