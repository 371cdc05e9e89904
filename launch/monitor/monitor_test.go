package monitor

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// live is a task's root on disk and the Tree that it should be.
type live struct {
	t    *testing.T
	dir  string
	root *os.File
	tree tree.Tree
}

func newLive(t *testing.T) live {
	t.Helper()
	l := live{t: t, dir: t.TempDir()}
	entries := []tree.Entry{
		{Path: "bin", Type: tree.Dir, Mode: 0o755},
		{Path: "lib", Type: tree.Symlink, Mode: 0o777, Link: "/bin"},
		{Path: "run", Type: tree.Dir, Mode: 0o755, Origin: tree.Ours},
		{Path: "etc", Type: tree.Dir, Mode: 0o700},
		{Path: "etc/hosts", Type: tree.File, Mode: 0o644, Digest: digest.FromString(""), Origin: tree.Ours},
		{Path: "etc/pipe", Type: tree.FIFO, Mode: 0o600},
	}
	for name, data := range map[string]string{"bin/agent": "agent code", "etc/passwd": "root:x:0:0", "empty": "", "big": strings.Repeat("0123456789abcdef", 64<<10)} {
		entries = append(entries, tree.Entry{Path: name, Type: tree.File, Mode: 0o751, Size: int64(len(data)), Digest: digest.FromString(data)})
		l.must(os.MkdirAll(filepath.Dir(l.at(name)), 0o755), os.WriteFile(l.at(name), []byte(data), 0o600), os.Chmod(l.at(name), 0o751))
	}
	l.must(os.Chmod(l.dir, 0o755), os.Chmod(l.at("etc"), 0o700), os.Symlink("/bin", l.at("lib")), unix.Mkfifo(l.at("etc/pipe"), 0o600))
	var err error
	l.tree, err = tree.FromFiles(entries)
	l.must(err)
	l.root, err = os.OpenFile(l.dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	l.must(err)
	t.Cleanup(func() { l.root.Close() })
	return l
}

func (l live) at(name string) string { return l.dir + "/" + name }

func (l live) must(errs ...error) {
	l.t.Helper()
	if err := errors.Join(errs...); err != nil {
		l.t.Fatal(err)
	}
}

func (l live) target() Target { return Target{Root: l.root, Tree: l.tree} }

func (l live) sweep(t Target) []Drift {
	l.t.Helper()
	d, err := Sweep(l.t.Context(), t)
	l.must(err)
	for _, d := range d {
		if d.Expected == "" || d.Found == "" || strings.Contains(d.Found, "secret") {
			l.t.Errorf("drift says %+v", d)
		}
	}
	return d
}

// TestSweep does one thing to a live root. Whatever a task or a host process
// plants, the sweep ends, names the path and reads nothing outside.
func TestSweep(t *testing.T) {
	outside := t.TempDir() + "/secret"
	if err := os.WriteFile(outside, []byte("agent code"), 0o751); err != nil { // the right bytes, elsewhere
		t.Fatal(err)
	}
	if err := os.Chmod(outside, 0o751); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		do   func(l live) error
		path string
		want reason.Code
	}{
		{"byte", func(l live) error {
			f, err := os.OpenFile(l.at("big"), os.O_WRONLY, 0)
			l.must(err)
			_, err = f.WriteAt([]byte("X"), 1<<20-1)
			return errors.Join(err, f.Close())
		}, "/big", reason.DriftBytes},
		{"byte-with-times-put-back", func(l live) error {
			st, err := os.Stat(l.at("bin/agent"))
			l.must(err, os.WriteFile(l.at("bin/agent"), []byte("Agent code"), 0))
			return os.Chtimes(l.at("bin/agent"), st.ModTime(), st.ModTime())
		}, "/bin/agent", reason.DriftBytes},
		{"extended", func(l live) error { return os.Truncate(l.at("bin/agent"), 11) }, "/bin/agent", reason.DriftSize},
		{"truncated", func(l live) error { return os.Truncate(l.at("bin/agent"), 9) }, "/bin/agent", reason.DriftSize},
		{"sparse-terabyte", func(l live) error { return os.Truncate(l.at("empty"), 1<<40) }, "/empty", reason.DriftSize},
		{"missing", func(l live) error { return os.Remove(l.at("bin/agent")) }, "/bin/agent", reason.DriftMissing},
		{"mode", func(l live) error { return os.Chmod(l.at("bin/agent"), 0o755) }, "/bin/agent", reason.DriftMode},
		{"mode-setuid", func(l live) error { return unix.Chmod(l.at("bin/agent"), 0o4751) }, "/bin/agent", reason.DriftMode},
		{"mode-of-directory", func(l live) error { return os.Chmod(l.at("etc"), 0o777) }, "/etc", reason.DriftMode},
		{"mode-of-root", func(l live) error { return os.Chmod(l.dir, 0o777) }, "/", reason.DriftMode},
		{"link-retargeted", func(l live) error {
			return errors.Join(os.Remove(l.at("lib")), os.Symlink("/etc", l.at("lib")))
		}, "/lib", reason.DriftLink},
		{"link-absolute-to-host", func(l live) error {
			return errors.Join(os.Remove(l.at("bin/agent")), os.Symlink(outside, l.at("bin/agent")))
		}, "/bin/agent", reason.DriftType},
		{"link-to-itself", func(l live) error {
			return errors.Join(os.Remove(l.at("bin/agent")), os.Symlink("agent", l.at("bin/agent")))
		}, "/bin/agent", reason.DriftType},
		{"link-to-proc", func(l live) error {
			return errors.Join(os.Remove(l.at("bin/agent")), os.Symlink("/proc/self/exe", l.at("bin/agent")))
		}, "/bin/agent", reason.DriftType},
		{"link-on-the-way-to-host", func(l live) error {
			l.must(os.RemoveAll(l.at("bin")), os.Rename(outside, filepath.Dir(outside)+"/agent"))
			l.t.Cleanup(func() { _ = os.Rename(filepath.Dir(outside)+"/agent", outside) })
			return os.Symlink(filepath.Dir(outside), l.at("bin"))
		}, "/bin", reason.DriftType},
		{"link-on-the-way-inside", func(l live) error {
			return errors.Join(os.Rename(l.at("bin"), l.at("bin2")), os.Symlink("bin2", l.at("bin")))
		}, "/bin", reason.DriftType},
		{"fifo", func(l live) error {
			return errors.Join(os.Remove(l.at("bin/agent")), unix.Mkfifo(l.at("bin/agent"), 0o751))
		}, "/bin/agent", reason.DriftType},
		{"file-for-fifo", func(l live) error {
			return errors.Join(os.Remove(l.at("etc/pipe")), os.WriteFile(l.at("etc/pipe"), nil, 0o600))
		}, "/etc/pipe", reason.DriftType},
		{"socket", func(l live) error {
			l.must(os.Remove(l.at("bin/agent")))
			s, err := net.Listen("unix", l.at("bin/agent"))
			if err == nil {
				l.t.Cleanup(func() { s.Close() })
			}
			return err
		}, "/bin/agent", reason.DriftType},
		{"device", func(l live) error {
			return errors.Join(os.Remove(l.at("bin/agent")), unix.Mknod(l.at("bin/agent"), unix.S_IFCHR|0o751, int(unix.Mkdev(1, 5))))
		}, "/bin/agent", reason.DriftType},
		{"directory", func(l live) error {
			return errors.Join(os.Remove(l.at("bin/agent")), os.Mkdir(l.at("bin/agent"), 0o751))
		}, "/bin/agent", reason.DriftType},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLive(t)
			if d := l.sweep(l.target()); len(d) != 0 {
				t.Fatalf("before: %+v", d)
			}
			if err := tc.do(l); errors.Is(err, unix.EPERM) {
				t.Skip("ZTLAUNCH_E2E: no right to make devices")
			} else if err != nil {
				t.Fatal(err)
			}
			d := l.sweep(l.target())
			if len(d) == 0 || d[0].Path != tc.path || d[0].Code != tc.want {
				t.Errorf("found %+v, want %s at %s", d, tc.want, tc.path)
			}
		})
	}
}

