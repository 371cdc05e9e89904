package policy

import (
	"cmp"
	"maps"
	"reflect"
	"slices"

	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// parameter is what the policy says of one external parameter of a build.
type parameter struct {
	exact bool // it must be there, and be value
	value any  // as decode makes them
}

// readParameters reads a list of names, which may have any value, or a mapping of
// names to values.
func readParameters(n form.Node) map[string]parameter {
	out := map[string]parameter{}
	if n.IsList() {
		for _, name := range n.Texts() {
			out[name] = parameter{}
		}
		return out
	}
	n.Map(func(name, value form.Node) { out[name.Text()] = parameter{true, value.Value()} })
	return out
}

// none says whether a value is that of a parameter which was not given.
func none(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// extra are the external parameters that the terms do not name. The one that
// only names the origin needs no mention: source and ref are held to it.
func (t buildTerms) extra(b build) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(b.parameters)) {
		if _, named := t.parameters[name]; !named && name != b.own && !none(b.parameters[name]) {
			out = append(out, name)
		}
	}
	return out
}

// inputs holds the external parameters of a build against the terms.
func (t buildTerms) inputs(b build) (out []fault) {
	if extra := t.extra(b); extra != nil {
		known := slices.Sorted(maps.Keys(t.parameters))
		if b.own != "" {
			known = slices.Insert(known, 0, b.own)
		}
		out = append(out, fault{reason.ProvenanceParameter, "external parameters " + cmp.Or(some(known), "none"), some(clipped(extra)), t.allow(extra)})
	}
	for _, name := range slices.Sorted(maps.Keys(t.parameters)) {
		want, got := t.parameters[name], b.parameters[name]
		switch {
		case !want.exact:
		case none(want.value) && none(got):
		case none(got):
			out = append(out, fault{reason.ProvenanceParameterAbsent, name + ": " + written(want.value), "no such parameter", "build with " + name + ": " + written(want.value)})
		case !reflect.DeepEqual(want.value, got):
			out = append(out, fault{reason.ProvenanceParameterWrong, name + ": " + written(want.value), clip(name + ": " + written(got)), "build with " + name + ": " + written(want.value)})
		}
	}
	return out
}

// allow is the change of the policy that would accept more parameters, where a
// policy may name them.
func (t buildTerms) allow(extra []string) string {
	if len(extra) > shown || slices.ContainsFunc(extra, func(name string) bool { return scalar(name) != name }) {
		return "build without them"
	}
	named := slices.Sorted(maps.Keys(t.parameters))
	if slices.ContainsFunc(named, func(name string) bool { return t.parameters[name].exact }) {
		return "if they are right: parameters: {" + words(extra) + ": VALUE}, beside the others"
	}
	return "if they are right: parameters: [" + words(append(named, extra...)) + "]"
}

func clipped(all []string) (out []string) {
	for _, s := range all {
		out = append(out, clip(s))
	}
	return out
}
