package policy

import (
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/form"
)

// IsPlace tells a place in a policy from a reference: a top-level key, alone or with
// what lies below it.
func IsPlace(word string) bool {
	key := word
	if i := strings.IndexAny(word, "[."); i >= 0 {
		key = word[:i]
	}
	if strings.ContainsAny(word, "/:@") { // images.example/a is a registry's
		return false
	}
	return slices.Contains(sections[:], key) || slices.Contains([]string{"identities", "builders", "deny", "denyFeed", "box"}, key)
}

// apart explains what is no rule: a whole section, an identity, a builder, the box or a
// deny list. Names of identities may hold dots, so a place is not split at them.
func (x *explainer) apart(p Policy, place string) (out []Explanation) {
	key, name, one := strings.Cut(place, ".")
	at, all := x.root.Key(key), x.root.Get(key)
	switch {
	case at.Line == 0:
	case slices.Contains(sections[:], place):
		for _, r := range p.rules {
			if section(r.kind) == place {
				out = append(out, x.rule(r, artifact.Reference{})...)
			}
		}
	case key == "identities", key == "builders":
		all.Map(func(k, v form.Node) {
			if one && k.Text() != name {
				return
			}
			e := x.value(key+"."+k.Text(), k, v, key, k.Text())
			if i := slices.IndexFunc(p.identities, func(id Identity) bool { return id.name == k.Text() }); i >= 0 && key == "identities" {
				e.Signers = []Signs{{k.Text(), p.identities[i].String()}}
			}
			out = append(out, e)
		})
	case !one && !strings.Contains(place, "["):
		out = append(out, x.value(key, at, all, key))
	}
	return out
}

// value explains one value by the schema at a path of keys.
func (x *explainer) value(where string, key, value form.Node, path ...string) Explanation {
	e := Explanation{Where: where, Line: key.Line, Says: x.described(path...).Description}
	if !value.IsMap() {
		e.Fields = []Field{{key.Text(), oneLine(value), e.Says}}
		return e
	}
	value.Map(func(k, v form.Node) {
		e.Fields = append(e.Fields, Field{k.Text(), oneLine(v), x.described(append(slices.Clone(path), k.Text())...).Description})
	})
	return e
}
