// Package rootfs turns an admitted Tree into the root that a task sees: it writes
// one EROFS image straight from the verified layer streams, seals it so that no
// file on the host decides any more what the task reads, and mounts it.
//
// # The image
//
// Build walks the Tree in its own order and writes an EROFS image of 4096-byte
// blocks, uncompressed, with build time 0, so that the same Tree and builder
// Version give the same bytes. Every file is hashed while it is copied and its
// last bytes are not written before the hash is the Entry's
// (digest-mismatch-file); where its bytes come from need not be trusted. Hard links
// are inodes of their own: they share no blocks, and count in full towards the size
// cap (seal-too-large). Owners, modes, whole-second times and user.* attributes
// are the Tree's.
//
// # The seal
//
// A detached ramfs, never attached to any path, receives the image as its only
// file. The writing descriptor is closed, the superblock is made read-only, opening
// the file for writing is tried and must fail with EROFS, the image is hashed
// through a read-only descriptor, and EROFS is mounted from that descriptor, itself
// detached, nosuid and nodev. Then everything but the mount is closed. At last every
// path of the mount is held against the Tree: what is proved is what will be read,
// not what was written.
//
// Kernels before 6.12 mount EROFS from block devices only: there the image is a memfd
// with every seal on it, behind a read-only loop device that goes away with its last
// mount (form "loop"). LOOP_CHANGE_FD can put another file behind such a device; Prove
// holds the file behind it against the one at sealing. In a user namespace EROFS
// cannot be mounted at all: there the Tree's files are written into a detached tmpfs,
// path by path below its root, following nothing, and its superblock is made
// read-only (form "extracted"). Both are proved against the Tree in the same way.
//
// A seal is never given to a task itself: each launch clones the mount and maps the
// owners of its clone. Unmounting the last clone frees the memory.
//
// # What it does not check
//
// Whether the Tree should run: callers pass the digest that the admission names, and
// any other Tree is refused (tree-not-admitted). The kernel's memory, and host root
// that enters a task's namespaces, are out of reach.
package rootfs

import (
	"fmt"
	"os"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Version is the builder's version: it changes whenever the same Tree would give
// another image, and is part of every kept seal's key.
const Version = "1"

// Form is how a root is held, strongest first.
type Form string

// The forms.
const (
	InRAMFS   Form = "sealed"    // file-backed EROFS in a detached read-only ramfs: Linux 6.12
	InLoop    Form = "loop"      // EROFS on a loop device over a sealed memfd: host root can still swap the file behind it
	Extracted Form = "extracted" // files in a detached read-only tmpfs: what a user namespace may mount
)

// Limits bound what a seal may take. A zero field means its default.
type Limits struct {
	Size int64 // bytes of the image; default 1 GiB
}

const maxSize = 1 << 30

func (l Limits) size() int64 {
	if l.Size == 0 {
		return maxSize
	}
	return l.Size
}

// DefaultSize is the cap for all seals together on a host with ram bytes of
// memory: a quarter of it, at most 1 GiB.
func DefaultSize(ram uint64) int64 { return int64(min(ram/4, maxSize)) }

// unsupported is the refusal for a system call that this kernel or this user cannot
// make.
func unsupported(what string, err error) error {
	return &reason.Error{Code: reason.SealUnsupported, What: what, Found: err.Error(), Err: err}
}

// closeAll closes what is open of files.
func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

// fdPath is the path by which the calling process reaches an open descriptor.
func fdPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
