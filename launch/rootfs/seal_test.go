package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

func TestSeal(t *testing.T) {
	needRoot(t)
	tr, src := spooled(t, sample())
	raw, err := os.ReadFile(built(t, tr, src))
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range forms {
		t.Run(string(form), func(t *testing.T) {
			image := digest.FromBytes(raw)
			if form == Extracted {
				image = ""
			}
			s := sealedAs(t, form, tr, src)
			if s.Form() != form || s.Tree() != tr.Digest() || s.Size() == 0 || s.Image() != image || !s.Hashed().IsZero() {
				t.Errorf("sealed as %+v, want image %s", s, image)
			}
			if err := s.Prove(); err != nil {
				t.Error(err)
			}
			if err := s.Rehash(context.Background(), tr); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			wantCode(t, s.Prove(), reason.SealBroken)
		})
	}
	wantCode(t, (*Sealed)(nil).Prove(), reason.SealBroken)
	wantCode(t, new(Sealed).Prove(), reason.SealBroken)
	if _, err := new(Sealed).Mount(nil); err == nil {
		t.Error("the zero seal mounts")
	}
}

// TestSealReadOnly tries to write to the root by every way that a path gives.
func TestSealReadOnly(t *testing.T) {
	needRoot(t)
	for _, form := range forms {
		t.Run(string(form), func(t *testing.T) { sealReadOnly(t, form) })
	}
}

