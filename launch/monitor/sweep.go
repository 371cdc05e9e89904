package monitor

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

const (
	inside = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS
	within = inside | unix.RESOLVE_NO_XDEV
	quiet  = unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	looks  = unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW
)

// Sweep compares every path of the Tree, but for those skipped and those that
// ztlaunch added as mount points, with what is there, and reads every file. The
// drifts are sorted by path, at most 100 of them. The error is ctx's, or that
// there is nothing to compare.
func Sweep(ctx context.Context, t Target) ([]Drift, error) {
	if t.Root == nil || t.Tree.Zero() {
		return nil, errors.New("sweep: no root or no tree")
	}
	base, err := openat(int(t.Root.Fd()), cmp.Or(t.Prefix, "."), looks|unix.O_DIRECTORY, inside)
	if err != nil {
		return []Drift{wrong(t.Prefix, err)}, ctx.Err()
	}
	defer base.Close()
	work := make(chan tree.Entry, 64)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var drifts []Drift
	for range min(runtime.GOMAXPROCS(0), 4) {
		wg.Go(func() {
			buf := make([]byte, 256<<10)
			for e := range work {
				if ctx.Err() != nil {
					continue
				}
				d := one(ctx, int(base.Fd()), e, buf)
				if d.Code == "" {
					continue
				}
				d.Path = path.Join("/", t.Prefix, e.Path)
				mu.Lock()
				if len(drifts) < maxDrifts {
					drifts = append(drifts, d)
				}
				mu.Unlock()
			}
		})
	}
	for e := range t.Tree.Entries() {
		if e.Origin == tree.Ours || t.Skip[e.Path] {
			continue
		}
		work <- e
	}
	close(work)
	wg.Wait()
	slices.SortFunc(drifts, func(a, b Drift) int { return strings.Compare(a.Path, b.Path) })
	return drifts, ctx.Err()
}

// one compares one path; the zero Drift means that it is as it should be.
func one(ctx context.Context, base int, e tree.Entry, buf []byte) Drift {
	at, err := openat(base, e.Path, looks, within)
	if err != nil {
		return wrong(e.Path, err)
	}
	defer at.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(at.Fd()), &st); err != nil {
		return wrong(e.Path, err)
	}
	if want := kindOf(e.Type); st.Mode&unix.S_IFMT != want {
		return Drift{Code: reason.DriftType, Expected: kindName(want), Found: kindName(st.Mode & unix.S_IFMT)}
	}
	if mode := st.Mode & 0o7777; mode != e.Mode && e.Type != tree.Symlink {
		return Drift{Code: reason.DriftMode, Expected: fmt.Sprintf("%04o", e.Mode), Found: fmt.Sprintf("%04o", mode)}
	}
	switch e.Type {
	case tree.Symlink:
		n, err := unix.Readlinkat(int(at.Fd()), "", buf)
		if err != nil {
			return wrong(e.Path, err)
		}
		if got := string(buf[:n]); got != e.Link {
			return Drift{Code: reason.DriftLink, Expected: e.Link, Found: got}
		}
	case tree.File:
		if st.Size != e.Size { // no need to read it to refuse it
			return Drift{Code: reason.DriftSize, Expected: fmt.Sprintf("%d bytes", e.Size), Found: fmt.Sprintf("%d bytes", st.Size)}
		}
		return file(ctx, base, e, &st, buf)
	default: // nothing more to compare
	}
	return Drift{}
}

// file reads and hashes what st was seen to be.
func file(ctx context.Context, base int, e tree.Entry, st *unix.Stat_t, buf []byte) Drift {
	f, err := openat(base, e.Path, unix.O_RDONLY|quiet, within)
	if err != nil {
		return wrong(e.Path, err)
	}
	defer f.Close()
	var now unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &now); err != nil {
		return wrong(e.Path, err)
	}
	if now.Dev != st.Dev || now.Ino != st.Ino || now.Mode != st.Mode {
		return Drift{Code: reason.DriftType, Expected: "one file", Found: "another one a moment later"}
	}
	h, left := sha256.New(), e.Size+1
	for left > 0 && ctx.Err() == nil {
		n, err := f.Read(buf[:min(left, int64(len(buf)))])
		h.Write(buf[:n])
		left -= int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return wrong(e.Path, err)
		}
	}
	if ctx.Err() != nil {
		return Drift{} // Sweep returns the error
	}
	if got := digest.NewDigest(digest.SHA256, h); got != e.Digest {
		return Drift{Code: reason.DriftBytes, Expected: e.Digest.String(), Found: got.String()}
	}
	return Drift{}
}

// openat is openat2 with retries.
func openat(dir int, name string, flags uint64, resolve uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: flags, Resolve: resolve}
	for {
		fd, err := unix.Openat2(dir, name, &how)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), name), nil
		case unix.EINTR, unix.EAGAIN:
			continue
		}
		return nil, err
	}
}

// wrong names why a path cannot be looked at.
func wrong(name string, err error) Drift {
	d := Drift{Path: path.Join("/", name), Code: reason.DriftUnreadable, Expected: "what the tree says", Found: err.Error()}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		d.Code, d.Found = reason.DriftMissing, "nothing"
	case errors.Is(err, unix.ELOOP):
		d.Code, d.Expected, d.Found = reason.DriftType, "no symlink on the way", "a symlink"
	case errors.Is(err, unix.EXDEV):
		d.Code, d.Expected, d.Found = reason.DriftMount, "the tree's own mount", "another one"
	}
	return d
}

func kindOf(t tree.Type) uint32 {
	switch t {
	case tree.File:
		return unix.S_IFREG
	case tree.Dir:
		return unix.S_IFDIR
	case tree.Symlink:
		return unix.S_IFLNK
	case tree.FIFO:
		return unix.S_IFIFO
	}
	return 0 // matches nothing
}

func kindName(kind uint32) string {
	switch kind {
	case unix.S_IFREG:
		return "a regular file"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFLNK:
		return "a symlink"
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "a device"
	}
	return fmt.Sprintf("type %o", kind)
}
