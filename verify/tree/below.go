package tree

import (
	"iter"
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
		return t.from(1)
	}
	i, _ := t.search(path)
	return func(yield func(Entry) bool) {
		for e := range t.from(i + 1) {
			if !strings.HasPrefix(e.Path, path+"/") || !yield(e) {
				return
			}
		}
	}
}
