package policy

import (
	"fmt"
	"path"
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
		"box":        func(v form.Node) { r.policy.box = readBox(v) },
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
		"key":     func(v form.Node) { id.key = r.key(v) },
		"keyless": func(v form.Node) { id.keyless = readKeyless(v) },
		"from":    func(v form.Node) { from = v.Time() },
		"until":   func(v form.Node) { until = v.Time() },
	})
	switch {
	case v.Has("key") == v.Has("keyless"):
		v.Fail(reason.FormMissingKey, "either key or keyless", "both or neither", "")
	case v.Has("keyless") && (v.Has("from") || v.Has("until")):
		v.Fail(reason.FormUnknownKey, "from and until beside key only", "beside keyless", "a certificate carries its own window")
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
	t := v.Text()
	if t == "" {
		return trust.Key{}
	}
	raw := []byte(t)
	if !strings.HasPrefix(t, "-----BEGIN ") {
		name := t
		if !path.IsAbs(name) {
			name = path.Join(path.Dir(r.policy.path), name)
		}
		var err error
		if r.read == nil {
			err = fmt.Errorf("read %s: no key files here", name)
		} else {
			raw, err = r.read(name)
		}
		if err != nil {
			v.Fail(reason.PolicyKeyUnreadable, "the key file "+name, err.Error(), "ztlaunch key generate")
			return trust.Key{}
		}
	}
	k, err := trust.ParseKey(raw)
	if err != nil {
		v.Fail(reason.PolicyKeyMalformed, "a PEM public key", err.Error(), "cosign public-key --key KEY")
	}
	return k
}

// githubIssuer is the issuer whose repositories may be written OWNER/REPO.
const githubIssuer = "https://token.actions.githubusercontent.com"

func readKeyless(n form.Node) (k Keyless) {
	exact := func(into *string) func(form.Node) {
		return func(v form.Node) {
			*into = v.Text()
			if strings.ContainsAny(*into, "*\n\r\t ") || *into == "" {
				v.Fail(reason.PolicyPattern, "an exact value: only ref takes *", fmt.Sprintf("%.80q", *into), "")
			}
		}
	}
	var repository, ref, signer form.Node
	n.Fields(map[string]func(form.Node){
		"issuer":     exact(&k.Issuer),
		"san":        exact(&k.SAN),
		"repository": func(v form.Node) { repository = v; exact(&k.Repository)(v) },
		"workflow":   exact(&k.Workflow),
		"ref":        func(v form.Node) { ref, k.Ref = v, v.Text() },
		"signer":     func(v form.Node) { signer, k.Signer = v, v.Text() },
		"trigger":    exact(&k.Trigger),
		"runner":     exact(&k.Runner),
	})
	n.Need("issuer")
	if n.Has("workflow") {
		n.Need("repository", "ref")
	} else {
		n.Need("san")
	}
	switch host, isURL := strings.CutPrefix(k.Issuer, "https://"); {
	case !isURL || host == "":
		n.Fail(reason.PolicyPattern, "an issuer such as "+githubIssuer, fmt.Sprintf("%.80q", k.Issuer), "")
	case k.Signer != "" && k.Workflow == "":
		signer.Fail(reason.FormUnknownKey, "signer beside workflow only", "signer without workflow", "write san: instead")
	}
	if k.Repository != "" && !strings.Contains(k.Repository, "://") {
		if k.Issuer != githubIssuer || strings.Count(k.Repository, "/") != 1 || strings.Contains(k.Repository, ":") {
			repository.Fail(reason.PolicyPattern, "the repository's URL (OWNER/REPO only for "+githubIssuer+")", fmt.Sprintf("%.80q", k.Repository), "")
		}
		k.Repository = "https://github.com/" + k.Repository
	}
	if strings.HasSuffix(k.Repository, "/") {
		repository.Fail(reason.PolicyPattern, "a URL without a trailing /", fmt.Sprintf("%.80q", k.Repository), "")
	}
	if k.Ref != "" && !refPattern(k.Ref) {
		ref.Fail(reason.PolicyPattern, "refs/tags/PATTERN or refs/heads/PATTERN", fmt.Sprintf("%.80q", k.Ref), "write refs/tags/v*")
	}
	if k.Signer != "" && !signerPattern(k.Signer) {
		signer.Fail(reason.PolicyPattern, "the signing workflow as URL@refs/tags/PATTERN, @refs/heads/PATTERN or @COMMIT", fmt.Sprintf("%.80q", k.Signer), "")
	}
	return k
}

// refPattern accepts tags and branches, never a pull request's ref: anybody can
// open one.
func refPattern(s string) bool {
	name, ok := strings.CutPrefix(s, "refs/tags/")
	if !ok {
		name, ok = strings.CutPrefix(s, "refs/heads/")
	}
	return ok && name != "" && !strings.ContainsAny(name, " \t\n?[]\\^~:@") && !strings.Contains(name, "**") && !strings.Contains(name, "//")
}

func signerPattern(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 0 || !strings.HasPrefix(s, "https://") || strings.ContainsAny(s[:at], "*@ \t\n") {
		return false
	}
	ref := s[at+1:]
	return refPattern(ref) || len(ref) == 40 && strings.Trim(ref, "0123456789abcdef") == ""
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
