package policy

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Keyless are the certificate fields that an identity fixes. Issuer is always
// set, and either SAN or Repository, Workflow and Ref; the others narrow. Each
// but Issuer and Kind is a pattern for the whole field, or has an entry in unsafe
// instead.
type Keyless struct {
	Issuer     string
	Kind       string // of SAN: uri, email or other
	SAN        string
	Repository string // https://github.com/acme/agent
	Workflow   string // .github/workflows/release.yml
	Ref        string // refs/tags/v*
	Signer     string // of a reusable workflow: https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v*
	Trigger    string // push
	Runner     string // github-hosted

	unsafe []regex
}

// regex is one entry of unsafeRegex: the expression must match the whole field.
type regex struct {
	field, source string
	whole         *regexp.Regexp
}

// maxRegex caps a regular expression, in bytes.
const maxRegex = 512

type field struct{ name, value string }

// fields are in the order in which a file should list them. Kind is left out
// where it is what SAN can only be.
func (k Keyless) fields() []field {
	kind := k.Kind
	if kind == sanType(k.SAN) {
		kind = ""
	}
	return []field{
		{"issuer", k.Issuer}, {"kind", kind}, {"san", k.SAN}, {"repository", k.Repository}, {"workflow", k.Workflow},
		{"ref", k.Ref}, {"signer", k.Signer}, {"trigger", k.Trigger}, {"runner", k.Runner},
	}
}

// Unsafe are the fields that a regular expression stands for, "san" among them.
func (k Keyless) Unsafe() []string {
	var out []string
	for _, r := range k.unsafe {
		out = append(out, r.field)
	}
	return out
}

// String is the fields in one line.
func (k Keyless) String() string {
	var parts []string
	for _, f := range k.fields() {
		if f.value != "" {
			parts = append(parts, f.name+" "+f.value)
		}
	}
	for _, r := range k.unsafe {
		parts = append(parts, r.field+" unsafeRegex "+r.source)
	}
	return strings.Join(parts, ", ")
}

// wants says whether the identity says anything of a field, as a pattern or as an
// expression, and shows what.
func (k Keyless) wants(name string) (shown string, ok bool) {
	for _, r := range k.unsafe {
		if r.field == name {
			return "unsafeRegex " + r.source, true
		}
	}
	for _, f := range k.fields() {
		if f.name == name {
			return f.value, f.value != ""
		}
	}
	return "", false
}

// fits compares a field with what the identity says of it. An empty field fits
// nothing.
func (k Keyless) fits(name, found string) bool {
	if found == "" {
		return false
	}
	for _, r := range k.unsafe {
		if r.field == name {
			return r.whole.MatchString(found)
		}
	}
	switch name {
	case "san":
		return sanFits(k.SAN, k.Kind, found)
	case "repository":
		return globName(k.Repository, found)
	case "workflow":
		return globName(k.Workflow, found)
	case "ref":
		return glob(k.Ref, found)
	case "signer":
		return atRef(k.Signer, found)
	case "trigger":
		return globName(k.Trigger, found)
	case "runner":
		return globName(k.Runner, found)
	}
	return false
}

func (k Keyless) differences(s evidence.Signer) (out []Difference) {
	differ := func(ok bool, field, expected, found string) {
		if !ok {
			if found == "" {
				found = "none"
			}
			out = append(out, Difference{field, expected, found})
		}
	}
	same := func(field, found string) {
		if shown, ok := k.wants(field); ok {
			differ(k.fits(field, found), field, shown, found)
		}
	}
	differ(k.Issuer != "" && s.Issuer == k.Issuer, "issuer", k.Issuer, s.Issuer)
	_, named := k.wants("san")
	_, flow := k.wants("workflow")
	if named {
		same("san", s.SAN)
		differ(s.SANType == k.Kind, "san type", k.Kind, s.SANType)
	}
	same("repository", s.SourceRepositoryURI)
	same("ref", s.SourceRepositoryRef)
	if flow {
		k.workflow(s, differ)
	}
	if !named && !flow { // Parse refuses it; nothing fixed is nobody
		differ(false, "san", "a certificate name", s.SAN)
	}
	same("trigger", s.BuildTrigger)
	same("runner", s.RunnerEnvironment)
	return out
}

// workflow compares the three places where a certificate names a workflow: the
// one that was started (build config), the one that signed (build signer), and
// the certificate's own name, which repeats the signer. Repository and ref are
// those of the certificate, which were compared by themselves; between them
// stands the path.
func (k Keyless) workflow(s evidence.Signer, differ func(ok bool, field, expected, found string)) {
	path, ok := strings.CutPrefix(s.BuildConfigURI, s.SourceRepositoryURI+"/")
	path, at := strings.CutSuffix(path, "@"+s.SourceRepositoryRef)
	ok = ok && at && s.SourceRepositoryURI != "" && s.SourceRepositoryRef != ""
	shown, _ := k.wants("workflow")
	repository, _ := k.wants("repository")
	ref, _ := k.wants("ref")
	config := repository + "/" + shown + "@" + ref
	differ(ok && k.fits("workflow", path), "workflow", config, s.BuildConfigURI)
	if signer, reusable := k.wants("signer"); reusable {
		differ(k.fits("signer", s.BuildSignerURI), "signer", signer, s.BuildSignerURI)
	} else {
		differ(ok && s.BuildSignerURI == s.BuildConfigURI, "signer", config, s.BuildSignerURI)
	}
	if s.BuildSignerURI != "" {
		differ(s.SAN == s.BuildSignerURI, "san", s.BuildSignerURI, s.SAN)
	}
	differ(s.SANType == "uri", "san type", "uri", s.SANType)
}

