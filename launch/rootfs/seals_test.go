package rootfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

const hour = time.Hour

func keeping(t testing.TB, limit int64) *Seals {
	t.Helper()
	k, err := OpenSeals(filepath.Join(t.TempDir(), "seals"), limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Prune(); err != nil {
			t.Error(err)
		}
		names, err := os.ReadDir(k.dir)
		if err != nil || len(names) != 0 {
			t.Errorf("left in the folder: %v, %v", names, err)
		}
	})
	return k
}

func key(name string) string { return Key([]digest.Digest{digest.FromString(name)}, "") }

func put(t testing.TB, k *Seals, key string, tr tree.Tree, src Source, now time.Time) {
	t.Helper()
	s := sealed(t, tr, src)
	if kept, err := k.Put(key, s, now); !kept || err != nil {
		t.Fatalf("kept %v, %v", kept, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// wantGet is whether key is there for tr, an hour long.
func wantGet(t testing.TB, k *Seals, key string, tr tree.Tree, now time.Time, want bool, why string) {
	t.Helper()
	s, got, err := k.Get(context.Background(), key, tr, hour, now)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if (s != nil) != want || !strings.Contains(got, why) {
		t.Fatalf("got %v (%s), want %v (%s)", s != nil, got, want, why)
	}
	if s != nil {
		if err := s.Prove(); err != nil {
			t.Fatal(err)
		}
		if err := s.Rehash(context.Background(), tr); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSeals(t *testing.T) {
	needRoot(t)
	k := keeping(t, 1<<30)
	tr, src := spooled(t, sample())
	a := key("a")
	wantGet(t, k, a, tr, noon, false, "absent")
	put(t, k, a, tr, src, noon)
	wantGet(t, k, a, tr, noon, true, "")
	wantGet(t, k, key("b"), tr, noon, false, "absent")
	wantGet(t, k, "../"+a, tr, noon, false, "absent")
	put(t, k, a, tr, src, noon) // again
	list, err := k.List()
	if err != nil || len(list) != 1 || list[0].Key != a || list[0].Tree != tr.Digest() || list[0].Size == 0 {
		t.Errorf("list %+v, %v", list, err)
	}
	// What is in use outlives what is kept.
	s, _, err := k.Get(context.Background(), a, tr, hour, noon)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := k.Prune(); err != nil {
		t.Fatal(err)
	}
	wantGet(t, k, a, tr, noon, false, "absent")
	if err := s.Rehash(context.Background(), tr); err != nil {
		t.Error(err)
	}
}

// TestSealsAge reads a seal anew that was not hashed for too long, and writes down
// that it was.
func TestSealsAge(t *testing.T) {
	needRoot(t)
	k := keeping(t, 1<<30)
	tr, src := spooled(t, sample())
	a := key("a")
	put(t, k, a, tr, src, noon)
	for _, now := range []time.Time{noon.Add(hour - 1), noon.Add(hour), noon.Add(-hour)} {
		s, why, err := k.Get(context.Background(), a, tr, hour, now)
		if s == nil || err != nil {
			t.Fatalf("at %v: %s, %v", now, why, err)
		}
		want := now
		if now.Before(noon.Add(hour)) && !now.Before(noon) {
			want = noon
		}
		if !s.Hashed().Equal(want) {
			t.Errorf("at %v hashed at %v, want %v", now, s.Hashed(), want)
		}
		_ = s.Close()
		if list, err := k.List(); err != nil || !list[0].Hashed.Equal(want) {
			t.Errorf("at %v recorded %+v, %v; want %v", now, list, err, want)
		}
	}
}

// TestSealsForged changes the record, or what is mounted, in each way that somebody
// with the run folder could.
func TestSealsForged(t *testing.T) {
	needRoot(t)
	tr, src := spooled(t, sample())
	evil, evilSrc := spooled(t, append(sample(), file("etc/evil", "evil")))
	a := key("a")
	forge := func(change func(*record)) func(*testing.T, *Seals) {
		return func(t *testing.T, k *Seals) {
			path := k.at(a, "record")
			r, err := readRecord(path)
			if err != nil {
				t.Fatal(err)
			}
			change(&r)
			if err := r.write(path, noon); err != nil {
				t.Fatal(err)
			}
		}
	}
	raw := func(text string) func(*testing.T, *Seals) {
		return func(t *testing.T, k *Seals) {
			if err := os.WriteFile(k.at(a, "record"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	evilMount := func(t *testing.T) *os.File {
		m, err := sealed(t, evil, evilSrc).Mount(nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closeAll(m) })
		return m
	}
	over := func(t *testing.T, m *os.File, at string) {
		if err := Place(m, at); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		name, why string
		attack    func(*testing.T, *Seals)
	}{
		{"version", "builder", forge(func(r *record) { r.Version = "0" })},
		{"boot", "boot", forge(func(r *record) { r.Boot = "another" })},
		{"tree", "tree", forge(func(r *record) { r.Tree = evil.Digest() })},
		{"mount", "mount", forge(func(r *record) { r.Mount++ })},
		{"no-mount", "without a mount", forge(func(r *record) { r.Mount = 0 })},
		{"empty", "EOF", raw("")},
		{"unknown-field", "unknown", raw(`{"more":1}`)},
		{"missing-fields", "not as it was written", raw("{}\n")},
		{"gone", "no such file", func(t *testing.T, k *Seals) {
			if err := os.Remove(k.at(a, "record")); err != nil {
				t.Fatal(err)
			}
		}},
		{"unmounted", "superblock magic", func(t *testing.T, k *Seals) {
			if err := unix.Unmount(k.at(a, "root"), 0); err != nil {
				t.Fatal(err)
			}
		}},
		{"mounted-over", "mount", func(t *testing.T, k *Seals) { over(t, evilMount(t), k.at(a, "root")) }},
		{"replaced", "mount", func(t *testing.T, k *Seals) {
			if err := unix.Unmount(k.at(a, "root"), 0); err != nil {
				t.Fatal(err)
			}
			over(t, evilMount(t), k.at(a, "root"))
		}},
		{"same-tree-sealed-again", "mount", func(t *testing.T, k *Seals) {
			m, err := sealed(t, tr, src).Mount(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer closeAll(m)
			over(t, m, k.at(a, "root"))
		}},
		// The mount is another seal's, and the record agrees in all but what the image
		// says of itself.
		{"replaced-and-recorded", evil.Digest().String(), func(t *testing.T, k *Seals) {
			m := evilMount(t)
			over(t, m, k.at(a, "root"))
			id, err := uniqueID(m)
			if err != nil {
				t.Fatal(err)
			}
			forge(func(r *record) { r.Mount = id })(t, k)
		}},
		{"nosuid-cleared", "nosuid", func(t *testing.T, k *Seals) {
			if err := unix.Mount("", k.at(a, "root"), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
		}},
		{"mount-writable", "mount 0x6", func(t *testing.T, k *Seals) {
			at := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
			if err := unix.MountSetattr(unix.AT_FDCWD, k.at(a, "root"), 0, &at); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			k := keeping(t, 1<<30)
			put(t, k, a, tr, src, noon)
			c.attack(t, k)
			wantGet(t, k, a, tr, noon, false, c.why)
			wantGet(t, k, a, tr, noon, false, "absent") // and it is gone
		})
	}
	// What somebody mounts below the root does not come along.
	t.Run("mounted-below", func(t *testing.T) {
		k := keeping(t, 1<<30)
		put(t, k, a, tr, src, noon)
		over(t, evilMount(t), k.at(a, "root", "usr", "bin"))
		wantGet(t, k, a, tr, noon, true, "")
	})
}

func TestSealsRoom(t *testing.T) {
	needRoot(t)
	tr, src := spooled(t, sample())
	size := sealed(t, tr, src).Size()
	k := keeping(t, 2*size)
	for i, n := range []string{"a", "b"} {
		put(t, k, key(n), tr, src, noon.Add(time.Duration(i)*time.Minute))
	}
	wantGet(t, k, key("a"), tr, noon.Add(2*time.Minute), true, "") // b is older now
	put(t, k, key("c"), tr, src, noon.Add(3*time.Minute))
	wantGet(t, k, key("a"), tr, noon.Add(4*time.Minute), true, "")
	wantGet(t, k, key("b"), tr, noon.Add(4*time.Minute), false, "absent")
	wantGet(t, k, key("c"), tr, noon.Add(4*time.Minute), true, "")

	if k := keeping(t, 0); k.cap < 1<<20 || k.cap > 1<<30 {
		t.Errorf("the host's own limit is %d", k.cap)
	}
	small := keeping(t, size-1)
	s := sealed(t, tr, src)
	if kept, err := small.Put(key("a"), s, noon); kept || err != nil {
		t.Errorf("kept %v, %v", kept, err)
	}
	if _, err := k.Put("no key", s, noon); err == nil {
		t.Error("kept under no key")
	}
}

// TestSealsAcquire lets many launchers want the same root at once: one makes it.
func TestSealsAcquire(t *testing.T) {
	needRoot(t)
	k := keeping(t, 1<<30)
	tr, src := spooled(t, sample())
	var made, warm atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			s, w, err := k.Acquire(context.Background(), key("a"), tr, tr.Digest(), hour, noon, func() (Source, error) {
				made.Add(1)
				return src, nil
			})
			if err != nil {
				t.Error(err)
				return
			}
			if w {
				warm.Add(1)
			}
			if err := s.Prove(); err != nil {
				t.Error(err)
			}
			_ = s.Close()
		})
	}
	wg.Wait()
	if made.Load() != 1 || warm.Load() != 19 {
		t.Errorf("made %d times, found %d times", made.Load(), warm.Load())
	}
	_, _, err := k.Acquire(context.Background(), key("a"), tr, digest.FromString("other"), hour, noon, nil)
	wantCode(t, err, reason.TreeNotAdmitted)
	gone := errors.New("gone")
	if _, _, err := k.Acquire(context.Background(), key("b"), tr, tr.Digest(), hour, noon, func() (Source, error) { return nil, gone }); !errors.Is(err, gone) {
		t.Errorf("the source's error is lost: %v", err)
	}
	// Another form is another seal; one on a loop device is kept too, and read each time.
	for _, form := range []Form{InLoop} {
		for round := range 2 {
			before, now := made.Load(), noon.Add(time.Duration(round)*time.Minute)
			s, w, err := k.In(form).Acquire(context.Background(), key(string(form)), tr, tr.Digest(), hour, now, func() (Source, error) {
				made.Add(1)
				return src, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			want := form == InLoop && round == 1
			if w != want || s.Form() != form || made.Load()-before == 0 != want {
				t.Errorf("%s, round %d: warm %v, form %s", form, round, w, s.Form())
			}
			if want && !s.Hashed().Equal(now) {
				t.Errorf("%s, round %d: last read at %v, not now", form, round, s.Hashed())
			}
			if err := s.Prove(); err != nil {
				t.Error(err)
			}
			_ = s.Close()
		}
	}
	s, w, err := k.In(Extracted).Acquire(context.Background(), key("x"), tr, tr.Digest(), hour, noon, nil)
	if s != nil || w || err != nil {
		t.Errorf("a root that is extracted for one task was kept: %v, %v, %v", s, w, err)
	}
	f, w, err := k.Acquire(context.Background(), key(string(InLoop)), tr, tr.Digest(), hour, noon, func() (Source, error) { return src, nil })
	if err != nil || w || f.Form() != InRAMFS {
		t.Errorf("the other form's seal is used: %v, %v", w, err)
	}
	_ = f.Close()
	// A seal that cannot be used is replaced by one that can.
	if err := unix.Unmount(k.at(key("a"), "root"), unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	s, w, err = k.Acquire(context.Background(), key("a"), tr, tr.Digest(), hour, noon, func() (Source, error) { return src, nil })
	if err != nil || w {
		t.Fatalf("warm %v, %v", w, err)
	}
	_ = s.Close()
	wantGet(t, k, key("a"), tr, noon, true, "")
}

// TestSealsPrivate keeps seals out of every other mount namespace's way, even on a
// host whose mounts are shared.
func TestSealsPrivate(t *testing.T) {
	needRoot(t)
	tr, src := spooled(t, sample())
	s := sealed(t, tr, src)
	inPrivate(t, func() error {
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700"); err != nil {
			return err
		}
		if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
			return err
		}
		sub := filepath.Join(dir, "seals")
		k, err := OpenSeals(sub, 1<<30)
		if err != nil {
			return err
		}
		if _, err := k.Put(key("a"), s, noon); err != nil {
			return err
		}
		info, err := os.ReadFile("/proc/thread-self/mountinfo")
		if err != nil {
			return err
		}
		found := 0
		for line := range strings.Lines(string(info)) {
			if strings.Contains(line, sub) {
				found++
				if strings.Contains(line, "shared:") {
					return errors.New("shared: " + line)
				}
			}
		}
		if found != 2 {
			return errors.New("not mounted: " + string(info))
		}
		return k.Prune()
	})
}

func TestOpenSealsRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := OpenSeals(dir, 1)
	wantCode(t, err, reason.SealBroken)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	_, err = OpenSeals(link, 1)
	wantCode(t, err, reason.SealBroken)
}

func FuzzRecord(f *testing.F) {
	r := record{Version, "boot", 7, InRAMFS, "sha256:aa", "sha256:bb", 4096, noon}
	text, err := r.text()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := parseRecord(raw)
		if err != nil {
			return
		}
		if again, err := r.text(); err != nil || string(again) != string(raw) {
			t.Fatalf("%q reads as %q, %v", raw, again, err)
		}
	})
}
