// Package monitor holds live files against the Tree they should be, while a
// task runs: by reading them again on a clock, and by listening to whoever
// watches them being opened or executed.
//
// # Reading from outside
//
// A task's root is its own; a path in it that is resolved the usual way leads
// to the host's files as soon as the task makes a symlink. Every path is
// therefore opened with openat2 from a descriptor of the task's root
// (/proc/PID/root, or a mount), RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS,
// RESOLVE_NO_SYMLINKS and RESOLVE_NO_XDEV: no symlink is ever followed, because a
// Tree names every directory on the way as one, and what is mounted over a path
// of the Tree shows as such. The first descriptor is O_PATH, which opens no FIFO,
// device or socket; only what it shows to be a regular file is opened for
// reading, without blocking, and must be the same file.
//
// # What is compared
//
// The type, the permission bits, the target of a symlink, the size of a file and
// the sha256 of its bytes as read(2) gives them. Times, inode numbers and change
// counters never stand for bytes: a writer can reset them, and page-cache
// corruption does not touch them. Owners are not compared, because mounts map
// them, and neither are extended attributes. A file that cannot be read is a
// drift: what cannot be checked has not passed.
//
// # The seam for open and exec
//
// A sweep finds a change within its interval. Guards at open and exec (fanotify
// permission events, the BPF guard at exec) find it at that moment: they send the
// same Drift into the events channel of Watch, and the response is one and the
// same. Nothing in this package makes such events.
//
// # What this does not check
//
// Memory: a process that has mapped a file keeps what it mapped. Files for which
// no Tree speaks: Extra lists those, and reads none. A file system that does not
// answer (a dead network mount) holds a sweep up; the caller's own deadline must
// judge that.
package monitor

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// Drift is one difference between a Tree and the live files.
type Drift struct {
	Path     string      // in the task's root
	Code     reason.Code // drift-bytes, drift-type, ...
	Expected string
	Found    string
}

// Target is a Tree and where it should be found.
type Target struct {
	Root   *os.File        // the task's root or a mount; O_PATH is enough
	Prefix string          // where the Tree begins below Root: "" or "models/main"
	Tree   tree.Tree       //
	Skip   map[string]bool // paths of the Tree over which something else is mounted on purpose
}

// maxDrifts bounds what one sweep reports.
const maxDrifts = 100

// Watch sweeps the targets at every interval, counted from the start of the
// last sweep, until one of them has drifted, a Drift arrives in events (nil is
// allowed), or ctx ends. It returns what has drifted; when ctx ended, its error.
func Watch(ctx context.Context, interval time.Duration, events <-chan Drift, targets ...Target) ([]Drift, error) {
	if interval <= 0 {
		return nil, errors.New("watch: the interval is not positive")
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case d, ok := <-events:
			if ok {
				return []Drift{d}, nil
			}
			events = nil
		case <-tick.C:
			for _, t := range targets {
				if d, err := Sweep(ctx, t); err != nil || len(d) > 0 {
					return d, err
				}
			}
		}
	}
}
