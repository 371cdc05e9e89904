package rootfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/userns"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// BlockSize is how many uids and gids one task has.
const BlockSize = 1 << 16

// Range is Count ids from Start on.
type Range struct{ Start, Count uint32 }

// DefaultIDs is where tasks take their blocks from: 8192 of them, below 2^31, which
// some programs hold for negative.
func DefaultIDs() Range { return Range{0x40000000, 0x20000000} }

// SubIDs reads the ranges of an /etc/subuid or /etc/subgid: lines of
// "name:start:count", with comments and empty lines. A line that is anything else is
// an error: what it meant to cover must not be given to a task.
func SubIDs(r io.Reader) ([]Range, error) {
	var out []Range
	in := bufio.NewScanner(io.LimitReader(r, 16<<20))
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, ":")
		if len(f) != 3 {
			return nil, fmt.Errorf("read subordinate ids: line %d is not name:start:count", n)
		}
		start, err1 := strconv.ParseUint(f[1], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("read subordinate ids: line %d is not name:start:count", n)
		}
		out = append(out, Range{uint32(start), uint32(count)})
	}
	return out, in.Err()
}

func (r Range) overlaps(o Range) bool {
	return uint64(r.Start) < uint64(o.Start)+uint64(o.Count) && uint64(o.Start) < uint64(r.Start)+uint64(r.Count)
}

// IDs says what a task's ids are in the launcher's user namespace. Blocks that TakeIDs
// gives no other task has; they are held by a lock on an open file, so that each is free
// again when the last process that has the file is gone.
type IDs struct {
	Base   uint32 // first uid and first gid
	caller *caller
	lock   *os.File
}

// caller is the task's user and group in a launch without privilege.
type caller struct{ uid, gid uint32 }

// CallerIDs is the block of a launcher in a user namespace of its caller's, where
// nobody can map the owners of host files: the task's user uid:gid is the caller, 0 in
// the launcher's namespace, and so what the task writes is the caller's. Its other ids
// are the launcher's 1 to 65535, in order. All such tasks of one caller share them.
func CallerIDs(uid, gid uint32) *IDs { return &IDs{caller: &caller{uid, gid}} }

// Caller reports whether the task's user is the launcher's: then mounts map no owners.
func (i *IDs) Caller() bool { return i.caller != nil }

// UID is the task's uid, as the launcher sees it. A uid outside of the block is
// nobody's, 65534. Of a nil IDs both are the same.
func (i *IDs) UID(task uint32) uint32 {
	switch {
	case i == nil:
		return task
	case i.caller != nil:
		return shifted(task, i.caller.uid)
	}
	return i.Base + inBlock(task)
}

// GID is UID for groups.
func (i *IDs) GID(task uint32) uint32 {
	switch {
	case i == nil:
		return task
	case i.caller != nil:
		return shifted(task, i.caller.gid)
	}
	return i.Base + inBlock(task)
}

func inBlock(id uint32) uint32 {
	if id >= BlockSize {
		return 65534
	}
	return id
}

// shifted is task where own is 0, and those below own make room.
func shifted(task, own uint32) uint32 {
	switch task = inBlock(task); {
	case task == own:
		return 0
	case task < own:
		return task + 1
	}
	return task
}

// Maps are the uid and gid maps of the task's user namespace.
func (i *IDs) Maps() (uids, gids []userns.Map) {
	if i.caller == nil {
		return TaskMap(i.Base), TaskMap(i.Base)
	}
	return callerMap(i.caller.uid), callerMap(i.caller.gid)
}

func callerMap(own uint32) []userns.Map {
	all := []userns.Map{{Inside: own, Count: 1}}
	if own > 0 {
		all = append(all, userns.Map{Outside: 1, Count: own})
	}
	if own < BlockSize-1 {
		all = append(all, userns.Map{Inside: own + 1, Outside: own + 1, Count: BlockSize - 1 - own})
	}
	return all
}

// TakeIDs takes the first free block of from that touches none of covered. dir, made
// 0700 when missing, holds one empty file, "blocks", of which each byte is a block:
// who has an open file description lock on it (fcntl_locking(2)) has the block. No
// name comes or goes with a block, so nobody can take one away. When there is none:
// ids-exhausted.
func TakeIDs(dir string, from Range, covered []Range) (*IDs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("take ids: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "blocks"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("take ids: %w", err)
	}
	for i := range from.Count / BlockSize {
		block := Range{from.Start + i*BlockSize, BlockSize}
		if touches(block, covered) {
			continue
		}
		lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: int64(block.Start / BlockSize), Len: 1}
		switch err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); {
		case err == nil:
			return &IDs{Base: block.Start, lock: f}, nil
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES):
			closeAll(f)
			return nil, fmt.Errorf("take ids: %w", os.NewSyscallError("fcntl", err))
		}
	}
	closeAll(f)
	return nil, &reason.Error{Code: reason.IDsExhausted, What: "take ids",
		Expected: fmt.Sprintf("a free block of %d ids in %d..%d", BlockSize, from.Start, uint64(from.Start)+uint64(from.Count)-1), Found: "none"}
}

func touches(r Range, covered []Range) bool {
	for _, c := range covered {
		if r.overlaps(c) {
			return true
		}
	}
	return false
}

// File is the lock, nil where nothing is locked. A process that outlives the caller, as
// the keeper does, inherits it to hold the block.
func (i *IDs) File() *os.File { return i.lock }

// Release lets go of the block. It is free once every process that has the lock's
// file is gone.
func (i *IDs) Release() {
	if i.lock != nil {
		closeAll(i.lock)
	}
}

// lockFile opens and locks the file at path, made when missing. wait false makes it
// fail with EWOULDBLOCK when another has the lock.
func lockFile(path string, wait bool) (*os.File, error) {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), how)
		for errors.Is(err, unix.EINTR) {
			err = unix.Flock(int(f.Fd()), how)
		}
		if err != nil {
			closeAll(f)
			return nil, &os.PathError{Op: "flock", Path: path, Err: err}
		}
		// Who had the lock before may have removed the file: then it locks nothing.
		here, err1 := f.Stat()
		there, err2 := os.Lstat(path)
		if err1 == nil && err2 == nil && os.SameFile(here, there) {
			return f, nil
		}
		closeAll(f)
	}
}

// unlockFile lets go of a lock, and removes its name when nobody else holds it.
func unlockFile(f *os.File, path string) error {
	if err := f.Close(); err != nil {
		return err
	}
	again, err := lockFile(path, false)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(os.Remove(path), again.Close())
}
