package rootfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/userns"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestStrongest asks in three places: here, without loop devices and file-backed EROFS
// as in a user namespace, and without any right.
func TestStrongest(t *testing.T) {
	if isChild(t.Name()) {
		form, err := Strongest(context.Background())
		if os.Geteuid() == 0 {
			if form != Extracted || err != nil {
				t.Fatalf("in a user namespace: %q, %v", form, err)
			}
			return
		}
		wantCode(t, err, reason.SealUnsupported)
		return
	}
	needRoot(t)
	if form, err := Strongest(context.Background()); form != InRAMFS || err != nil {
		t.Errorf("here: %q, %v", form, err)
	}
	again(t, t.Name(), base, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: blockMap, GidMappings: blockMap, Credential: &syscall.Credential{}, GidMappingsEnableSetgroups: true})
	again(t, t.Name(), 65534, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
}

// TestSealsStrongest keeps the strongest form: a weaker seal is not used where a
// stronger one can be made, and nothing is tried where the strongest is kept.
func TestSealsStrongest(t *testing.T) {
	needRoot(t)
	k := keeping(t, 1<<30)
	tr, src := spooled(t, sample())
	ctx, k1 := context.Background(), key("a")
	acquire := func(k *Seals) (Form, bool) {
		t.Helper()
		s, warm, err := k.Acquire(ctx, k1, tr, tr.Digest(), hour, noon, func() (Source, error) { return src, nil })
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return s.Form(), warm
	}
	if form, warm := acquire(k.In(InLoop)); form != InLoop || warm {
		t.Errorf("made %s, warm %v", form, warm)
	}
	if form, warm := acquire(k); form != InRAMFS || warm {
		t.Errorf("with a loop kept: %s, warm %v", form, warm)
	}
	if form, warm := acquire(k); form != InRAMFS || !warm {
		t.Errorf("with a sealed one kept: %s, warm %v", form, warm)
	}
}

// TestCallerIDs holds the functions and the maps of a block against each other.
func TestCallerIDs(t *testing.T) {
	for _, own := range []uint32{0, 1, 1000, 65534, 65535} {
		ids := CallerIDs(own, 65535-own)
		uids, gids := ids.Maps()
		for _, c := range []struct {
			maps []userns.Map
			own  uint32
			f    func(uint32) uint32
		}{{uids, own, ids.UID}, {gids, 65535 - own, ids.GID}} {
			seen := map[uint32]bool{}
			for _, m := range c.maps {
				for i := range m.Count {
					in, out := m.Inside+i, m.Outside+i
					if c.f(in) != out || seen[out] || in > 65535 || out > 65535 {
						t.Fatalf("own %d: %d is %d in the map and %d by the function", c.own, in, out, c.f(in))
					}
					seen[out] = true
				}
			}
			if len(seen) != BlockSize || c.f(c.own) != 0 {
				t.Errorf("own %d: %d ids, own is %d", c.own, len(seen), c.f(c.own))
			}
			if c.f(70000) != c.f(65534) {
				t.Errorf("own %d: 70000 is %d", c.own, c.f(70000))
			}
		}
		namespace(t, uids, gids)
	}
	if b := (&IDs{Base: base}); b.UID(7) != base+7 || b.GID(65535) != base+65535 || b.UID(1<<16) != base+65534 || b.Caller() {
		t.Error("a block's ids")
	}
	if i := (*IDs)(nil); i.UID(7) != 7 || i.GID(70000) != 70000 {
		t.Error("no ids")
	}
}

// TestExtract gives the files to a task's ids, maps nothing, and finds what changed.
func TestExtract(t *testing.T) {
	needRoot(t)
	tr, src := spooled(t, sample())
	ids := &IDs{Base: base}
	s, err := Extract(context.Background(), tr, tr.Digest(), src, Limits{}, ids)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	ns := namespace(t, TaskMap(base), TaskMap(base))
	m, err := s.Mount(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(m)
	dir := t.TempDir()
	inPrivate(t, func() error {
		if err := Place(m, dir); err != nil {
			return err
		}
		if got, want := owner(filepath.Join(dir, "usr/bin/su")), fmt.Sprintf("%d:%d", base+1, base+65535); got != want {
			return fmt.Errorf("su is %s, want %s", got, want)
		}
		return nil
	})
	for _, ids := range []*IDs{{Base: base + 1}, nil} {
		wrong := *s
		wrong.ids = ids
		wantCode(t, wrong.Rehash(context.Background(), tr), reason.RootMismatch)
	}
}
