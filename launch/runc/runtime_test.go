package runc

import (
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// code is the reason that err carries.
func code(err error) reason.Code {
	if e, ok := reason.Of(err); ok {
		return e.Code
	}
	return ""
}

func TestZeroRuntimeRefuses(t *testing.T) {
	if err := (Runtime{}).Kill(t.Context(), Container{ID: "x"}, 9); code(err) != reason.RuntimeAbsent {
		t.Errorf("the zero runtime: %v", err)
	}
}
