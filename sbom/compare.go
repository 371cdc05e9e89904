package sbom

import (
	"slices"
	"strings"
)

// Entry is one path of the tree that a document is held against. Only regular
// files need covering; the others say that a listed path is not absent.
type Entry struct {
	Path       string // clean, relative, '/'-separated
	SHA256     string // 64 hex digits in lower case, of a regular file
	Regular    bool
	Executable bool // the caller's notion; carried into the gaps
}

// Gap is one path where document and tree part ways.
type Gap struct {
	Path       string
	Want       string // sha256 in the document, or ""
	Got        string // sha256 in the tree
	Executable bool
}

// Coverage is the result of holding a document against a tree: a pure function
// of the two. Every slice is sorted by path.
type Coverage struct {
	Listed    int      // files listed with their sha256
	ByPackage int      // files listed without sha256 under an owning package
	Unlisted  []Gap    // files that the document does not mention
	Unhashed  []Gap    // files listed without sha256 and without owner
	Mismatch  []Gap    // files listed with another sha256
	Absent    []string // listed paths that the tree lacks
}

// Files is the number of regular files compared.
func (c Coverage) Files() int {
	return c.Listed + c.ByPackage + len(c.Unlisted) + len(c.Unhashed) + len(c.Mismatch)
}

// Compare holds a document against the entries of a tree. The entries must
// have distinct paths; their order does not matter.
func Compare(d Document, entries []Entry) Coverage {
	at := make(map[string]int32, len(entries))
	for i, e := range entries {
		at[e.Path] = int32(i)
	}
	var c Coverage
	seen := make([]verdict, len(entries))
	for i := range d.Files {
		f := &d.Files[i]
		k, ok := at[f.Path]
		if !ok {
			c.Absent = append(c.Absent, strings.Clone(f.Path))
			continue
		}
		seen[k].add(f, entries[k].SHA256)
	}
	for i, e := range entries {
		if !e.Regular {
			continue
		}
		gap := Gap{Path: e.Path, Got: e.SHA256, Executable: e.Executable}
		switch v := &seen[i]; {
		case v.equal:
			c.Listed++
		case v.want != "":
			gap.Want = strings.Clone(v.want)
			c.Mismatch = append(c.Mismatch, gap)
		case v.owned:
			c.ByPackage++
		case v.listed:
			c.Unhashed = append(c.Unhashed, gap)
		default:
			c.Unlisted = append(c.Unlisted, gap)
		}
	}
	for _, gaps := range [][]Gap{c.Unlisted, c.Unhashed, c.Mismatch} {
		slices.SortFunc(gaps, func(a, b Gap) int { return strings.Compare(a.Path, b.Path) })
	}
	slices.Sort(c.Absent)
	c.Absent = slices.Compact(c.Absent)
	return c
}

// verdict gathers what a document says about one path, over all its mentions.
type verdict struct {
	want                 string // the first sha256 that is not the tree's
	listed, owned, equal bool
}

func (v *verdict) add(f *File, got string) {
	v.listed = true
	switch {
	case f.SHA256 == "":
		v.owned = v.owned || f.Owner != NoOwner
	case f.SHA256 == got:
		v.equal = true
	case v.want == "":
		v.want = f.SHA256
	}
}
