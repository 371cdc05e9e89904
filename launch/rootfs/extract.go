package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// Extract is Seal in the form Extracted for one task: the files belong to ids, so that
// nothing has to map their owners.
func Extract(ctx context.Context, t tree.Tree, want digest.Digest, src Source, lim Limits, ids *IDs) (*Sealed, error) {
	if t.Zero() || t.Digest() != want {
		return nil, notAdmitted(t, want)
	}
	s, err := sealFiles(ctx, t, src, lim, ids)
	if err != nil {
		return nil, err
	}
	if err := s.Rehash(ctx, t); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// sealFiles writes the Tree's files into a detached tmpfs and makes that read-only.
func sealFiles(ctx context.Context, t tree.Tree, src Source, lim Limits, ids *IDs) (*Sealed, error) {
	if t.Size() > lim.size() {
		return nil, (&capped{most: lim.size()}).refusal(t.Size())
	}
	ram, err := newFS("tmpfs", map[string]string{"mode": "0700", "nr_inodes": "0",
		"size": strconv.FormatInt(lim.size(), 10)}, nil, attrs)
	if err != nil {
		return nil, unsupported("seal root", err)
	}
	if err := extract(ctx, t, src, ram, ids); err != nil {
		closeAll(ram)
		if errors.Is(err, unix.ENOSPC) {
			return nil, (&capped{most: lim.size()}).refusal(t.Size())
		}
		return nil, err
	}
	if err := errors.Join(freeze(ram), setAttr(ram, attrs|unix.MOUNT_ATTR_RDONLY, nil)); err != nil {
		closeAll(ram)
		return nil, err
	}
	s, err := newSealed(ram, Extracted, t.Digest(), t.Size())
	if err != nil {
		return nil, err
	}
	s.ids = ids
	return s, nil
}

// extract makes every entry below root, which is empty. Parents come before what they
// hold and are opened without following anything.
func extract(ctx context.Context, t tree.Tree, src Source, root *os.File, ids *IDs) error {
	buf := make([]byte, 256<<10)
	var dirs []tree.Entry
	dir, at := root, "."
	defer func() {
		if dir != root {
			closeAll(dir)
		}
	}()
	for e := range t.Entries() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.Type == tree.Dir {
			dirs = append(dirs, e)
		}
		if e.Path == "." {
			continue
		}
		if up := path.Dir(e.Path); up != at {
			d, err := beneath(root, up, unix.O_PATH|unix.O_DIRECTORY)
			if err != nil {
				return fmt.Errorf("extract %q: %w", e.Path, err)
			}
			if dir != root {
				closeAll(dir)
			}
			dir, at = d, up
		}
		if err := create(ctx, int(dir.Fd()), e, src, buf, ids); err != nil {
			if _, refused := reason.Of(err); refused {
				return err
			}
			return fmt.Errorf("extract %q: %w", e.Path, err)
		}
	}
	for i := len(dirs) - 1; i >= 0; i-- { // what is made in a directory changes its time
		d, err := beneath(root, dirs[i].Path, unix.O_RDONLY|unix.O_DIRECTORY)
		if err == nil {
			err = dress(int(d.Fd()), dirs[i], ids)
			closeAll(d)
		}
		if err != nil {
			return fmt.Errorf("extract %q: %w", dirs[i].Path, err)
		}
	}
	return nil
}

// beneath opens path below root, through directories only.
func beneath(root *os.File, path string, flags uint64) (*os.File, error) {
	fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV})
	if err != nil {
		return nil, &os.PathError{Op: "openat2", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// create makes one entry in the directory up. A directory gets its metadata later.
func create(ctx context.Context, up int, e tree.Entry, src Source, buf []byte, ids *IDs) error {
	name := path.Base(e.Path)
	owned := func(err error) error {
		if err == nil {
			err = unix.Fchownat(up, name, int(ids.UID(e.UID)), int(ids.GID(e.GID)), unix.AT_SYMLINK_NOFOLLOW)
		}
		if err == nil && e.Type == tree.FIFO {
			err = unix.Fchmodat(up, name, e.Mode, 0) // just made, and nobody else is here
		}
		if err == nil {
			err = unix.UtimesNanoAt(up, name, times(e), unix.AT_SYMLINK_NOFOLLOW)
		}
		return err
	}
	switch e.Type {
	case tree.Dir:
		return unix.Mkdirat(up, name, 0o700)
	case tree.Symlink:
		return owned(unix.Symlinkat(e.Link, up, name))
	case tree.FIFO:
		return owned(unix.Mknodat(up, name, unix.S_IFIFO|0o600, 0))
	case tree.File:
	default:
		return fmt.Errorf("type %q", e.Type)
	}
	fd, err := unix.Openat(up, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	defer closeAll(f)
	in := &copied{ctx: ctx, src: src, node: &node{entry: e}}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{in}, buf)
	_ = in.Close()
	if err != nil {
		return err
	}
	return dress(fd, e, ids)
}

func times(e tree.Entry) []unix.Timespec { return []unix.Timespec{{Sec: e.MTime}, {Sec: e.MTime}} }

// dress gives an open file or directory the metadata of e, its owner one of ids.
func dress(fd int, e tree.Entry, ids *IDs) error {
	for name, v := range e.Xattrs {
		if err := unix.Fsetxattr(fd, name, []byte(v), 0); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	if err := unix.Fchown(fd, int(ids.UID(e.UID)), int(ids.GID(e.GID))); err != nil {
		return os.NewSyscallError("fchown", err)
	}
	if err := unix.Fchmod(fd, e.Mode); err != nil { // after the owner, which clears set-ID bits
		return os.NewSyscallError("fchmod", err)
	}
	return os.NewSyscallError("utimensat", unix.UtimesNanoAt(fd, "", times(e), unix.AT_EMPTY_PATH))
}
