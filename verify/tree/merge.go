package tree

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Merge applies layers, the lowest first, and returns what a task would see. The
// package comment has the rules. No layers at all make a Tree of an empty root.
func Merge(layers []Layer) (Tree, error) {
	if len(layers) > maxLayers {
		return Tree{}, &reason.Error{Code: reason.TarLimit, What: "merge layers",
			Expected: fmt.Sprintf("at most %d layers", maxLayers), Found: fmt.Sprint(len(layers))}
	}
	m := merge{root: newDir(".")}
	for _, l := range layers {
		if l.diffID == "" {
			return Tree{}, &reason.Error{Code: reason.TreeZero, What: "merge layers", Found: "a layer that was not scanned"}
		}
		if err := m.layer(l); err != nil {
			return Tree{}, err
		}
	}
	return seal(m.root.flatten(make([]Entry, 0, m.count+1))), nil
}

// node is one path of the state so far; kids is nil unless it is a directory.
type node struct {
	entry Entry
	kids  map[string]*node
}

func newDir(path string) *node {
	return &node{entry: Entry{Path: path, Type: Dir, Mode: 0o755}, kids: map[string]*node{}}
}

// flatten appends the node and all below it in depth-first order.
func (n *node) flatten(out []Entry) []Entry {
	out = append(out, n.entry)
	for _, name := range slices.Sorted(maps.Keys(n.kids)) {
		out = n.kids[name].flatten(out)
	}
	return out
}

type merge struct {
	root  *node
	count int           // nodes ever made
	diff  digest.Digest // the layer at hand
	dirs  map[string]bool
}

func (m *merge) refuse(code reason.Code, path, found string) error {
	return &reason.Error{Code: code, What: fmt.Sprintf("merge layer %s: entry %q", m.diff, path), Found: found}
}

// layer applies one layer: its whiteouts to what lies below, then its entries in
// the order of the stream.
func (m *merge) layer(l Layer) error {
	m.diff = l.diffID
	m.dirs = map[string]bool{}
	for _, o := range l.ops {
		if o.entry.Type == Dir {
			m.dirs[o.entry.Path] = true
		}
	}
	for _, w := range l.whiteouts {
		if err := m.hide(w); err != nil {
			return err
		}
	}
	for _, o := range l.ops {
		if err := m.apply(o); err != nil {
			return err
		}
	}
	return nil
}

// hide applies a whiteout. What is not there cannot be hidden: that is no error.
func (m *merge) hide(w whiteout) error {
	up := w.path
	if !w.opaque {
		up = parent(w.path)
	}
	n, at := m.root, ""
	if up != "." {
		for c := range strings.SplitSeq(up, "/") {
			at += c
			n = n.kids[c]
			if n == nil {
				return nil
			}
			if n.entry.Type != Dir {
				if m.dirs[at] {
					return nil // this layer puts a directory in its place
				}
				return m.notDir(w.path, n)
			}
			at += "/"
		}
	}
	if w.opaque {
		clear(n.kids)
	} else {
		delete(n.kids, base(w.path))
	}
	return nil
}

// notDir is the refusal for a path below n, which is no directory.
func (m *merge) notDir(path string, n *node) error {
	if n.entry.Type == Symlink {
		return m.refuse(reason.LayerSymlinkParent, path, fmt.Sprintf("%q is a symlink to %q below", n.entry.Path, n.entry.Link))
	}
	return m.refuse(reason.LayerParent, path, fmt.Sprintf("%q is a %s below", n.entry.Path, n.entry.Type))
}

// apply puts one entry in place.
func (m *merge) apply(o op) error {
	e := o.entry
	if o.target != "" {
		t := m.find(o.target)
		if t == nil || t.entry.Type != File {
			found := "no such path"
			if t != nil {
				found = "a " + t.entry.Type.String()
			}
			return m.refuse(reason.TarHardlink, e.Path, fmt.Sprintf("target %q: %s", o.target, found))
		}
		e = t.entry
		e.Path, e.HardLink = o.entry.Path, true
	}
	if e.Path == "." {
		m.root.entry = e
		return nil
	}
	dir, err := m.parents(e.Path)
	if err != nil {
		return err
	}
	name := base(e.Path)
	if old := dir.kids[name]; old != nil && old.entry.Type == Dir && e.Type == Dir {
		old.entry = e
		return nil
	}
	n := &node{entry: e}
	if e.Type == Dir {
		n.kids = map[string]*node{}
	}
	dir.kids[name] = n
	return m.counted(e.Path)
}

func (m *merge) counted(path string) error {
	if m.count++; m.count > maxEntries {
		return m.refuse(reason.TarLimit, path, fmt.Sprintf("over %d entries in all layers", maxEntries))
	}
	return nil
}

// find is the node at path, following nothing.
func (m *merge) find(path string) *node {
	n := m.root
	if path == "." {
		return n
	}
	for c := range strings.SplitSeq(path, "/") {
		if n = n.kids[c]; n == nil {
			return nil
		}
	}
	return n
}

// parents is the directory that path lies in, made where no layer names it.
func (m *merge) parents(path string) (*node, error) {
	n := m.root
	for i := 0; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		at := path[:i]
		next := n.kids[base(at)]
		switch {
		case next == nil:
			next = newDir(at)
			n.kids[base(at)] = next
			if err := m.counted(at); err != nil {
				return nil, err
			}
		case next.entry.Type != Dir && m.dirs[at]: // the layer names it further on
			next = newDir(at)
			n.kids[base(at)] = next
		case next.entry.Type != Dir:
			return nil, m.notDir(path, next)
		}
		n = next
	}
	return n, nil
}
