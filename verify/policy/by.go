package policy

import (
	"fmt"
	"slices"

	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// who is the by: of a demand: these identities, and how many of them.
type who struct {
	by        []Identity
	threshold int
	all       bool // each of them, and so threshold is their number
}

// String is who in words: "release", "any of a, b", "2 of a, b, c", "all of a, b".
func (w who) String() string {
	switch {
	case len(w.by) == 1:
		return w.by[0].name
	case w.all:
		return "all of " + words(names(w.by))
	case w.threshold == 1:
		return "any of " + words(names(w.by))
	}
	return fmt.Sprintf("%d of %s", w.threshold, words(names(w.by)))
}

// whom reads by: and threshold: of a demand n.
func (r *reader) whom(n, by, threshold form.Node) (w who) {
	w.threshold = 1
	plain := by.IsList()
	if plain {
		w.by = r.identities(by)
	} else {
		by.Fields(fields{
			"any": func(v form.Node) { w.by = r.identities(v) },
			"all": func(v form.Node) { w.by, w.all = r.identities(v), true },
		})
		if by.Has("any") == by.Has("all") {
			by.Fail(reason.FormMissingKey, "either any or all", "both or neither", "by: {any: [NAME, NAME]}")
		}
	}
	counted := n.Has("threshold")
	switch {
	case counted && w.all:
		threshold.Fail(reason.PolicyThreshold, "no threshold beside all", "one", "remove it, or write by: {any: [...]}")
	case counted:
		w.threshold = int(threshold.Int(1, 64))
	case w.all:
		w.threshold = len(w.by)
	case plain && len(w.by) > 1:
		list := "[" + words(names(w.by)) + "]"
		by.Fail(reason.PolicyByUnclear, "which of them: any or all", list, "by: {any: "+list+"} or by: {all: "+list+"}")
	}
	if most := distinct(w.by); w.threshold > most && most > 0 {
		at := threshold
		if !counted {
			at = by
		}
		at.Fail(reason.PolicyThreshold, fmt.Sprintf("at most %d, the distinct signers in by", most), fmt.Sprint(w.threshold), "")
	}
	return w
}

// identities resolves a list of names.
func (r *reader) identities(n form.Node) (out []Identity) {
	n.List(func(_ int, v form.Node) {
		name := v.Text()
		i := slices.IndexFunc(r.policy.identities, func(id Identity) bool { return id.name == name })
		switch {
		case i < 0:
			v.Fail(reason.PolicyIdentityUnknown, "an identity of this file", fmt.Sprintf("%.60q", name), "identities: {"+name+": ...}")
			return
		case slices.ContainsFunc(out, func(id Identity) bool { return id.name == name }):
			v.Fail(reason.FormValue, "each identity once", fmt.Sprintf("%.60q", name), "")
		}
		r.used[name] = true
		out = append(out, r.policy.identities[i])
	})
	if len(out) == 0 {
		n.Fail(reason.PolicyRuleEmpty, "at least one identity", "none", "by: [NAME]")
	}
	return out
}

// distinct counts identities, one key under several names once.
func distinct(by []Identity) int {
	seen := map[string]bool{}
	for _, id := range by {
		seen[id.principal()] = true
	}
	return len(seen)
}

// principal is equal for two identities that no two signers can tell apart.
func (id Identity) principal() string {
	if !id.key.Zero() {
		return id.key.ID()
	}
	return id.String()
}
