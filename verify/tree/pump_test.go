package tree

import (
	"io"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// falling is a decompressor with a fault.
type falling struct{}

func (falling) Read([]byte) (int, error) { panic("boom") }

// TestPumpFalls: a fault beside the reader comes to the reader, and ends no process.
func TestPumpFalls(t *testing.T) {
	p := newPump(falling{})
	_, err := io.ReadAll(p)
	if e, ok := reason.Of(err); !ok || e.Code != reason.InternalFault || e.Found != "boom" {
		t.Errorf("%v", err)
	}
	p.stop()
}