func TestSkipAndPrefix(t *testing.T) {
	l := newLive(t)
	l.must(os.Mkdir(l.at("models"), 0o755), os.Mkdir(l.at("models/main"), 0o555), os.WriteFile(l.at("models/main/w"), []byte("w"), 0o444), os.Chmod(l.at("models/main"), 0o555))
	model, err := tree.FromFiles([]tree.Entry{{Path: ".", Type: tree.Dir, Mode: 0o555}, {Path: "w", Type: tree.File, Mode: 0o444, Size: 1, Digest: digest.FromString("w")}})
	l.must(err)
	target := Target{Root: l.root, Prefix: "models/main", Tree: model}
	if d := l.sweep(target); len(d) != 0 {
		t.Fatalf("%+v", d)
	}
	l.must(os.Chmod(l.at("models/main/w"), 0o644), os.WriteFile(l.at("models/main/w"), []byte("v"), 0), os.Chmod(l.at("models/main/w"), 0o444))
	if d := l.sweep(target); len(d) != 1 || d[0].Path != "/models/main/w" || d[0].Code != reason.DriftBytes {
		t.Errorf("%+v", d)
	}
	target.Skip = map[string]bool{"w": true}
	if d := l.sweep(target); len(d) != 0 {
		t.Errorf("skipped, yet %+v", d)
	}
	l.must(os.RemoveAll(l.at("models")), os.Symlink("/", l.at("models")))
	if d := l.sweep(target); len(d) != 1 || d[0].Code != reason.DriftType || d[0].Path != "/models/main" {
		t.Errorf("behind a link: %+v", d)
	}
}

