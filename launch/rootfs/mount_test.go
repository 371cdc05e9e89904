package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/userns"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

const base = 0x40000000

// children is the processes that the test process has, dead ones included.
func children(t testing.TB) string {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, p := range tasks {
		raw, err := os.ReadFile(p)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		all.Write(raw)
	}
	return all.String()
}

// blockMap is TaskMap for a process that is started.
var blockMap = []syscall.SysProcIDMap{{HostID: base, Size: BlockSize}}

func namespace(t testing.TB, uids, gids []userns.Map) *os.File {
	t.Helper()
	f, err := newUserns(uids, gids)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(f) })
	return f
}

func TestNewUserns(t *testing.T) {
	needRoot(t)
	own, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			f, err := newUserns(TaskMap(base), TaskMap(base))
			if err != nil {
				t.Error(err)
				return
			}
			defer closeAll(f)
			if kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWUSER {
				t.Errorf("type %#x, %v", kind, err)
			}
			if name, err := os.Readlink(fdPath(f)); err != nil || name == own {
				t.Errorf("is %s, %v", name, err)
			}
		})
	}
	wg.Wait()
	if c := children(t); c != "" {
		t.Errorf("children left: %s", c)
	}
	_, err = newUserns([]userns.Map{{}}, nil)
	wantCode(t, err, reason.SealUnsupported)
}

