package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/policy/cel"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// builder is one entry of builders: up to which SLSA level the operator
// believes a builder, when these identities say that it built something.
type builder struct {
	name  string
	id    string
	by    []Identity
	level int64
}

// buildTerms are what a provenance demand fixes beyond who signed.
type buildTerms struct {
	source     string
	builder    string // githubHosted, a URL, or "" when entry is set
	entry      *builder
	level      int64
	buildType  string
	ref        string // a pattern
	parameters map[string]parameter
}

// githubHosted is the builder that GitHub runs itself.
const githubHosted = "github-hosted"

// coverageTerms are what an sbom demand fixes.
type coverageTerms struct {
	all        bool // covers: all; otherwise executables
	exceptions []exception
}

// exception is one path whose bytes the operator vouches for.
type exception struct {
	path string
	sum  string // hex
}

// expression is a compiled CEL condition; the zero value holds nothing.
type expression struct {
	source  string
	program cel.Program
}

func (r *reader) builder(name, v form.Node) {
	b := builder{name: name.Text()}
	if !word(b.name).wellFormed() || b.name == githubHosted {
		name.Fail(reason.FormValue, "a name of letters, digits, '-', '_' and '.', other than "+githubHosted, fmt.Sprintf("%.60q", b.name), "")
	}
	v.Fields(map[string]func(form.Node){
		"id": func(v form.Node) {
			if b.id = v.Text(); !strings.Contains(b.id, "://") || strings.ContainsAny(b.id, "* \t\n") {
				v.Fail(reason.PolicyPattern, "the exact builder.id, a URL", fmt.Sprintf("%.80q", b.id), "")
			}
		},
		"by":    func(v form.Node) { b.by = r.identities(v) },
		"level": func(v form.Node) { b.level = v.Int(1, 3) },
	})
	v.Need("id", "by", "level")
	r.policy.builders = append(r.policy.builders, b)
	r.named = append(r.named, name)
}

// fields are the keys that a kind of demand takes beside by, threshold, logs, maxAge
// and minimumAge.
type fields = map[string]func(form.Node)

func (r *reader) demand(u rule, i int, n form.Node) (d demand) {
	d = demand{where: fmt.Sprintf("%s.require[%d]", u.where, i), line: n.Line}
	n.Fields(map[string]func(form.Node){
		"signature":       func(v form.Node) { r.common(&d, signature, v, fields{}) },
		"provenance":      func(v form.Node) { r.provenance(&d, v) },
		"sbom":            func(v form.Node) { r.sbom(&d, v) },
		"vulnerabilities": func(v form.Node) { r.vulnerabilities(&d, v) },
		"attestation":     func(v form.Node) { r.attestation(&d, v) },
		"pin": func(v form.Node) {
			if u.kind != artifact.MCP {
				v.Fail(reason.FormUnknownKey, "pin in servers only", "pin in "+section(u.kind), "")
			}
			r.common(&d, pin, v, fields{})
		},
		"layout": func(v form.Node) { r.layout(&d, v) },
	})
	if d.word == "" {
		n.Fail(reason.FormMissingKey, "signature, provenance, sbom, vulnerabilities, attestation, pin or layout", "none of them", "")
	}
	return d
}

// begin notes which kind of demand an entry of require is: one.
func (d *demand) begin(w word, n form.Node) {
	if d.word != "" {
		n.Fail(reason.FormValue, "one demand in each entry of require", string(d.word)+" and "+string(w), "- "+string(w)+": {...}")
	}
	d.word = w
	d.where += "." + string(w)
	d.line = n.Line
}

// common reads what every demand for a claim has.
func (r *reader) common(d *demand, w word, n form.Node, more fields) {
	d.begin(w, n)
	var by, threshold form.Node
	more["by"] = func(v form.Node) { by = v }
	more["threshold"] = func(v form.Node) { threshold = v }
	more["maxAge"] = func(v form.Node) { d.maxAge = v.Duration() }
	more["logs"] = func(v form.Node) { d.logs = int(v.Int(0, maxLogs)) }
	more["minimumAge"] = func(v form.Node) { d.minimumAge = v.Duration() }
	n.Fields(more)
	n.Need("by")
	d.who = r.whom(n, by, threshold)
	d.ages(n)
}

// maxLogs is the most transparency logs that a demand can ask for.
const maxLogs = 8

