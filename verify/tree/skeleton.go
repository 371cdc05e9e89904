package tree

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// empty is the digest of no bytes.
const empty digest.Digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// Skeleton adds what the box mounts on and the image lacks, because nothing can be
// made on a read-only root: the directories proc, sys, dev, run and (1777) tmp,
// empty files etc/hosts, etc/hostname and etc/resolv.conf, and the symlink
// etc/mtab to /proc/mounts. Each has Origin Ours, root as its owner and time 0. What
// the image has is kept, but must be a directory or a regular file as said here,
// and nothing but a directory may lead to it: a symlink would put the mount
// somewhere else (mountpoint-type). An etc/mtab of the image may be anything.
func (t Tree) Skeleton() (Tree, error) {
	if t.Zero() {
		return Tree{}, &reason.Error{Code: reason.TreeZero, What: "add skeleton"}
	}
	add := []Entry{
		{Path: "dev", Type: Dir, Mode: 0o755},
		{Path: "etc", Type: Dir, Mode: 0o755},
		{Path: "etc/hostname", Type: File, Mode: 0o644, Digest: empty},
		{Path: "etc/hosts", Type: File, Mode: 0o644, Digest: empty},
		{Path: "etc/mtab", Type: Symlink, Mode: 0o777, Link: "/proc/mounts"},
		{Path: "etc/resolv.conf", Type: File, Mode: 0o644, Digest: empty},
		{Path: "proc", Type: Dir, Mode: 0o755},
		{Path: "run", Type: Dir, Mode: 0o755},
		{Path: "sys", Type: Dir, Mode: 0o755},
		{Path: "tmp", Type: Dir, Mode: 0o1777},
	}
	entries := slices.Collect(t.Entries())
	for _, e := range add {
		have, ok := t.Lookup(e.Path)
		switch {
		case !ok:
			e.Origin = Ours
			entries = append(entries, e)
		case e.Type != Symlink && have.Type != e.Type:
			found := "a " + have.Type.String()
			if have.Type == Symlink {
				found = fmt.Sprintf("a symlink to %q", have.Link)
			}
			return Tree{}, &reason.Error{Code: reason.MountpointType, What: "add skeleton: /" + e.Path,
				Expected: "a " + e.Type.String(), Found: found}
		}
	}
	slices.SortFunc(entries[1:], func(a, b Entry) int { return comparePaths(a.Path, b.Path) })
	return seal(entries), nil
}