// githubIssuer is the issuer whose repositories may be written OWNER/REPO.
const githubIssuer = "https://token.actions.githubusercontent.com"

func readKeyless(n form.Node) (k Keyless) {
	at := map[string]form.Node{}
	text := func(name string, into *string) (string, func(form.Node)) {
		return name, func(v form.Node) {
			*into, at[name] = v.Text(), v
			if why := plainFault(*into); why != "" {
				v.Fail(reason.PolicyPattern, "a value without white space", why+" in "+fmt.Sprintf("%.80q", *into), "")
			}
		}
	}
	known := fields{"unsafeRegex": func(v form.Node) { k.unsafe = readRegexes(v) }}
	add := func(name string, f func(form.Node)) { known[name] = f }
	add(text("issuer", &k.Issuer))
	add(text("san", &k.SAN))
	add(text("repository", &k.Repository))
	add(text("workflow", &k.Workflow))
	add(text("ref", &k.Ref))
	add(text("signer", &k.Signer))
	add(text("trigger", &k.Trigger))
	add(text("runner", &k.Runner))
	add("kind", func(v form.Node) { k.Kind = v.OneOf("uri", "email", "other") })
	n.Fields(known)
	n.Need("issuer")
	if host, ok := strings.CutPrefix(k.Issuer, "https://"); !ok || host == "" || strings.Contains(k.Issuer, "*") {
		n.Fail(reason.PolicyPattern, "the exact issuer, such as "+githubIssuer, fmt.Sprintf("%.80q", k.Issuer), "")
	}
	for _, r := range k.unsafe {
		if n.Has(r.field) {
			n.Fail(reason.FormValue, r.field+" once", r.field+" beside unsafeRegex: {"+r.field+": ...}", "keep one of them")
		}
	}
	k.whole(n)
	if k.Kind == "" {
		k.Kind = sanType(k.SAN)
	}
	if k.Repository != "" && !strings.Contains(k.Repository, "://") && k.Issuer == githubIssuer {
		k.Repository = "https://github.com/" + k.Repository
	}
	for _, f := range k.fields() {
		if v, ok := at[f.name]; ok && f.name != "issuer" {
			if expected, next := k.lint(f.name, f.value); expected != "" {
				v.Fail(reason.PolicyPattern, expected, fmt.Sprintf("%.80q", f.value), next)
			}
		}
	}
	return k
}

// whole asks for all that makes somebody out of the fields.
func (k Keyless) whole(n form.Node) {
	has := func(name string) bool { _, ok := k.wants(name); return ok }
	need := func(names ...string) {
		for _, name := range names {
			if !has(name) {
				n.Need(name)
			}
		}
	}
	switch {
	case has("workflow"):
		need("repository", "ref")
	case has("signer"):
		n.Fail(reason.FormUnknownKey, "signer beside workflow only", "signer without workflow", "write san: instead")
	default:
		need("san")
	}
	if n.Has("kind") && !has("san") {
		n.Fail(reason.FormUnknownKey, "kind beside san only", "kind without san", "")
	}
	if _, named := k.wants("san"); named && k.SAN == "" {
		n.Need("kind") // an expression does not tell
	}
}

// readRegexes reads unsafeRegex.
func readRegexes(n form.Node) (out []regex) {
	known := fields{}
	for _, name := range []string{"san", "repository", "workflow", "ref", "signer", "trigger", "runner"} {
		known[name] = func(v form.Node) {
			r := regex{field: name, source: v.Text()}
			var why string
			if r.whole, why = compile(r.source); why != "" {
				v.Fail(reason.PolicyRegex, fmt.Sprintf("a regular expression (RE2) for the whole field, of at most %d bytes, that something must be there to match", maxRegex), why, "write "+name+": and a pattern with *")
			}
			out = append(out, r)
		}
	}
	n.Fields(known)
	if len(out) == 0 {
		n.Fail(reason.PolicyRuleEmpty, "at least one field", "unsafeRegex: {}", "remove it")
	}
	return out
}

// compile makes an expression one for the whole text. It is compiled alone
// first: "a)|(?:b" would escape from the group.
func compile(source string) (*regexp.Regexp, string) {
	if len(source) > maxRegex {
		return nil, fmt.Sprintf("%d bytes", len(source))
	}
	if _, err := regexp.Compile(source); err != nil {
		return nil, clip(err.Error())
	}
	whole, err := regexp.Compile(`\A(?:` + source + `)\z`)
	switch {
	case err != nil:
		return nil, clip(err.Error())
	case whole.MatchString(""):
		return nil, fmt.Sprintf("%.80q, which matches the empty text", source)
	}
	return whole, ""
}