// TestUnreadable: what cannot be looked at has drifted.
func TestUnreadable(t *testing.T) {
	l := newLive(t)
	target := l.target()
	target.Prefix = "a\x00b"
	if d := l.sweep(target); len(d) != 1 || d[0].Code != reason.DriftUnreadable || d[0].Code.Class() != reason.CannotTell {
		t.Errorf("%+v", d)
	}
	if _, err := Sweep(t.Context(), Target{Root: l.root}); err == nil {
		t.Error("a sweep for no tree passes")
	}
	if _, err := Sweep(t.Context(), Target{Tree: l.tree}); err == nil {
		t.Error("a sweep of no root passes")
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if d, err := Sweep(ctx, l.target()); err == nil {
		t.Errorf("a sweep that was called off passes with %+v", d)
	}
}

// TestMountOver grafts files and folders over a live root, with the same bytes
// and with others. It needs a mount namespace of its own.
func TestMountOver(t *testing.T) {
	l := newLive(t)
	done := make(chan string)
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			done <- err.Error()
			return
		}
		root, err := os.OpenFile("/proc/thread-self/root", unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil || unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") != nil {
			t.Error("no private mount namespace")
			return
		}
		defer root.Close()
		same := l.dir + "-same"
		if err := errors.Join(os.WriteFile(same, []byte("agent code"), 0o751), os.Chmod(same, 0o751)); err != nil {
			t.Error(err)
			return
		}
		defer os.Remove(same)
		if err := unix.Mount(same, l.at("bin/agent"), "", unix.MS_BIND, ""); err != nil {
			t.Error(err)
			return
		}
		// The descriptor of the root was opened in another mount namespace, so
		// the graft is looked for from this one.
		here, err := os.OpenFile(l.dir, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer here.Close()
		for _, e := range []string{"bin/agent", "etc/passwd"} {
			ent, _ := l.tree.Lookup(e)
			d := one(t.Context(), int(here.Fd()), ent, make([]byte, 4096))
			if want := map[string]reason.Code{"bin/agent": reason.DriftMount}[e]; d.Code != want {
				t.Errorf("%s: %+v, want %q", e, d, want)
			}
		}
		if err := unix.Mount("none", l.at("etc"), "tmpfs", 0, "mode=0700"); err != nil {
			t.Error(err)
			return
		}
		for _, e := range []string{"etc", "etc/passwd"} {
			ent, _ := l.tree.Lookup(e)
			if d := one(t.Context(), int(here.Fd()), ent, make([]byte, 4096)); d.Code != reason.DriftMount {
				t.Errorf("%s under a tmpfs: %+v", e, d)
			}
		}
		x := extra{ctx: t.Context(), target: l.target(), base: int(here.Fd())}
		if err := x.directory("", 0); err != nil || len(x.drifts) != 0 {
			t.Errorf("extra enters a mount: %+v, %v", x.drifts, err)
		}
	}()
	if why := <-done; why != "" {
		t.Skip("ZTLAUNCH_E2E: no right to a mount namespace: ", why)
	}
}

