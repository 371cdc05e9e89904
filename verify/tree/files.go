package tree

import (
	"fmt"
	"slices"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// FromFiles makes a Tree of entries that come from no layer: a model folder or a
// server's closure. They may come in any order; parents that are not among them
// are 0755 root:root at time 0. Blob and Offset must be unset, because the bytes
// lie in the folder itself. Anything else that a Tree cannot hold, a path twice
// included, is refused (tree-malformed).
func FromFiles(entries []Entry) (Tree, error) {
	refuse := func(e *Entry, why string) (Tree, error) {
		return Tree{}, &reason.Error{Code: reason.TreeMalformed, What: fmt.Sprintf("make tree: entry %q", e.Path), Found: why}
	}
	if len(entries) > maxEntries {
		return Tree{}, &reason.Error{Code: reason.TreeMalformed, What: "make tree",
			Expected: fmt.Sprintf("at most %d entries", maxEntries), Found: fmt.Sprint(len(entries))}
	}
	root := Entry{Path: ".", Type: Dir, Mode: 0o755}
	all := make([]Entry, 1, len(entries)+16)
	have := make(map[string]bool, len(entries))
	for i := range entries {
		e := &entries[i]
		if why := malformed(e); why != "" {
			return refuse(e, why)
		}
		if have[e.Path] {
			return refuse(e, "the path is there twice")
		}
		have[e.Path] = true
		if e.Path == "." {
			root = *e
		} else {
			all = append(all, *e)
		}
	}
	for i := range entries {
		for up := parent(entries[i].Path); up != "." && !have[up]; up = parent(up) {
			have[up] = true
			all = append(all, Entry{Path: up, Type: Dir, Mode: 0o755})
		}
	}
	all[0] = root
	slices.SortFunc(all[1:], func(a, b Entry) int { return comparePaths(a.Path, b.Path) })
	for i := 1; i < len(all); i++ {
		if why := follows(&all[i-1], &all[i]); why != "" {
			return refuse(&all[i], why)
		}
	}
	return seal(all), nil
}

// malformed reports what makes e no entry of a Tree from files, or "".
func malformed(e *Entry) string {
	if e.Path == "." {
		if e.Type != Dir {
			return "the root is not a directory"
		}
	} else if code := validPath(e.Path); code != "" {
		return "the path is refused: " + string(code)
	}
	file := e.Type == File
	switch {
	case !file && e.Type != Dir && e.Type != Symlink && e.Type != FIFO:
		return "the type is wrong"
	case e.Mode > 0o7777 || e.Type == Symlink && e.Mode != 0o777:
		return "the mode is wrong"
	case e.UID > 0xffff || e.GID > 0xffff:
		return "the owner is wrong"
	case e.Size < 0 || !file && e.Size != 0:
		return "the size is wrong"
	case file != (e.Digest != "") || file && !sizedDigest(e):
		return "the digest is wrong"
	case (e.Type == Symlink) != (e.Link != "") || e.Link != "" && !validLink(e.Link):
		return "the link is wrong"
	case e.Origin != "" && e.Origin != Ours:
		return "the origin is wrong"
	case e.HardLink && !file:
		return "a hard link that is not a file"
	case e.Blob != "" || e.Offset != 0:
		return "it lies in a blob"
	}
	size := 0
	for name, v := range e.Xattrs {
		if size += len(name) + len(v); !keptXattr(name) || size > maxXattrs {
			return "an extended attribute is wrong"
		}
	}
	return ""
}
