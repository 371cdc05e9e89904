package tree

import (
	"iter"
	"slices"
	"strings"
)

// Below yields what lies strictly below a directory of the Tree, in order, and
// nothing where path is no directory. One leading slash is ignored.
func (t Tree) Below(path string) iter.Seq[Entry] {
	path = strings.TrimPrefix(path, "/")
	if e, ok := t.Lookup(path); !ok || e.Type != Dir {
		return func(func(Entry) bool) {}
	}
	if path == "" || path == "." {
		return slices.Values(t.entries[1:])
	}
	i, _ := slices.BinarySearchFunc(t.entries[1:], path, func(e Entry, p string) int { return comparePaths(e.Path, p) })
	rest := t.entries[i+2:]
	n := slices.IndexFunc(rest, func(e Entry) bool { return !strings.HasPrefix(e.Path, path+"/") })
	if n < 0 {
		n = len(rest)
	}
	return slices.Values(rest[:n])
}
