package userns

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNew makes a namespace with the maps asked for. Its child is dead when others are
// told of it, its id is nobody else's meanwhile, and it does not stay.
func TestNew(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("ZTLAUNCH_E2E: not root")
	}
	type corpse struct {
		pid   int
		state string
	}
	told := make(chan corpse)
	ns, err := New([]Map{{0, 2_000_000_000, 10}}, []Map{{0, 2_000_000_100, 10}}, func(pid int) {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := strings.Cut(string(raw), ") ")
		told <- corpse{pid, rest[:min(1, len(rest))]}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if kind, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWUSER {
		t.Errorf("a namespace of type %#x, %v", kind, err)
	}
	dead := <-told
	if dead.state != "Z" {
		t.Errorf("the child is in state %q, want dead and not yet waited for", dead.state)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if err := unix.Kill(dead.pid, 0); errors.Is(err, unix.ESRCH) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the child stays")
		}
	}
	if _, err := New([]Map{{0, 0, 0}}, nil, nil); err == nil {
		t.Error("a map of no ids was accepted")
	}
}