func (r *reader) provenance(d *demand, n form.Node) {
	t := &d.build
	var at form.Node
	r.common(d, provenance, n, fields{
		"source": func(v form.Node) {
			if t.source = source(v.Text()); strings.ContainsAny(t.source, "*@ \t\n") || !strings.Contains(t.source, "/") {
				v.Fail(reason.PolicyPattern, "an exact repository such as github.com/acme/agent", fmt.Sprintf("%.80q", v.Text()), "")
			}
		},
		"builder":    func(v form.Node) { at = v; r.builderOf(t, v) },
		"level":      func(v form.Node) { t.level = v.Int(1, 3) },
		"buildType":  func(v form.Node) { t.buildType = v.Text() },
		"parameters": func(v form.Node) { t.parameters = readParameters(v) },
		"ref": func(v form.Node) {
			if t.ref = v.Text(); !refPattern(t.ref) {
				v.Fail(reason.PolicyPattern, "refs/tags/PATTERN or refs/heads/PATTERN", fmt.Sprintf("%.80q", t.ref), "write refs/tags/v*")
			}
		},
	})
	n.Need("builder")
	if t.entry == nil && t.builder != githubHosted && t.level > 1 {
		at.Fail(reason.PolicyLevel, "a builder that has a level: "+githubHosted+", or a name in builders", fmt.Sprintf("%.80q", t.builder),
			"builders: {NAME: {id: "+t.builder+", by: [NAME], level: "+fmt.Sprint(t.level)+"}}")
	}
}

func (r *reader) builderOf(t *buildTerms, v form.Node) {
	name := v.Text()
	i := slices.IndexFunc(r.policy.builders, func(b builder) bool { return b.name == name })
	switch {
	case i >= 0:
		t.entry = &r.policy.builders[i]
		r.used[name] = true
	case name == githubHosted, strings.Contains(name, "://") && !strings.ContainsAny(name, "* \t\n"):
		t.builder = name
	default:
		v.Fail(reason.PolicyPattern, githubHosted+", a name in builders, or the exact builder.id", fmt.Sprintf("%.80q", name), "")
	}
}

func (r *reader) sbom(d *demand, n form.Node) {
	r.common(d, bill, n, fields{
		"covers": func(v form.Node) { d.coverage.all = v.OneOf("executables", "all") == "all" },
		"exceptions": func(v form.Node) {
			v.List(func(_ int, v form.Node) {
				var e exception
				v.Fields(fields{
					"path": func(v form.Node) {
						p := strings.TrimPrefix(v.Text(), "/")
						if e.path = p; p == "" || path.Clean(p) != p || strings.HasPrefix(p, "..") || strings.ContainsAny(p, "*\x00") {
							v.Fail(reason.FormValue, "one exact path in the root", fmt.Sprintf("%.80q", v.Text()), "")
						}
					},
					"digest": func(v form.Node) {
						t := digest.Digest(v.Text())
						if t.Validate() != nil || t.Algorithm() != digest.SHA256 {
							v.Fail(reason.FormValue, "sha256: and 64 hex digits", fmt.Sprintf("%.80q", v.Text()), "")
							return
						}
						e.sum = t.Encoded()
					},
				})
				v.Need("path", "digest")
				d.coverage.exceptions = append(d.coverage.exceptions, e)
			})
		},
	})
	n.Need("covers")
}

func (r *reader) vulnerabilities(d *demand, n form.Node) {
	r.common(d, vulnerabilities, n, fields{
		"deny": func(v form.Node) {
			v.List(func(_ int, v form.Node) { d.severities = append(d.severities, v.OneOf(severities[:]...)) })
		},
	})
	n.Need("maxAge", "deny")
	if len(d.severities) == 0 {
		n.Fail(reason.PolicyRuleEmpty, "at least one severity", "deny: []", "deny: [critical]")
	}
}

func (r *reader) attestation(d *demand, n form.Node) {
	r.common(d, attestation, n, fields{
		"type": func(v form.Node) {
			if d.kind = v.Text(); !strings.Contains(d.kind, "://") || strings.ContainsAny(d.kind, "* \t\n") {
				v.Fail(reason.PolicyPattern, "the exact predicate type, a URL", fmt.Sprintf("%.80q", d.kind), "")
			} else if read := versions(d.kind); read != nil {
				v.Fail(reason.PolicyAttestationType, "a version that is read: "+strings.Join(read, " or "), d.kind, "type: "+read[0])
			}
		},
		"cel": func(v form.Node) {
			program, err := cel.Compile(v.Text())
			if err != nil {
				v.Fail(reason.PolicyExpression, "a CEL condition over predicate, predicateType, subject, subjects, signer.*, now and signedAt", err.Error(), "cel: predicate.result == 'PASS'")
			}
			d.expression = expression{v.Text(), program}
		},
	})
	n.Need("type")
}
