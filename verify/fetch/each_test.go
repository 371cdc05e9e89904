package fetch

import (
	"context"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestEachFalls: a fault in a transfer is the error of all of them.
func TestEachFalls(t *testing.T) {
	wantCode(t, each(t.Context(), 8, func(_ context.Context, i int) error {
		if i == 3 {
			panic("boom")
		}
		return nil
	}), reason.InternalFault)
}