func sealReadOnly(t *testing.T, form Form) {
	tr, src := spooled(t, sample())
	s := sealedAs(t, form, tr, src)
	m, err := s.Mount(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(m)
	inPrivate(t, func() error {
		at := t.TempDir()
		if err := Place(m, at); err != nil {
			return err
		}
		var st unix.Statfs_t
		if err := unix.Statfs(at, &st); err != nil {
			return err
		}
		if st.Flags&unix.ST_NOSUID == 0 || st.Flags&unix.ST_NODEV == 0 {
			return fmt.Errorf("flags %#x", st.Flags)
		}
		// Even when somebody makes the mount writable, the superblock is not.
		_ = unix.MountSetattr(int(m.Fd()), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
		if form != Extracted { // a superblock of tmpfs may be made writable again by host root
			_ = unix.Mount("", at, "", unix.MS_REMOUNT, "")
		}
		for name, err := range map[string]error{
			"write":    os.WriteFile(at+"/etc/empty", []byte("x"), 0o600),
			"create":   os.WriteFile(at+"/new", nil, 0o600),
			"remove":   os.Remove(at + "/etc/empty"),
			"chmod":    os.Chmod(at+"/usr/bin/su", 0o777),
			"rename":   os.Rename(at+"/etc/empty", at+"/etc/full"),
			"truncate": os.Truncate(at+"/usr/bin/su", 0),
		} {
			if !errors.Is(err, unix.EROFS) {
				return fmt.Errorf("%s: %w, want EROFS", name, err)
			}
		}
		return nil
	})
}

// TestSealImageUnreachable shows that no descriptor of the image can be made
// writable again, not even while it is open, and that the seal keeps none.
func TestSealImageUnreachable(t *testing.T) {
	needRoot(t)
	ram, err := newFS("ramfs", map[string]string{"mode": "0700"}, nil, attrs)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(ram)
	out, err := openImage(ram, unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		t.Fatal(err)
	}
	if err := freeze(ram); err == nil {
		t.Fatal("frozen while somebody can write")
	}
	closeAll(out)
	image, err := openImage(ram, unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(image)
	if err := freeze(ram); err != nil {
		t.Fatal(err)
	}
	if _, err := os.OpenFile(fdPath(image), os.O_RDWR, 0); !errors.Is(err, unix.EROFS) {
		t.Errorf("reopened for writing: %v", err)
	}
	for name, err := range map[string]error{
		"truncate":  unix.Ftruncate(int(image.Fd()), 0),
		"fallocate": unix.Fallocate(int(image.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096),
		"mkdir":     unix.Mkdirat(int(ram.Fd()), "x", 0o700),
		"unlink":    unix.Unlinkat(int(ram.Fd()), "root.erofs", 0),
	} {
		if err == nil {
			t.Errorf("%s succeeds", name)
		}
	}

	tr, src := spooled(t, sample())
	before := openFiles(t)
	s := sealed(t, tr, src)
	if after := openFiles(t); len(after) != len(before)+1 {
		t.Errorf("the seal holds %d descriptors, want its mount alone: %v", len(after)-len(before), after)
	}
	_ = s.Close()
	if after := openFiles(t); len(after) != len(before) {
		t.Errorf("%d descriptors more after Close: %v", len(after)-len(before), after)
	}
}

func openFiles(t testing.TB) []string {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, n := range names {
		if to, err := os.Readlink("/proc/self/fd/" + n.Name()); err == nil {
			out = append(out, to)
		}
	}
	return out
}

func TestSealRefuses(t *testing.T) {
	needRoot(t)
	ctx := context.Background()
	other, _ := spooled(t, []member{file("other", "")})
	before := len(openFiles(t))
	for _, form := range forms {
		t.Run(string(form), func(t *testing.T) {
			tr, src := spooled(t, sample())
			t.Run("tree", func(t *testing.T) {
				_, err := Seal(ctx, form, tr, other.Digest(), src, Limits{})
				wantCode(t, err, reason.TreeNotAdmitted)
				_, err = Seal(ctx, form, tree.Tree{}, "", src, Limits{})
				wantCode(t, err, reason.TreeNotAdmitted)
			})
			t.Run("size", func(t *testing.T) {
				_, err := Seal(ctx, form, tr, tr.Digest(), src, Limits{Size: tr.Size() + 4096})
				wantCode(t, err, reason.SealTooLarge)
				_, err = Seal(ctx, form, tr, tr.Digest(), src, Limits{Size: tr.Size() - 1})
				wantCode(t, err, reason.SealTooLarge)
			})
			// Whoever overwrites the spooled layer behind our back gains nothing.
			t.Run("spool-overwritten", func(t *testing.T) {
				e, _ := tr.Lookup("usr/bin/su")
				f := src.blob[e.Blob]
				if _, err := f.WriteAt([]byte("evil"), e.Offset+5000); err != nil {
					t.Fatal(err)
				}
				_, err := Seal(ctx, form, tr, tr.Digest(), src, Limits{})
				wantCode(t, err, reason.DigestMismatchFile)
				if !strings.Contains(err.Error(), `"usr/bin/su`) {
					t.Errorf("%v does not name the file", err)
				}
			})
			t.Run("cancelled", func(t *testing.T) {
				stopped, cancel := context.WithCancel(ctx)
				cancel()
				if _, err := Seal(stopped, form, tr, tr.Digest(), src, Limits{}); !errors.Is(err, context.Canceled) {
					t.Errorf("not cancelled: %v", err)
				}
			})
		})
	}
	_, err := Seal(ctx, "", other, other.Digest(), nil, Limits{})
	wantCode(t, err, reason.SealUnsupported)
	if after := len(openFiles(t)); after != before {
		t.Errorf("%d descriptors left open", after-before)
	}
}

// TestSealReadsBack refuses a seal whose image is not the Tree that was given, whoever
// is to blame, and has the memfd of the form InLoop beyond all writing.
func TestSealReadsBack(t *testing.T) {
	needRoot(t)
	ctx := context.Background()
	tr, src := spooled(t, sample())
	other, _ := spooled(t, append(sample(), file("etc/more", "")))
	for form, seal := range map[Form]func(context.Context, tree.Tree, Source, Limits) (*Sealed, *os.File, error){InRAMFS: sealRAMFS, InLoop: sealLoop} {
		s, image, err := seal(ctx, tr, src, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		s.tree = other.Digest()
		wantCode(t, s.first(ctx, image, other), reason.RootMismatch)
		_, write := image.WriteAt([]byte("evil"), 4096)
		_, reseal := unix.FcntlInt(image.Fd(), unix.F_ADD_SEALS, 0)
		for name, err := range map[string]error{"write": write, "truncate": image.Truncate(0), "grow": image.Truncate(1 << 30), "seals": reseal} {
			if err == nil {
				t.Errorf("%s: %s succeeds", form, name)
			}
		}
		closeAll(image)
		_ = s.Close()
	}
}

// TestLoopChanged swaps the file behind the loop device, as only host root can, and
// shows that Prove sees it and that the device goes away with its mount.
func TestLoopChanged(t *testing.T) {
	needRoot(t)
	tr, src := spooled(t, sample())
	s := sealedAs(t, InLoop, tr, src)
	var st unix.Stat_t
	if err := unix.Fstat(int(s.mount.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	loop, err := os.Open(fmt.Sprintf("/dev/loop%d", unix.Minor(st.Dev)))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(built(t, tr, src))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.MemfdCreate("evil", 0)
	if err != nil {
		t.Fatal(err)
	}
	evil := os.NewFile(uintptr(fd), "evil")
	if _, err := evil.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := s.Prove(); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(loop.Fd()), loopChangeFD, fd); err != nil {
		t.Fatalf("the attack fails: %v", err)
	}
	wantCode(t, s.Prove(), reason.SealBroken)
	var in unix.Stat_t
	if err := unix.Fstat(fd, &in); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	closeAll(loop)
	if loop, err = os.Open(loop.Name()); err != nil {
		t.Fatal(err)
	}
	defer closeAll(loop, evil)
	if info, err := unix.IoctlLoopGetStatus64(int(loop.Fd())); err == nil && info.Inode == in.Ino {
		t.Errorf("%s still has its file", loop.Name())
	}
}

// loopChangeFD is LOOP_CHANGE_FD of include/uapi/linux/loop.h.
const loopChangeFD = 0x4c06

// TestRehashRefuses holds a good seal against trees that differ in one thing each.
func TestRehashRefuses(t *testing.T) {
	needRoot(t)
	ctx := context.Background()
	base := func() []tree.Entry {
		return []tree.Entry{
			{Path: "a", Type: tree.File, Mode: 0o644, Size: 1, Digest: digest.FromString("x"), Xattrs: map[string]string{"user.k": "v"}},
			{Path: "d/f", Type: tree.File, Mode: 0o644, Size: 1, Digest: digest.FromString("x")},
			{Path: "l", Type: tree.Symlink, Mode: 0o777, Link: "a"},
			{Path: "p", Type: tree.FIFO, Mode: 0o600},
		}
	}
	treeOf := func(es []tree.Entry) tree.Tree {
		tr, err := tree.FromFiles(es)
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	s := sealed(t, treeOf(base()), memory("x"))
	cases := []struct {
		name   string
		code   reason.Code
		change func([]tree.Entry) []tree.Entry
	}{
		{"bytes", reason.DigestMismatchFile, func(es []tree.Entry) []tree.Entry { es[0].Digest = digest.FromString("y"); return es }},
		{"size", reason.DigestMismatchFile, func(es []tree.Entry) []tree.Entry { es[0].Size = 2; return es }},
		{"mode", reason.RootMismatch, func(es []tree.Entry) []tree.Entry { es[0].Mode = 0o600; return es }},
		{"setuid", reason.RootMismatch, func(es []tree.Entry) []tree.Entry { es[0].Mode = 0o4644; return es }},
		{"uid", reason.RootMismatch, func(es []tree.Entry) []tree.Entry { es[1].UID = 1; return es }},
		{"gid", reason.RootMismatch, func(es []tree.Entry) []tree.Entry { es[2].GID = 1; return es }},
		{"time", reason.RootMismatch, func(es []tree.Entry) []tree.Entry { es[3].MTime = 1; return es }},
		{"target", reason.RootMismatch, func(es []tree.Entry) []tree.Entry { es[2].Link = "b"; return es }},
		{"type", reason.RootMismatch, func(es []tree.Entry) []tree.Entry { es[3].Type = tree.Dir; return es }},
		{"missing", reason.RootMismatch, func(es []tree.Entry) []tree.Entry {
			return append(es, tree.Entry{Path: "n", Type: tree.FIFO})
		}},
		{"extra", reason.RootMismatch, func(es []tree.Entry) []tree.Entry { return es[:3] }},
		{"extra-below", reason.RootMismatch, func(es []tree.Entry) []tree.Entry {
			es[1] = tree.Entry{Path: "d", Type: tree.Dir, Mode: 0o755}
			return es
		}},
		{"xattr", reason.RootMismatch, func(es []tree.Entry) []tree.Entry { es[0].Xattrs["user.k"] = "w"; return es }},
		{"xattr-missing", reason.RootMismatch, func(es []tree.Entry) []tree.Entry {
			es[1].Xattrs = map[string]string{"user.k": "v"}
			return es
		}},
		{"xattr-extra", reason.RootMismatch, func(es []tree.Entry) []tree.Entry { es[0].Xattrs = nil; return es }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tr := treeOf(c.change(base()))
			wantCode(t, s.Rehash(ctx, tr), reason.TreeNotAdmitted)
			// A builder that sealed something else than the tree that it was given:
			forged := *s
			forged.tree = tr.Digest()
			// the image's own word about its tree is wrong, too; let that pass here.
			err := rehash(ctx, &forged, tr, s.tree)
			wantCode(t, err, c.code)
		})
	}
	if err := rehash(ctx, s, treeOf(base()), s.tree); err != nil {
		t.Fatal(err)
	}
	forged := *s
	forged.tree = digest.FromString("another")
	wantCode(t, rehash(ctx, &forged, treeOf(base()), forged.tree), reason.RootMismatch)
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Rehash(stopped, treeOf(base())); !errors.Is(err, context.Canceled) {
		t.Errorf("not cancelled: %v", err)
	}
}

func TestProve(t *testing.T) {
	needRoot(t)
	tr, src := spooled(t, sample())
	s, other := sealed(t, tr, src), sealed(t, tr, src)
	swap := func(name string, change func(*Sealed)) {
		t.Helper()
		bad := *s
		change(&bad)
		if err := bad.Prove(); err == nil {
			t.Errorf("%s: proved", name)
		} else {
			wantCode(t, err, reason.SealBroken)
		}
		if m, err := bad.Mount(nil); err == nil {
			closeAll(m)
			t.Errorf("%s: mounted", name)
		}
	}
	swap("another mount of the same image", func(b *Sealed) { b.mount = other.mount })
	swap("another id", func(b *Sealed) { b.id++ })
	plain, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(plain)
	swap("a plain folder", func(b *Sealed) { b.mount = plain })
	clone, err := cloneTree(s.mount)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(clone)
	id, err := uniqueID(clone)
	if err != nil {
		t.Fatal(err)
	}
	if err := prove(clone, unix.EROFS_SUPER_MAGIC_V1, id); err != nil {
		t.Fatal(err)
	}
	if err := unix.MountSetattr(int(clone.Fd()), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_NOSUID}); err != nil {
		t.Fatal(err)
	}
	swap("a mount that honours set-user-ID", func(b *Sealed) { b.mount, b.id = clone, id })
}

// again runs one test of this binary again, as another kind of user: the host's own.
func again(t *testing.T, test string, own int, attr *syscall.SysProcAttr) {
	t.Helper()
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(exe)
	tmp := filepath.Join(t.TempDir(), "own") // the other user reaches, and owns, it
	err = errors.Join(os.Mkdir(tmp, 0o700), os.Chmod(filepath.Dir(filepath.Dir(tmp)), 0o755), os.Chmod(filepath.Dir(tmp), 0o755), os.Chown(tmp, own, own))
	if err != nil {
		t.Fatal(err)
	}
	run := exec.Command("/proc/self/fd/3", "-test.run=^"+test+"$", "-test.v")
	run.Env = append(os.Environ(), "ROOTFS_TEST_CHILD="+test, "TMPDIR="+tmp)
	run.ExtraFiles = []*os.File{exe}
	run.SysProcAttr = attr
	run.Dir = "/"
	if out, err := run.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+test) {
		t.Fatalf("%v: %s", err, out)
	}
}

func isChild(test string) bool { return os.Getenv("ROOTFS_TEST_CHILD") == test }

// TestUnsupported asks for seals without any capability.
func TestUnsupported(t *testing.T) {
	if !isChild(t.Name()) {
		needRoot(t)
		again(t, t.Name(), 65534, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
		return
	}
	tr, err := tree.FromFiles([]tree.Entry{{Path: "a", Type: tree.File, Size: 1, Digest: digest.FromString("x")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range forms {
		_, err = Seal(context.Background(), form, tr, tr.Digest(), memory("x"), Limits{})
		wantCode(t, err, reason.SealUnsupported)
	}
	wantCode(t, Private(func() error { return nil }), reason.SealUnsupported)
}

// TestRootless seals the one form that a user namespace can.
func TestRootless(t *testing.T) {
	if !isChild(t.Name()) {
		needRoot(t)
		again(t, t.Name(), base, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
			UidMappings: blockMap, GidMappings: blockMap, Credential: &syscall.Credential{}, GidMappingsEnableSetgroups: true})
		return
	}
	dir := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	tr, src := spooled(t, sample())
	for _, form := range forms[:2] {
		_, err := Seal(context.Background(), form, tr, tr.Digest(), src, Limits{})
		wantCode(t, err, reason.SealUnsupported)
	}
	s := sealedAs(t, Extracted, tr, src)
	m, err := s.Mount(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(m)
	inPrivate(t, func() error {
		if err := Place(m, dir); err != nil {
			return err
		}
		if got := owner(dir + "/usr/bin/su"); got != "1:65535" {
			return fmt.Errorf("su is %s", got)
		}
		at := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
		_ = unix.MountSetattr(unix.AT_FDCWD, dir, 0, &at)
		if err := os.WriteFile(dir+"/etc/empty", []byte("x"), 0o600); !errors.Is(err, unix.EROFS) {
			return fmt.Errorf("writable: %w", err)
		}
		_, err := Points(tr, dir, []Point{{"work/here", true}}, nil)
		return err
	})
}
