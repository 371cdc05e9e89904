package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// Parse reads and lints a policy file. file is its path, which names it in
// messages and against whose folder key files are resolved; read returns the
// bytes of a key file and is called once for each that the policy names (nil
// refuses them all). Every error is of the class Usage and says file, line and
// column.
func Parse(raw []byte, file string, read func(name string) ([]byte, error)) (Policy, error) {
	doc := form.Parse(file, raw)
	r := reader{policy: Policy{path: file, raw: slices.Clone(raw)}, read: read, used: map[string]bool{}}
	root := doc.Root()
	var lists [3]form.Node
	root.Fields(map[string]func(form.Node){
		"version":    func(v form.Node) { v.Int(1, 1) },
		"identities": func(v form.Node) { v.Map(r.identity) },
		"builders":   func(v form.Node) { r.late = append(r.late, func() { v.Map(r.builder) }) },
		"images":     func(v form.Node) { lists[0] = v },
		"models":     func(v form.Node) { lists[1] = v },
		"servers":    func(v form.Node) { lists[2] = v },
		"deny":       func(v form.Node) { r.policy.deny = digests(v) },
		"denyFeed":   func(v form.Node) { r.late = append(r.late, func() { r.feed(v) }) },
		"box":        func(v form.Node) { r.policy.box = ReadBox(v) },
	})
	for _, f := range r.late {
		f()
	}
	for i, kind := range kinds {
		if root.Has(sections[i]) {
			lists[i].List(func(j int, v form.Node) { r.rule(kind, fmt.Sprintf("%s[%d]", sections[i], j), v) })
		}
	}
	r.unused()
	if err := doc.Err(); err != nil {
		return Policy{}, err
	}
	slices.SortFunc(r.policy.identities, func(a, b Identity) int { return strings.Compare(a.name, b.name) })
	r.policy.sum = sum(raw, r.policy.identities)
	return r.policy, nil
}

var (
	kinds    = [...]artifact.Kind{artifact.Image, artifact.Model, artifact.MCP}
	sections = [...]string{"images", "models", "servers"}
)

// section is the key of the file that holds the rules for a kind, or "".
func section(k artifact.Kind) string {
	if i := slices.Index(kinds[:], k); i >= 0 {
		return sections[i]
	}
	return ""
}

// reader builds a policy out of a document.
type reader struct {
	policy Policy
	read   func(string) ([]byte, error)
	used   map[string]bool // identities and builders that something names
	named  []form.Node     // their keys, for the lint
	late   []func()        // what needs the identities first
}

func (r *reader) identity(name, v form.Node) {
	id := Identity{name: name.Text()}
	if !word(id.name).wellFormed() {
		name.Fail(reason.FormValue, "a name of letters, digits, '-', '_' and '.'", fmt.Sprintf("%.60q", id.name), "")
	}
	var from, until time.Time
	v.Fields(map[string]func(form.Node){
		"key":         func(v form.Node) { id.key, id.file = r.key(v), r.file(v) },
		"keyless":     func(v form.Node) { id.keyless = readKeyless(v) },
		"certificate": func(v form.Node) { id.certificate = r.certificate(v) },
		"from":        func(v form.Node) { from = v.Time() },
		"until":       func(v form.Node) { until = v.Time() },
	})
	sorts := 0
	for _, sort := range []string{"key", "keyless", "certificate"} {
		if v.Has(sort) {
			sorts++
		}
	}
	switch {
	case sorts != 1:
		v.Fail(reason.FormMissingKey, "one of key, keyless and certificate", fmt.Sprint(sorts), "")
	case !v.Has("key") && (v.Has("from") || v.Has("until")):
		v.Fail(reason.FormUnknownKey, "from and until beside key only", "beside a certificate", "a certificate carries its own window")
	case !from.IsZero() && !until.IsZero() && until.Before(from):
		v.Fail(reason.FormValue, "until after from", "until before from", "")
	}
	if !id.key.Zero() && (v.Has("from") || v.Has("until")) {
		id.key = id.key.Within(from, until)
	}
	r.policy.identities = append(r.policy.identities, id)
	r.named = append(r.named, name)
}

