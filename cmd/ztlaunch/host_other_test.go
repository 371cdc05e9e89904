//go:build !linux

package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestUnsupported runs nothing here, and says so.
func TestUnsupported(t *testing.T) {
	for verb, want := range map[string]int{"run": 125, "doctor": 3} {
		var out, err bytes.Buffer
		w := world{in: os.Stdin, out: &out, err: &err, env: os.LookupEnv, now: time.Now, root: t.TempDir()}
		if got := dispatch(w, []string{verb}); got != want {
			t.Errorf("%s: status %d, want %d", verb, got, want)
		}
		if !strings.Contains(err.String(), string(reason.HostUnsupported)) {
			t.Errorf("%s: %s", verb, err.String())
		}
	}
}