func TestTakeIDs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ids")
	from := Range{base, 8 * BlockSize}
	covered, err := SubIDs(strings.NewReader("# comment\n\nalice:1073741824:1\nbob:1073938432:131072\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []uint32
	var held []*IDs
	for range 5 { // the blocks 0, 3 and 4 are covered
		i, err := TakeIDs(dir, from, covered)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, i)
		got = append(got, (i.Base-base)/BlockSize)
	}
	if fmt.Sprint(got) != "[1 2 5 6 7]" {
		t.Errorf("blocks %v", got)
	}
	_, err = TakeIDs(dir, from, covered)
	wantCode(t, err, reason.IDsExhausted)

	// A second holder, as the keeper is, keeps the block when the first lets go.
	fd, err := unix.Dup(int(held[1].File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	keeper := os.NewFile(uintptr(fd), "keeper")
	for _, i := range held {
		i.Release()
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 || names[0].Name() != "blocks" {
		t.Errorf("there: %v, %v", names, err)
	}
	a, err := TakeIDs(dir, from, covered)
	if err != nil {
		t.Fatal(err)
	}
	b, err := TakeIDs(dir, from, covered)
	if err != nil {
		t.Fatal(err)
	}
	if a.Base != base+1*BlockSize || b.Base != base+5*BlockSize {
		t.Errorf("blocks %#x and %#x, the kept one is between them", a.Base, b.Base)
	}
	closeAll(keeper)
	c, err := TakeIDs(dir, from, covered)
	if err != nil || c.Base != base+2*BlockSize {
		t.Errorf("the freed block is not taken: %+v, %v", c, err)
	}
	for _, i := range []*IDs{a, b, c} {
		i.Release()
	}
}

func TestTakeIDsExhausted(t *testing.T) {
	_, err := TakeIDs(t.TempDir(), DefaultIDs(), []Range{{0, 1<<32 - 1}})
	wantCode(t, err, reason.IDsExhausted)
}

// TestTakeIDsRace gives each of many takers a block of its own.
func TestTakeIDsRace(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	held := map[uint32]bool{}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 20 {
				i, err := TakeIDs(dir, DefaultIDs(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if held[i.Base] {
					t.Errorf("block %#x is taken twice", i.Base)
				}
				held[i.Base] = true
				mu.Unlock()

				mu.Lock()
				delete(held, i.Base)
				mu.Unlock()
				i.Release()
			}
		})
	}
	wg.Wait()
}

func TestSubIDsRefuses(t *testing.T) {
	for _, text := range []string{"alice:1", "alice:1:2:3", "alice:-1:2", "alice:x:1", "alice:1:4294967296"} {
		if _, err := SubIDs(strings.NewReader(text)); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

// owner is who owns path.
func owner(path string) string {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

// TestMountMapped sees the image's owners as the task's block has them.
func TestMountMapped(t *testing.T) {
	needRoot(t)
	tr, src := spooled(t, sample())
	s := sealed(t, tr, src)
	ns := namespace(t, TaskMap(base), TaskMap(base))
	for range 2 { // a seal serves many tasks
		m, err := s.Mount(ns)
		if err != nil {
			t.Fatal(err)
		}
		inPrivate(t, func() error {
			at := t.TempDir()
			if err := Place(m, at); err != nil {
				return err
			}
			for p, want := range map[string]string{
				".": fmt.Sprintf("%d:%d", base+3, base+4), "usr/bin/su": fmt.Sprintf("%d:%d", base+1, base+65535),
				"etc/empty": fmt.Sprintf("%d:%d", base, base), "bin": fmt.Sprintf("%d:%d", base, base),
			} {
				if got := owner(filepath.Join(at, p)); got != want {
					return fmt.Errorf("%s is %s, want %s", p, got, want)
				}
			}
			return nil
		})
		closeAll(m)
	}
	if err := s.Prove(); err != nil {
		t.Error(err)
	}
}

// as runs f with the file system ids of somebody else, without capabilities.
func as(uid, gid int, f func() error) error {
	_ = unix.Setfsgid(gid)
	_ = unix.Setfsuid(uid)
	err := f()
	_ = unix.Setfsuid(0)
	_ = unix.Setfsgid(0)
	return err
}

// TestBind lets a task's user write where the source's owner could, and gives what it
// writes to that owner; nobody else's files can be touched.
func TestBind(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	const uid, gid, user = 1234, 2345, 1000
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "work"), 0o750), os.Mkdir(filepath.Join(dir, "work", "below"), 0o755),
		os.WriteFile(filepath.Join(dir, "work", "theirs"), []byte("x"), 0o666),
		os.Chown(filepath.Join(dir, "work", "theirs"), 77, 77),
		os.Chown(filepath.Join(dir, "work"), uid, gid),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	source, err := os.OpenFile(filepath.Join(dir, "work"), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(source)
	ns := namespace(t, OwnerMap(uid, base, user), OwnerMap(gid, base, user+1))
	m, err := Bind(source, Attr{}, ns)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(m)
	ro, err := Bind(source, Attr{ReadOnly: true, Exec: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(ro)
	inPrivate(t, func() error {
		at, roAt := t.TempDir(), t.TempDir()
		if err := errors.Join(os.Chmod(filepath.Dir(at), 0o755), Place(m, at), Place(ro, roAt)); err != nil {
			return err
		}
		if got, want := owner(at), fmt.Sprintf("%d:%d", base+user, base+user+1); got != want {
			return fmt.Errorf("owner %s, want %s", got, want)
		}
		if got := owner(at + "/theirs"); got != "65534:65534" {
			return fmt.Errorf("an unmapped owner shows as %s", got)
		}
		err := as(base+user, base+user+1, func() error { return os.WriteFile(at+"/made", []byte("x"), 0o644) })
		if err != nil {
			return err
		}
		if got := owner(filepath.Join(dir, "work", "made")); got != fmt.Sprintf("%d:%d", uid, gid) {
			return fmt.Errorf("made as %s", got)
		}
		if err := os.WriteFile(at+"/asroot", nil, 0o644); !errors.Is(err, unix.EOVERFLOW) {
			return fmt.Errorf("an unmapped user writes: %w", err)
		}
		if err := os.WriteFile(roAt+"/x", nil, 0o644); !errors.Is(err, unix.EROFS) {
			return fmt.Errorf("read-only: %w", err)
		}
		var st, roSt unix.Statfs_t
		if err := errors.Join(unix.Statfs(at, &st), unix.Statfs(roAt, &roSt)); err != nil {
			return err
		}
		const always = unix.ST_NOSUID | unix.ST_NODEV
		if st.Flags&always != always || st.Flags&unix.ST_NOEXEC == 0 || roSt.Flags&always != always || roSt.Flags&unix.ST_NOEXEC != 0 {
			return fmt.Errorf("flags %#x and %#x", st.Flags, roSt.Flags)
		}
		return nil
	})
}

// TestBindAlone leaves behind what is mounted below the source.
func TestBindAlone(t *testing.T) {
	needRoot(t)
	inPrivate(t, func() error {
		dir, at := t.TempDir(), t.TempDir()
		if err := errors.Join(os.Mkdir(dir+"/below", 0o755), os.WriteFile(dir+"/below/under", nil, 0o600)); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", dir+"/below", "tmpfs", 0, ""); err != nil {
			return err
		}
		source, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer closeAll(source)
		m, err := Bind(source, Attr{}, nil)
		if err != nil {
			return err
		}
		defer closeAll(m)
		if err := Place(m, at); err != nil {
			return err
		}
		_, err = os.Stat(at + "/below/under")
		return err
	})
}

func TestBindNoIDMap(t *testing.T) {
	needRoot(t)
	ns := namespace(t, OwnerMap(0, base, 0), OwnerMap(0, base, 0))
	source, err := os.Open("/proc/sys")
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(source)
	_, err = Bind(source, Attr{}, ns)
	wantCode(t, err, reason.MountNoIDMap)
}

func TestPlaceRefuses(t *testing.T) {
	needRoot(t)
	tr, src := spooled(t, sample())
	m, err := sealed(t, tr, src).Mount(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(m)
	inPrivate(t, func() error {
		dir := t.TempDir()
		if err := errors.Join(os.Symlink(t.TempDir(), dir+"/link"), os.WriteFile(dir+"/file", nil, 0o600)); err != nil {
			return err
		}
		for _, p := range []string{"link", "file", "absent"} {
			if e, ok := reason.Of(Place(m, filepath.Join(dir, p))); !ok || e.Code != reason.MountFailed {
				return fmt.Errorf("%s: %w", p, e)
			}
		}
		return nil
	})
}

// TestPrivateMountNS shows nothing of what is mounted to anybody else.
func TestPrivateMountNS(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	inPrivate(t, func() error {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			return err
		}
		info, err := os.ReadFile("/proc/thread-self/mountinfo")
		if err != nil {
			return err
		}
		if strings.Contains(string(info), "shared:") || strings.Contains(string(info), "master:") {
			return fmt.Errorf("propagates: %s", info)
		}
		// On a host whose mounts are shared, below the root too:
		if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
			return err
		}
		if err := PrivateMountNS(); err != nil {
			return err
		}
		info, err = os.ReadFile("/proc/thread-self/mountinfo")
		if err == nil && strings.Contains(string(info), "shared:") {
			err = fmt.Errorf("propagates: %s", info)
		}
		return err
	})
	if strings.Contains(mounts(t), dir) {
		t.Error("the mount is seen outside")
	}
}

func TestPoints(t *testing.T) {
	needRoot(t)
	tr, src := spooled(t, sample())
	s := sealed(t, tr, src)
	ns := namespace(t, TaskMap(base), TaskMap(base))
	points := []Point{
		{"work", true}, {"etc/app/conf.d", true}, {"etc/app/file", false}, {"var/tmp/in", true}, {"etc/hosts", false}, {"tmp", true},
	}
	m, err := s.Mount(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(m)
	inPrivate(t, func() error {
		run := t.TempDir()
		root := filepath.Join(run, "root")
		if err := errors.Join(os.Mkdir(root, 0o700), Place(m, root)); err != nil {
			return err
		}
		if stacked, err := Points(tr, root, []Point{{"tmp", true}, {"etc/hosts", false}}, &IDs{Base: base}); stacked || err != nil {
			return fmt.Errorf("nothing is missing: %v, %w", stacked, err)
		}
		if stacked, err := Points(tr, root, points, &IDs{Base: base}); !stacked || err != nil {
			return fmt.Errorf("stacked %v, %w", stacked, err)
		}
		for _, p := range points {
			info, err := os.Lstat(filepath.Join(root, p.Path))
			if err != nil || info.IsDir() != p.Dir {
				return fmt.Errorf("%s: %w", p.Path, err)
			}
		}
		// All that the image has is still there, and looks as it did.
		for e := range tr.Entries() {
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(root, e.Path), &st); err != nil {
				return err
			}
			if st.Uid != base+e.UID || st.Gid != base+e.GID || st.Mode != typeBits(e.Type)|e.Mode || st.Mtim.Sec != e.MTime {
				return fmt.Errorf("%q: owner %d:%d, mode %o, time %d; want %+v", e.Path, st.Uid, st.Gid, st.Mode, st.Mtim.Sec, e)
			}
		}
		for _, p := range []string{"work", "etc/app", "etc/app/file"} {
			if got := owner(filepath.Join(root, p)); got != fmt.Sprintf("%d:%d", base, base) {
				return fmt.Errorf("%s is %s", p, got)
			}
		}
		if err := os.WriteFile(root+"/work/x", nil, 0o600); !errors.Is(err, unix.EROFS) {
			return fmt.Errorf("writable: %w", err)
		}
		if raw, err := os.ReadFile(root + "/usr/bin/su2"); err != nil || len(raw) != 10000 {
			return fmt.Errorf("su2: %d bytes, %w", len(raw), err)
		}
		names, err := os.ReadDir(run)
		if err != nil || len(names) != 1 {
			return fmt.Errorf("left beside the root: %v, %w", names, err)
		}
		info, err := os.ReadFile("/proc/thread-self/mountinfo")
		if err != nil {
			return err
		}
		if n := strings.Count(string(info), " "+root+" "); n != 2 || strings.Contains(string(info), " "+run+"/.") {
			return fmt.Errorf("%d mounts, want the root and the overlay: %s", n, info)
		}
		return nil
	})
}

func TestPointsRefuses(t *testing.T) {
	tr, err := tree.FromFiles([]tree.Entry{
		{Path: "link", Type: tree.Symlink, Mode: 0o777, Link: "/etc"}, {Path: "fifo", Type: tree.FIFO}, {Path: "dir/sub", Type: tree.Dir},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Point{{"link", true}, {"link/x", true}, {"link/x/y", false}, {"fifo", false}, {"fifo/x", true}, {"dir", false}} {
		_, err := Points(tr, "/nowhere", []Point{p}, nil)
		wantCode(t, err, reason.MountpointType)
	}
}
