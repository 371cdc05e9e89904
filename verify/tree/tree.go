// Package tree owns the merge of verified layers into one Tree: every path that
// a task would see, with its type, mode, owner, time, digest and the place where
// its bytes lie. It does no input or output of its own: streams come in as
// readers, Trees go out as values.
//
// # Scanning a layer
//
// Scan reads one uncompressed tar (ustar, PAX or GNU) to its very end, hashes the
// whole stream, and returns a Layer only when that hash is the diffID the image's
// config names. A stream with the wrong hash is reported as such
// (digest-mismatch-diffid) whatever else is wrong with it. Everything behind the
// end-of-archive marker counts in the hash and must be zero bytes (tar-trailing).
//
// Names lose a leading "./", empty and "." components and a directory's trailing
// slash. Refused: absolute names, ".." and NUL (tar-path), names that are not
// UTF-8 (tar-name-encoding), a component over 255 or a path over 4096 bytes
// (tar-name-length), sparse files (tar-sparse), owners outside 0..65535
// (tar-id-range), entry types other than file, directory, symlink, hard link and
// FIFO (tar-type), and global headers that say anything but a comment (tar-type).
// Device nodes below dev/ are skipped, because every box has a /dev of its own;
// anywhere else they are refused, and 0:0, overlayfs's whiteout, is refused
// everywhere (tar-device). A Tree therefore never holds a device.
//
// Mode bits are kept as they are, set-user-ID included: the box runs with
// no_new_privs and mounts nosuid, which makes them inert. Symlinks are 0777.
// Times keep whole seconds, rounded down. Of extended attributes only user.* is
// kept; overlayfs's own (trusted.overlay.*, user.overlay.*) are refused
// (tar-xattr), all others, security.capability among them, are dropped: the box
// would not honour them.
//
// The same path twice in one layer is accepted when both are directories (the
// last one's metadata stands) or when both say the same; otherwise readers would
// disagree about which one counts, so it is refused (tar-duplicate). A path whose
// parent is something else than a directory in the same layer is refused
// (tar-parent).
//
// # Merging
//
// Merge applies layers from the lowest to the highest, with the whiteouts of the
// OCI image specification ("Layer", section "Whiteouts"): ".wh.NAME" removes NAME
// and ".wh..wh..opq" removes every child, from lower layers only, wherever in the
// layer's stream they stand. Bare ".wh.", ".wh..", ".wh...", other ".wh..wh."
// names, and whiteouts that are not empty files are refused (tar-whiteout). A
// directory over a directory takes the upper one's metadata and keeps the
// children; anything else replaces what was there. Parents that no layer names
// are 0755 root:root at time 0.
//
// An entry or whiteout whose parent is a symlink in the lower layers is refused
// (layer-symlink-parent) rather than written through the link; a parent that is
// another kind of non-directory is refused too (layer-parent). A hard link takes
// the bytes and all the metadata of the file that its target names at that point
// of the stream, in this layer or below; a target that is missing, or not a
// regular file, is refused (tar-hardlink).
//
// # Order and text
//
// Entries are in depth-first order: by path components, compared as bytes, a
// directory directly before its children. The canonical text and the encoded form
// are described at Encode.
//
// # What it does not check
//
// Signatures, what the files contain, and whether the bytes still lie where Blob
// and Offset say: the reader of those bytes hashes them again.
package tree

import (
	"iter"
	"sort"

	"github.com/opencontainers/go-digest"
)

// Type is what kind of thing an Entry is. The zero Type is invalid.
type Type byte

// The types, written in the canonical text as these letters.
const (
	File    Type = 'f'
	Dir     Type = 'd'
	Symlink Type = 'l'
	FIFO    Type = 'p'
)

// String is the type in words, for messages.
func (t Type) String() string {
	switch t {
	case File:
		return "file"
	case Dir:
		return "directory"
	case Symlink:
		return "symlink"
	case FIFO:
		return "fifo"
	}
	return "invalid type"
}

// Ours is the Origin of entries that the Skeleton adds.
const Ours = "ztlaunch"

// Entry is one path of a Tree.
type Entry struct {
	Path     string            // relative, clean, '/'-separated; the root is "."
	Type     Type              //
	Mode     uint32            // permission, set-ID and sticky bits: 0o7777 at most
	UID, GID uint32            // 0..65535
	Size     int64             // bytes; 0 unless Type is File
	MTime    int64             // seconds since 1970, may be negative
	Digest   digest.Digest     // sha256 of a File's bytes, else ""
	Link     string            // a Symlink's target as it stands, else ""
	Xattrs   map[string]string // user.* only; nil when there are none; never written to
	Origin   string            // "" from the artifact, Ours from the skeleton
	HardLink bool              // this name was a hard link; the bytes are another entry's too

	// Where a File's bytes lie; not part of the Tree's digest.
	Blob   digest.Digest // diffID of the uncompressed layer; "" in a Tree from FromFiles
	Offset int64         // bytes from the start of the uncompressed layer
}

// Tree is every path that a task would see. Only Merge, FromFiles, Decode and
// Skeleton make one; the zero Tree is refused by all that take one. A Tree is
// never changed.
type Tree struct {
	rows   rows // depth-first; the first is the root
	digest digest.Digest
}

// rows are the entries of a Tree, as values or as lines of its text.
type rows interface {
	len() int
	at(i int) Entry
}

// values are entries that were merged or made here.
type values []Entry

func (v values) len() int       { return len(v) }
func (v values) at(i int) Entry { return v[i] }

// Zero reports whether t was made by none of this package's makers.
func (t Tree) Zero() bool { return t.rows == nil }

// Digest is the sha256 of the canonical text: everything about every entry but
// where its bytes lie. The zero Tree has none.
func (t Tree) Digest() digest.Digest { return t.digest }

// Len is the number of entries, the root included.
func (t Tree) Len() int {
	if t.Zero() {
		return 0
	}
	return t.rows.len()
}

// Size is the sum of the files' sizes in bytes, each hard link counted in full.
func (t Tree) Size() int64 {
	var n int64
	for e := range t.Entries() {
		n += e.Size
	}
	return n
}

// Entries yields every entry in depth-first order, the root first.
func (t Tree) Entries() iter.Seq[Entry] { return t.from(0) }

// from yields the entries from the i-th on.
func (t Tree) from(i int) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for ; i < t.Len(); i++ {
			if !yield(t.rows.at(i)) {
				return
			}
		}
	}
}

// Lookup is the entry at exactly path, following no symlink. One leading slash
// is ignored; "", "." and "/" are the root.
func (t Tree) Lookup(path string) (Entry, bool) {
	if len(path) > 0 && path[0] == '/' {
		path = path[1:]
	}
	if t.Zero() {
		return Entry{}, false
	}
	if path == "" || path == "." {
		return t.rows.at(0), true
	}
	i, ok := t.search(path)
	if !ok {
		return Entry{}, false
	}
	return t.rows.at(i), true
}

// search finds the entry at path, which is not the root.
func (t Tree) search(path string) (int, bool) {
	return sort.Find(t.Len(), func(i int) int {
		if i == 0 {
			return 1
		}
		return comparePaths(path, t.rows.at(i).Path)
	})
}

// seal makes a Tree of entries that are in order and hold every rule.
func seal(entries []Entry) Tree {
	text := appendText(make([]byte, 0, 160*len(entries)), values(entries))
	return Tree{rows: values(entries), digest: digest.FromBytes(text)}
}
