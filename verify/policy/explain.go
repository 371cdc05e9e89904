package policy

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Explanation says in words what one rule, or one demand, asks for.
type Explanation struct {
	Where   string  `json:"where"` // "images[0]", "images[0].require[1].provenance"
	Line    int     `json:"line"`
	Says    string  `json:"says"`
	Fields  []Field `json:"fields"`
	Signers []Signs `json:"signers,omitempty"` // of a demand: whom it believes
	Command string  `json:"command,omitempty"` // of a demand: what makes the evidence
}

// Field is one key of it, the value as the file has it, and what the key is for.
type Field struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	Why   string `json:"why"`
}

// Signs is somebody whom a demand believes.
type Signs struct {
	Name string `json:"name"`
	Is   string `json:"is"`
}

// Explain explains a rule, with its demands, or one demand, by its place as
// findings name it; or a whole section, identities.NAME, builders.NAME, deny, denyFeed
// or box. The error's code is policy-place.
func Explain(p Policy, place string) ([]Explanation, error) {
	x := explainer{root: form.Parse(p.path, p.raw).Root()}
	var known []string
	for _, r := range p.rules {
		if r.where == place {
			return x.rule(r, artifact.Reference{}), x.err
		}
		known = append(known, r.where)
		for i, d := range r.demands {
			if place == d.where || place == fmt.Sprintf("%s.require[%d]", r.where, i) {
				return []Explanation{x.demand(r.kind, d, artifact.Reference{})}, x.err
			}
		}
	}
	if out := x.apart(p, place); out != nil {
		return out, x.err
	}
	if known == nil {
		known = []string{"a rule, of which this policy has none"}
	}
	return nil, &reason.Error{Code: reason.PolicyPlace, What: "explain " + place + " of " + p.path, Expected: some(known) + ", a demand of one such as images[0].require[0], or identities, builders, deny, denyFeed or box",
		Found: "no such place", Next: "ztlaunch policy explain REF shows the rules for a name"}
}

// ExplainName explains every rule whose match is the reference's name: of its kind,
// and for an image those of servers too, which are images. The error's code is
// policy-no-match.
func ExplainName(p Policy, ref artifact.Reference) ([]Explanation, error) {
	x := explainer{root: form.Parse(p.path, p.raw).Root()}
	var out []Explanation
	for _, r := range p.rules {
		if (r.kind == ref.Kind() || r.kind == artifact.MCP && ref.Kind() == artifact.Image) && r.match.matches(ref.Name()) {
			out = append(out, x.rule(r, ref)...)
		}
	}
	if out == nil {
		return nil, &reason.Error{Code: reason.PolicyNoMatch, What: "explain " + ref.String(), Expected: "a rule whose match is " + ref.Name(),
			Found: fmt.Sprintf("none of %d", len(p.rules)), Next: p.or(ref, Proposal(ref, ""))}
	}
	return out, x.err
}

// explainer reads the policy's text beside the schema that describes it.
type explainer struct {
	root form.Node
	file *sketch
	err  error
}

// described is what the schema says at a path of keys; "[]" steps into a list.
func (x *explainer) described(path ...string) sketch {
	if x.file == nil {
		x.file = new(sketch)
		x.err = json.Unmarshal(Schema(), x.file)
	}
	at := *x.file
	for _, key := range path {
		at = at.target(*x.file)
		named, known := at.Properties[key]
		switch {
		case key == "[]" && at.Items != nil:
			at = *at.Items
		case !known && key != "[]" && at.Others != nil:
			at = *at.Others
		case key != "[]":
			at = named
		}
	}
	return at.target(*x.file)
}

func (x *explainer) fields(where string, skip string, path ...string) (out []Field) {
	_, n := walk(x.root, where)
	n.Map(func(key, v form.Node) {
		if k := key.Text(); k != skip {
			out = append(out, Field{k, oneLine(v), x.described(append(path, k)...).Description})
		}
	})
	return out
}

func (x *explainer) rule(r rule, ref artifact.Reference) []Explanation {
	what := map[artifact.Kind]string{artifact.Image: "an image", artifact.Model: "a model", artifact.MCP: "a server"}[r.kind]
	if r.digests != nil {
		what += " of these digests"
	}
	each := "must meet its one demand"
	if n := len(r.demands); n > 1 {
		each = fmt.Sprintf("must meet all of its %d demands", n)
	}
	out := []Explanation{{Where: r.where, Line: r.line, Says: fmt.Sprintf("%s whose name matches %s %s", what, r.match, each),
		Fields: x.fields(r.where, "require", section(r.kind), "[]")}}
	for _, d := range r.demands {
		out = append(out, x.demand(r.kind, d, ref))
	}
	return out
}

func (x *explainer) demand(k artifact.Kind, d demand, ref artifact.Reference) Explanation {
	path := []string{section(k), "[]", "require", "[]", string(d.word)}
	e := Explanation{Where: d.where, Line: d.line, Says: x.described(path...).Description, Fields: x.fields(d.where, "", path...), Command: d.command(k, ref)}
	for _, id := range d.by {
		e.Signers = append(e.Signers, Signs{id.name, id.String()})
	}
	return e
}

// Text is the explanation on lines of its own, for people.
func (e Explanation) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, line %d: %s\n", e.Where, e.Line, e.Says)
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "  %s: %s\n      %s\n", f.Key, f.Value, f.Why)
	}
	for _, s := range e.Signers {
		fmt.Fprintf(&b, "  %s is %s\n", s.Name, s.Is)
	}
	if e.Command != "" {
		fmt.Fprintf(&b, "  what makes it: %s\n", e.Command)
	}
	return b.String()
}

// oneLine writes a value on one line.
func oneLine(n form.Node) string {
	var parts []string
	switch {
	case n.IsText():
		return scalar(n.Text())
	case n.IsList():
		n.List(func(_ int, v form.Node) { parts = append(parts, oneLine(v)) })
		return "[" + words(parts) + "]"
	case n.IsMap():
		n.Map(func(k, v form.Node) { parts = append(parts, scalar(k.Text())+": "+oneLine(v)) })
		return "{" + words(parts) + "}"
	}
	return string(n.JSON())
}
