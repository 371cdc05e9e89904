package rootfs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// rehashers is how many files Rehash reads at once.
const rehashers = 2

// Rehash holds everything below the sealed mount against t: no path more or less,
// each of the type, mode, owner, time, target, attributes and bytes that t says. The
// first difference is digest-mismatch-file for bytes and root-mismatch for the rest;
// both name the path.
func (s *Sealed) Rehash(ctx context.Context, t tree.Tree) error {
	if s == nil || s.mount == nil {
		return (*Sealed)(nil).broken("hash sealed root", "a seal", "none")
	}
	if t.Digest() != s.tree {
		return &reason.Error{Code: reason.TreeNotAdmitted, What: "hash sealed root", Expected: string(s.tree), Found: string(t.Digest())}
	}
	named := s.tree
	if s.form == Extracted {
		named = ""
	}
	return rehash(ctx, s, t, named)
}

// rehash is Rehash of a root that says of itself that it is of the Tree named, if any.
func rehash(ctx context.Context, s *Sealed, t tree.Tree, named digest.Digest) error {
	entries := slices.Collect(t.Entries())
	kids := map[string]int{}
	for i := range entries[1:] {
		kids[path.Dir(entries[i+1].Path)]++
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range rehashers {
		wg.Go(func() {
			c := check{root: int(s.mount.Fd()), tree: named, ids: s.ids, kids: kids, buf: make([]byte, 256<<10)}
			for i := next.Add(1) - 1; i < int64(len(entries)); i = next.Add(1) - 1 {
				if ctx.Err() != nil {
					return
				}
				if err := c.entry(&entries[i]); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// check is one worker of Rehash.
type check struct {
	root int
	tree digest.Digest
	ids  *IDs
	kids map[string]int // how many children the Tree has below a path
	buf  []byte
}

func (c *check) entry(e *tree.Entry) error {
	refuse := func(want, got any) error {
		return &reason.Error{Code: reason.RootMismatch, What: fmt.Sprintf("check %q", e.Path), Expected: fmt.Sprint(want), Found: fmt.Sprint(got)}
	}
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS}
	if e.Type == tree.Symlink || e.Type == tree.FIFO {
		how.Flags = unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW
	}
	fd, err := unix.Openat2(c.root, e.Path, &how)
	if err != nil {
		return refuse(e.Type, err)
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return refuse(e.Type, err)
	}
	want := [...]int64{int64(typeBits(e.Type) | e.Mode), int64(c.ids.UID(e.UID)), int64(c.ids.GID(e.GID)), e.MTime}
	got := [...]int64{int64(st.Mode), int64(st.Uid), int64(st.Gid), st.Mtim.Sec}
	if want != got {
		text := "mode %o, owner %d:%d, time %d"
		return refuse(fmt.Sprintf(text, want[0], want[1], want[2], want[3]), fmt.Sprintf(text, got[0], got[1], got[2], got[3]))
	}
	switch e.Type {
	case tree.Symlink:
		n, err := unix.Readlinkat(fd, "", c.buf)
		if err != nil || string(c.buf[:n]) != e.Link {
			return refuse(fmt.Sprintf("target %q", e.Link), fmt.Sprintf("target %q, %v", c.buf[:max(n, 0)], err))
		}
		return nil
	case tree.FIFO:
		return nil
	case tree.Dir:
		names, err := listNames(fd, c.buf)
		if err != nil || names != c.kids[e.Path] {
			return refuse(fmt.Sprintf("%d names", c.kids[e.Path]), fmt.Sprintf("%d names, %v", names, err))
		}
	case tree.File:
		if st.Size != e.Size {
			return mismatch(e.Path, fmt.Sprintf("%d bytes", e.Size), fmt.Sprintf("%d bytes", st.Size))
		}
		if err := c.content(fd, e); err != nil {
			return err
		}
	}
	return c.xattrs(fd, e, refuse)
}

// content hashes a file.
func (c *check) content(fd int, e *tree.Entry) error {
	h := sha256.New()
	for {
		n, err := unix.Read(fd, c.buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return mismatch(e.Path, string(e.Digest), err.Error())
		case n == 0:
			if sum := digest.NewDigest(digest.SHA256, h); sum != e.Digest {
				return mismatch(e.Path, string(e.Digest), string(sum))
			}
			return nil
		}
		h.Write(c.buf[:n])
	}
}

// xattrs compares all extended attributes.
func (c *check) xattrs(fd int, e *tree.Entry, refuse func(want, got any) error) error {
	n, err := unix.Flistxattr(fd, c.buf)
	if err != nil {
		return refuse("extended attributes", err)
	}
	found, all := 0, imageXattrs(*e, c.tree)
	for name := range names(string(c.buf[:n])) {
		v := make([]byte, 64<<10)
		m, err := unix.Fgetxattr(fd, name, v)
		if want, ok := all[name]; err != nil || !ok || want != string(v[:max(m, 0)]) {
			return refuse(fmt.Sprintf("extended attribute %q = %q", name, want), fmt.Sprintf("%q, %v", v[:max(m, 0)], err))
		}
		found++
	}
	if found != len(all) {
		return refuse(fmt.Sprintf("%d extended attributes", len(all)), found)
	}
	return nil
}

// names splits a list of NUL-terminated names.
func names(list string) func(func(string) bool) {
	return func(yield func(string) bool) {
		start := 0
		for i := range len(list) {
			if list[i] == 0 {
				if !yield(list[start:i]) {
					return
				}
				start = i + 1
			}
		}
	}
}

// listNames counts a directory's names but "." and "..".
func listNames(fd int, buf []byte) (int, error) {
	count := 0
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			return count, os.NewSyscallError("getdents", err)
		}
		if n == 0 {
			return count, nil
		}
		_, m, _ := unix.ParseDirent(buf[:n], -1, nil)
		count += m
	}
}

func typeBits(t tree.Type) uint32 {
	switch t {
	case tree.Dir:
		return unix.S_IFDIR
	case tree.Symlink:
		return unix.S_IFLNK
	case tree.FIFO:
		return unix.S_IFIFO
	case tree.File:
		return unix.S_IFREG
	}
	return 0
}