func (w word) wellFormed() bool {
	return w != "" && len(w) <= 64 &&
		strings.Trim(string(w), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}

// key reads a key file, or a PEM block that stands in the policy itself.
func (r *reader) key(v form.Node) trust.Key {
	raw, err := r.pem(v)
	if err != nil {
		v.Fail(reason.PolicyKeyUnreadable, "the key file "+clip(v.Text()), err.Error(), "name the public key file of who signs (relative to the policy), or write its PEM text here")
		return trust.Key{}
	}
	if raw == nil {
		return trust.Key{}
	}
	k, err := trust.ParseKey(raw)
	if err != nil {
		v.Fail(reason.PolicyKeyMalformed, "a PEM public key", err.Error(), "cosign public-key --key KEY")
	}
	return k
}

func (r *reader) rule(kind artifact.Kind, where string, n form.Node) {
	u := rule{kind: kind, where: where, line: n.Line}
	n.Fields(map[string]func(form.Node){
		"match": func(v form.Node) {
			u.match = pattern(v.Text())
			if why := u.match.fault(kind); why != "" {
				v.Fail(reason.PolicyPattern, "a whole name such as registry.example/agents/**", why+" in "+fmt.Sprintf("%.80q", v.Text()), example(kind, v.Text()))
			}
		},
		"digests": func(v form.Node) {
			if u.digests = digests(v); len(u.digests) == 0 {
				v.Fail(reason.FormValue, "at least one digest", "none", "")
			}
		},
		"until":  func(v form.Node) { u.until = v.Time() },
		"reason": func(v form.Node) { u.reason = v.Text() },
		"formats": func(v form.Node) {
			if u.formats = v.Texts(); kind != artifact.Model {
				v.Fail(reason.FormUnknownKey, "formats in models only", "formats in "+section(kind), "")
			} else if len(u.formats) == 0 {
				v.Fail(reason.FormValue, "at least one format", "none", "formats: [safetensors]")
			}
		},
		"minimum": func(v form.Node) { u.floor = readFloor(kind, v) },
		"layouts": func(v form.Node) { u.legacy = layouts(v, kind) },
		"require": func(v form.Node) {
			v.List(func(i int, v form.Node) { u.demands = append(u.demands, r.demand(u, i, v)) })
		},
	})
	n.Need("match", "require")
	if len(u.demands) == 0 {
		n.Fail(reason.PolicyRuleEmpty, "at least one demand", "require: []", "require: [{signature: {by: [NAME]}}]")
	}
	if !slices.ContainsFunc(u.demands, func(d demand) bool { return d.word != pin }) {
		n.Fail(reason.PolicyRuleEmpty, "a demand besides pin, for the run that records the surface", "pin alone", "require: [{signature: {by: [NAME]}}, {pin: {by: [NAME]}}]")
	}
	u.floor.grounded(u, n)
	for i := range u.demands {
		u.demands[i].legacy = u.legacy
	}
	r.policy.rules = append(r.policy.rules, u)
}

// example is a pattern that would be accepted in place of a short image name.
func example(kind artifact.Kind, name string) string {
	ref, err := artifact.Parse(name)
	if kind != artifact.Image || err != nil || ref.Name() == "" || strings.Contains(name, "*") {
		return ""
	}
	return "match: " + ref.Name()
}

func digests(n form.Node) (out []digest.Digest) {
	for _, t := range n.Texts() {
		d := digest.Digest(t)
		if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
			n.Fail(reason.FormValue, "sha256: and 64 hex digits", fmt.Sprintf("%.80q", t), "")
		}
		out = append(out, d)
	}
	return out
}

// unused refuses what is declared and never named: a mistyped name would else
// pass for a rule that bites.
func (r *reader) unused() {
	for _, n := range r.named {
		if !r.used[n.Text()] {
			n.Fail(reason.PolicyUnused, "a rule that names it", fmt.Sprintf("%q is named by none", n.Text()), "remove it, or add it to a by: list")
		}
	}
}
