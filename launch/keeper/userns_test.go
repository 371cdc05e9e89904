package keeper

import (
	"os"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/userns"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestUserns asks the keeper for user namespaces, many at once.
func TestUserns(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("ZTLAUNCH_E2E: not root")
	}
	k := begin(t, t.TempDir())
	own, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	maps := []userns.Map{{Outside: 1 << 30, Count: 1 << 16}}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			f, err := k.Userns(maps, maps)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
			if err != nil || kind != unix.CLONE_NEWUSER {
				t.Errorf("type %#x, %v", kind, err)
			}
			if name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd()))); err != nil || name == own {
				t.Errorf("is %s, %v", name, err)
			}
		})
	}
	wg.Wait()
	if _, err := k.Userns([]userns.Map{{}}, nil); code(err) != reason.SealUnsupported {
		t.Errorf("a map of nothing: %v", err)
	}
	if f, err := k.Userns(maps, maps); err != nil {
		t.Errorf("after a refusal: %v", err)
	} else {
		f.Close()
	}
	if err := k.process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Userns(maps, maps); code(err) != reason.KeeperFailed {
		t.Errorf("of a keeper that is gone: %v", err)
	}
}
