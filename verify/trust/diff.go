package trust

import "slices"

// Effect is what putting one root in another's place does to a part.
type Effect string

// The effects.
const (
	Added   Effect = "added"
	Removed Effect = "removed"
	Retired Effect = "retired" // its validity now ends, or ends earlier
	Widened Effect = "widened" // its validity starts at another time, or ends later
)

// Change is one difference between two roots.
type Change struct {
	Effect Effect
	Part   Part // as it is after; as it was, if it was removed
	Was    Part // as it was before; zero if it was added
}

// Rewinds says that the change takes back what the root in force says: a newer
// root of the same instance adds parts and retires them, and neither forgets
// what signed before nor lets a retired key sign again.
func (c Change) Rewinds() bool { return c.Effect == Removed || c.Effect == Widened }

// Diff is what changes from one root to the other, removals first and otherwise
// in the order of to. A part is the same as another if both have one role and
// one identity: the certificates of an authority; the key, ID, URL and hash
// algorithm of a log.
func Diff(from, to []Part) []Change {
	was := make([]int, len(to)) // index into from, plus one
	used := make([]bool, len(from))
	pair := func(same func(a, b Part) bool) {
		for j, b := range to {
			for i, a := range from {
				if was[j] == 0 && !used[i] && a.content == b.content && same(a, b) {
					was[j], used[i] = i+1, true
				}
			}
		}
	}
	pair(func(a, b Part) bool { return a.From.Equal(b.From) && a.Until.Equal(b.Until) })
	pair(func(Part, Part) bool { return true })
	var all []Change
	for i, a := range from {
		if !used[i] {
			all = append(all, Change{Removed, a, a})
		}
	}
	for j, b := range to {
		if was[j] == 0 {
			// A second entry for what is in force opens it beside the first one's window.
			if i := slices.IndexFunc(from, func(a Part) bool { return a.content == b.content }); i >= 0 {
				all = append(all, Change{Widened, b, from[i]})
			} else {
				all = append(all, Change{Effect: Added, Part: b})
			}
			continue
		}
		a := from[was[j]-1]
		switch {
		case a.From.Equal(b.From) && a.Until.Equal(b.Until):
		case a.From.Equal(b.From) && !b.Until.IsZero() && (a.Until.IsZero() || b.Until.Before(a.Until)):
			all = append(all, Change{Retired, b, a})
		default:
			all = append(all, Change{Widened, b, a})
		}
	}
	return all
}
