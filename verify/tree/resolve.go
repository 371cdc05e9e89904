package tree

import (
	"errors"
	"fmt"
	"strings"
)

// Why a path does not resolve; a caller that maps them to exit codes branches on
// them.
var (
	ErrAbsent = errors.New("no such path in the tree")
	ErrNotDir = errors.New("a part of the path is not a directory")
	ErrLoop   = errors.New("too many symlinks")
)

// maxLinks is how many symlinks one look-up follows, as in Linux.
const maxLinks = 40

// Resolve is the entry that path leads to inside the tree, as the kernel would
// find it with the tree as its root: every symlink is followed, the last one too,
// absolute ones from the root, and ".." stops there. A trailing slash demands a
// directory. The error is one of ErrAbsent, ErrNotDir and ErrLoop, wrapped.
func (t Tree) Resolve(path string) (Entry, error) {
	fail := func(err error) (Entry, error) { return Entry{}, fmt.Errorf("resolve %q: %w", path, err) }
	at, ok := t.Lookup(".")
	if !ok {
		return fail(ErrAbsent)
	}
	rest, links := path, 0
	for rest != "" {
		if at.Type != Dir {
			return fail(ErrNotDir)
		}
		c, more, slash := strings.Cut(rest, "/")
		rest = more
		switch c {
		case "", ".":
			continue
		case "..":
			at, _ = t.Lookup(parent(at.Path))
			continue
		}
		next := c
		if at.Path != "." {
			next = at.Path + "/" + c
		}
		e, ok := t.Lookup(next)
		if !ok {
			return fail(ErrAbsent)
		}
		if e.Type == Symlink {
			if links++; links > maxLinks {
				return fail(ErrLoop)
			}
			if slash {
				rest = e.Link + "/" + rest
			} else {
				rest = e.Link
			}
			if e.Link[0] == '/' {
				at, _ = t.Lookup(".")
			}
			continue
		}
		if at = e; slash && rest == "" && at.Type != Dir {
			return fail(ErrNotDir)
		}
	}
	return at, nil
}