func TestExtra(t *testing.T) {
	l := newLive(t)
	look := func() []Drift {
		t.Helper()
		d, err := Extra(t.Context(), l.target())
		l.must(err)
		return d
	}
	l.must(os.MkdirAll(l.at("run"), 0o755), os.WriteFile(l.at("etc/hosts"), []byte("127.0.0.1 x"), 0o644))
	if d := look(); len(d) != 0 {
		t.Fatalf("before: %+v", d)
	}
	l.must(os.WriteFile(l.at("bin/tool"), nil, 0o755), os.Symlink("/etc/shadow", l.at("etc/link")), os.MkdirAll(l.at("new/deep"), 0o755),
		unix.Mkfifo(l.at("pipe"), 0o600))
	want := []Drift{
		{"/bin/tool", reason.DriftExtra, "nothing", "a regular file"}, {"/etc/link", reason.DriftExtra, "nothing", "a symlink"},
		{"/new", reason.DriftExtra, "nothing", "a directory"}, {"/pipe", reason.DriftExtra, "nothing", "a FIFO"},
	}
	got := look()
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
	// A directory that became a link is not entered.
	l.must(os.RemoveAll(l.at("bin")), os.Symlink("/usr", l.at("bin")))
	for _, d := range look() {
		if strings.HasPrefix(d.Path, "/bin") && d.Code == reason.DriftExtra {
			t.Errorf("went through a link: %+v", d)
		}
	}
	for i := range 2 * maxDrifts {
		l.must(os.WriteFile(l.at("x"+strings.Repeat("x", i)), nil, 0o600))
	}
	if d := look(); len(d) != maxDrifts {
		t.Errorf("%d drifts", len(d))
	}
}

func TestWatch(t *testing.T) {
	l := newLive(t)
	type out struct {
		d   []Drift
		err error
	}
	watch := func(ctx context.Context, events <-chan Drift) <-chan out {
		c := make(chan out, 1)
		go func() {
			d, err := Watch(ctx, time.Millisecond, events, l.target())
			c <- out{d, err}
		}()
		return c
	}
	ctx, stop := context.WithCancel(t.Context())
	c := watch(ctx, nil)
	stop()
	if o := <-c; !errors.Is(o.err, context.Canceled) || len(o.d) != 0 {
		t.Errorf("called off: %+v", o)
	}

	events := make(chan Drift, 1)
	c = watch(t.Context(), events)
	events <- Drift{Path: "/bin/agent", Code: "at-exec"}
	if o := <-c; len(o.d) != 1 || o.d[0].Code != "at-exec" {
		t.Errorf("an event: %+v", o)
	}

	closed := make(chan Drift)
	close(closed) // a guard that ends does not end the watch
	c = watch(t.Context(), closed)
	l.must(os.Truncate(l.at("bin/agent"), 3))
	if o := <-c; o.err != nil || len(o.d) != 1 || o.d[0].Path != "/bin/agent" {
		t.Errorf("a change: %+v", o)
	}
	if _, err := Watch(t.Context(), 0, nil, l.target()); err == nil {
		t.Error("an interval of nothing is taken")
	}
}

// BenchmarkSweep reads 148 MB in 1449 files, as the reference measured.
func BenchmarkSweep(b *testing.B) {
	dir := b.TempDir()
	data := make([]byte, 148_000_000/1449)
	sum := digest.FromBytes(data)
	var entries []tree.Entry
	for i := range 1449 {
		name := "f" + strings.Repeat("x", i%100) + string(rune('a'+i/100))
		if err := os.WriteFile(dir+"/"+name, data, 0o600); err != nil {
			b.Fatal(err)
		}
		entries = append(entries, tree.Entry{Path: name, Type: tree.File, Mode: 0o600, Size: int64(len(data)), Digest: sum})
	}
	made, err := tree.FromFiles(entries)
	if err != nil {
		b.Fatal(err)
	}
	root, err := os.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data) * 1449))
	for b.Loop() {
		if d, err := Sweep(b.Context(), Target{Root: root, Tree: made}); err != nil || len(d) != 0 {
			b.Fatal(d, err)
		}
	}
}
