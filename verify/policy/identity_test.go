package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// genuine is the certificate of a release of acme/agent, as Fulcio writes it.
func genuine() evidence.Signer {
	const config = "https://github.com/acme/agent/.github/workflows/release.yml@refs/tags/v1.4"
	return evidence.Signer{
		Issuer: github, SAN: config, SANType: "uri",
		BuildSignerURI: config, BuildConfigURI: config,
		SourceRepositoryURI: "https://github.com/acme/agent", SourceRepositoryRef: "refs/tags/v1.4",
		SourceRepositoryDigest: strings.Repeat("a", 40), BuildTrigger: "push", RunnerEnvironment: "github-hosted",
		RunInvocationURI: "https://github.com/acme/agent/actions/runs/1/attempts/1",
	}
}

// at is a certificate of the same workflow whose names were all changed alike,
// as an attacker's own run would have them.
func at(repository, workflow, ref string) evidence.Signer {
	s := genuine()
	config := repository + "/" + workflow + "@" + ref
	s.SAN, s.BuildSignerURI, s.BuildConfigURI = config, config, config
	s.SourceRepositoryURI, s.SourceRepositoryRef = repository, ref
	return s
}

// reusable is a certificate of a run of acme/agent that a reusable workflow
// signed.
func reusable(signer string) evidence.Signer {
	s := genuine()
	s.SAN, s.BuildSignerURI = signer, signer
	return s
}

func with(s evidence.Signer, change func(*evidence.Signer)) evidence.Signer {
	change(&s)
	return s
}

func identity(t *testing.T, fields string) Identity {
	t.Helper()
	p, err := Parse([]byte(keyless(fields)), "p", nil)
	if err != nil {
		t.Fatal(err)
	}
	return p.Identities()[0]
}

const (
	agent = "https://github.com/acme/agent"
	flow  = ".github/workflows/release.yml"
	tag   = "refs/tags/v1.4"
)

// exactRelease is an identity with repository, workflow, ref, trigger and runner.
const exactRelease = "issuer: " + github + ", repository: acme/agent, workflow: " + flow + ", ref: refs/tags/v*, trigger: push, runner: github-hosted"

// others are certificates of anybody but that release, by what is wrong about
// them: "issuer-", "ref-" and the like.
func others() map[string]evidence.Signer {
	return map[string]evidence.Signer{
		"org-evil":             at("https://github.com/acme-evil/agent", flow, tag),
		"org-prefix":           at("https://github.com/evil-acme/agent", flow, tag),
		"org-case":             at("https://github.com/Acme/agent", flow, tag),
		"repo-evil":            at(agent+"-evil", flow, tag),
		"repo-prefix":          at("https://github.com/acme/evil-agent", flow, tag),
		"repo-case":            at("https://github.com/acme/Agent", flow, tag),
		"repo-short":           at("https://github.com/acme/agen", flow, tag),
		"repo-git":             at(agent+".git", flow, tag),
		"repo-trailing-slash":  at(agent+"/", flow, tag),
		"repo-double-slash":    at("https://github.com//acme/agent", flow, tag),
		"repo-dot":             at("https://github.com/acme/./agent", flow, tag),
		"repo-subpath":         at(agent+"/fork", flow, tag),
		"host-evil":            at("https://github.com.evil.example/acme/agent", flow, tag),
		"host-lookalike":       at("https://g1thub.com/acme/agent", flow, tag),
		"host-sub":             at("https://evil.github.com/acme/agent", flow, tag),
		"host-user":            at("https://github.com@evil.example/acme/agent", flow, tag),
		"host-port":            at("https://github.com:443/acme/agent", flow, tag),
		"scheme-http":          at("http://github.com/acme/agent", flow, tag),
		"scheme-none":          at("github.com/acme/agent", flow, tag),
		"query":                at("https://evil.example/?u=https://github.com/acme/agent", flow, tag),
		"fragment":             at("https://evil.example/#https://github.com/acme/agent", flow, tag),
		"encoded":              at("https://github.com/acme%2fagent", flow, tag),
		"unicode":              at("https://github.com/аcme/agent", flow, tag),
		"zero-width":           at("https://github.com/acme/agent\u200b", flow, tag),
		"trailing-newline":     at(agent+"\n", flow, tag),
		"leading-space":        at(" "+agent, flow, tag),
		"nul":                  at(agent+"\x00", flow, tag),
		"workflow-other":       at(agent, ".github/workflows/test.yml", tag),
		"workflow-suffix":      at(agent, flow+"l", tag),
		"workflow-prefix":      at(agent, ".github/workflows/evil-release.yml", tag),
		"workflow-yaml":        at(agent, ".github/workflows/release.yaml", tag),
		"workflow-dot-any":     at(agent, ".github/workflows/releasexyml", tag),
		"workflow-case":        at(agent, ".github/workflows/Release.yml", tag),
		"workflow-folder":      at(agent, ".github/workflows/x/release.yml", tag),
		"workflow-at":          at(agent, flow+"@evil.yml", tag),
		"workflow-at-ref":      at(agent, flow+"@refs/tags/v1.4", "refs/heads/evil"),
		"workflow-traversal":   at(agent, ".github/workflows/x/../release.yml", tag),
		"ref-branch":           at(agent, flow, "refs/heads/main"),
		"ref-branch-v":         at(agent, flow, "refs/heads/v1.4"),
		"ref-branch-like-tag":  at(agent, flow, "refs/heads/refs/tags/v1.4"),
		"ref-pull":             at(agent, flow, "refs/pull/7/merge"),
		"ref-slash":            at(agent, flow, "refs/tags/v1/evil"),
		"ref-other-tag":        at(agent, flow, "refs/tags/nightly"),
		"ref-prefix":           at(agent, flow, "xrefs/tags/v1"),
		"ref-short":            at(agent, flow, "v1.4"),
		"ref-case":             at(agent, flow, "refs/tags/V1.4"),
		"ref-empty":            at(agent, flow, ""),
		"ref-trailing-newline": at(agent, flow, tag+"\n"),
		"ref-trailing-space":   at(agent, flow, tag+" "),
		"ref-tab":              at(agent, flow, "refs/tags/v1\tx"),
		"ref-newline":          at(agent, flow, "refs/heads/x\nrefs/tags/v1"),
		"ref-mixed":            with(at(agent, flow, "refs/heads/evil"), func(s *evidence.Signer) { s.SourceRepositoryRef = tag }),
		"ref-mixed-other-way":  with(genuine(), func(s *evidence.Signer) { s.SourceRepositoryRef = "refs/tags/v9" }),
		"issuer-other":         with(genuine(), func(s *evidence.Signer) { s.Issuer = "https://gitlab.com" }),
		"issuer-slash":         with(genuine(), func(s *evidence.Signer) { s.Issuer += "/" }),
		"issuer-path":          with(genuine(), func(s *evidence.Signer) { s.Issuer += "/enterprise" }),
		"issuer-case":          with(genuine(), func(s *evidence.Signer) { s.Issuer = strings.Replace(s.Issuer, "token", "Token", 1) }),
		"issuer-suffix":        with(genuine(), func(s *evidence.Signer) { s.Issuer += ".evil.example" }),
		"issuer-http":          with(genuine(), func(s *evidence.Signer) { s.Issuer = strings.Replace(s.Issuer, "https", "http", 1) }),
		"issuer-empty":         with(genuine(), func(s *evidence.Signer) { s.Issuer = "" }),
		"trigger-other":        with(genuine(), func(s *evidence.Signer) { s.BuildTrigger = "pull_request_target" }),
		"trigger-dispatch":     with(genuine(), func(s *evidence.Signer) { s.BuildTrigger = "workflow_dispatch" }),
		"trigger-empty":        with(genuine(), func(s *evidence.Signer) { s.BuildTrigger = "" }),
		"runner-own":           with(genuine(), func(s *evidence.Signer) { s.RunnerEnvironment = "self-hosted" }),
		"runner-empty":         with(genuine(), func(s *evidence.Signer) { s.RunnerEnvironment = "" }),
		"san-only":             {Issuer: github, SAN: genuine().SAN, SANType: "uri"},
		"san-other":            with(genuine(), func(s *evidence.Signer) { s.SAN = "https://github.com/evil/x/" + flow + "@" + tag }),
		"san-as-email":         with(genuine(), func(s *evidence.Signer) { s.SANType = "email" }),
		"san-as-other":         with(genuine(), func(s *evidence.Signer) { s.SANType = "other" }),
		"san-empty":            with(genuine(), func(s *evidence.Signer) { s.SAN = "" }),
		"config-empty":         with(genuine(), func(s *evidence.Signer) { s.BuildConfigURI = "" }),
		"config-other":         with(genuine(), func(s *evidence.Signer) { s.BuildConfigURI = agent + "/.github/workflows/x.yml@" + tag }),
		"signer-empty":         with(genuine(), func(s *evidence.Signer) { s.BuildSignerURI = "" }),
		"signer-reusable":      reusable("https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v1"),
		"signer-same-repo":     reusable(agent + "/.github/workflows/sign.yml@" + tag),
		"signer-other-ref":     reusable(agent + "/" + flow + "@refs/heads/main"),
		"repository-empty":     with(genuine(), func(s *evidence.Signer) { s.SourceRepositoryURI = "" }),
		"repository-mixed":     with(genuine(), func(s *evidence.Signer) { s.SourceRepositoryURI = "https://github.com/evil/agent" }),
		"repository-mixed-not": with(at("https://github.com/evil/agent", flow, tag), func(s *evidence.Signer) { s.SourceRepositoryURI = agent }),
		"a-key":                {Key: "sha256:" + strings.Repeat("a", 64)},
		"key-and-certificate":  with(genuine(), func(s *evidence.Signer) { s.Key = "sha256:" + strings.Repeat("a", 64) }),
		"nobody":               {},
	}
}

func TestWorkflowIdentity(t *testing.T) {
	id := identity(t, exactRelease)
	for name, s := range map[string]evidence.Signer{
		"the-release":   genuine(),
		"another-tag":   at(agent, flow, "refs/tags/v2.0"),
		"tag-with-at":   at(agent, flow, "refs/tags/v1@x"),
		"shortest":      at(agent, flow, "refs/tags/v"),
		"other-commit":  with(genuine(), func(s *evidence.Signer) { s.SourceRepositoryDigest = strings.Repeat("b", 40) }),
		"old-fields-in": with(genuine(), func(s *evidence.Signer) { s.GitHubWorkflowName = "anything" }),
	} {
		if diff := id.Differences(s); len(diff) != 0 {
			t.Errorf("%s refused: %+v", name, diff)
		}
	}
	all := others()
	if len(all) < 70 {
		t.Fatalf("%d certificates to refuse, at least 70 expected", len(all))
	}
	for name, s := range all {
		diff := id.Differences(s)
		if len(diff) == 0 {
			t.Errorf("%s accepted: %+v", name, s)
		}
		for _, d := range diff {
			if d.Field == "" || d.Expected == "" || d.Found == "" || d.Expected == d.Found {
				t.Errorf("%s: difference %+v says nothing", name, d)
			}
		}
	}
}

// decidedFor is the code with which an image signed by who, with a genuine and
// logged certificate, is denied to those whose identity has these fields; "" if
// it is allowed.
func (s *stage) decidedFor(t *testing.T, fields string, who evidence.Signer) reason.Code {
	t.Helper()
	raw := s.sigstore.Attest(t, who, verifytest.Statement(t, evidence.PredicateCosignSign, map[string]any{}, manifestSum.Encoded()), verifytest.Options{})
	e, err := evidence.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	c, err := evidence.Check(e, s.root, []digest.Digest{manifestSum}, s.in.Now)
	if r, ok := reason.Of(err); ok {
		return r.Code
	} else if err != nil {
		t.Fatal(err)
	}
	in := s.in
	in.Claims = []evidence.Claim{c}
	p, err := Parse([]byte("identities: {release: {keyless: {"+fields+"}}}\nimages: [{match: registry.example/agents/coder, require: [{signature: {by: [release]}}]}]\n"), "p", nil)
	if err != nil {
		t.Fatal(err)
	}
	return reason.Code(codes(Evaluate(p, in)))
}

// refuses decides, with code, about the certificates of others whose names begin with one of
// the words; at least so many.
func refuses(t *testing.T, code reason.Code, fields string, least int, words ...string) {
	t.Helper()
	s := newStage(t)
	if got := s.decidedFor(t, fields, release); got != "" {
		t.Fatalf("the release itself is denied: %s", got)
	}
	n := 0
	for name, who := range others() {
		if !slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(name, w) }) {
			continue
		}
		n++
		if who.SAN[0] == ' ' || strings.ContainsFunc(who.SAN, func(r rune) bool { return r < ' ' || r > '~' }) { // no certificate can hold it
			if len(identity(t, fields).Differences(who)) == 0 {
				t.Errorf("%s accepted: %+v", name, who)
			}
			continue
		}
		if got := s.decidedFor(t, fields, who); got != code {
			t.Errorf("%s: %q, want %s", name, got, code)
		}
	}
	if n < least {
		t.Errorf("%d cases, at least %d expected", n, least)
	}
}

// A name that only contains the one looked for, or looks like it, is another:
// organisations, repositories, hosts, workflows, and names in queries.
func TestN13NameThatOnlyContainsTheOther(t *testing.T) {
	refuses(t, reason.SignatureWrongIdentity, exactRelease, 30, "org-", "repo-", "host-", "scheme-", "query", "fragment", "encoded", "unicode", "zero-width", "trailing-", "leading-", "workflow-")
	globs := "issuer: " + github + ", repository: acme/*, workflow: .github/workflows/*.yml, ref: refs/tags/v*"
	refuses(t, reason.SignatureWrongIdentity, globs, 15, "org-", "host-", "scheme-", "query", "fragment", "encoded", "unicode", "zero-width", "trailing-", "leading-", "repo-double-slash", "repo-dot", "repo-subpath", "workflow-yaml", "workflow-folder", "workflow-traversal", "workflow-at")
}

// The issuer is missing, another, or only looks like the one that is meant.
func TestN16Issuer(t *testing.T) {
	refuses(t, reason.SignatureWrongIdentity, exactRelease, 6, "issuer-o", "issuer-s", "issuer-p", "issuer-c", "issuer-h")
	s := newStage(t)
	without := with(release, func(s *evidence.Signer) { s.Issuer = "" })
	if got := s.decidedFor(t, exactRelease, without); got != reason.CertificateIdentity {
		t.Errorf("no issuer: %q, want %s", got, reason.CertificateIdentity)
	}
	for _, fields := range []string{"san: dev@acme.example", "repository: acme/agent, workflow: " + flow + ", ref: refs/tags/v1", "unsafeRegex: {san: .+@acme}, kind: email"} {
		if _, err := Parse([]byte(keyless(fields)), "p", nil); !coded(err, reason.FormMissingKey) {
			t.Errorf("%s without issuer: %v, want %s", fields, err, reason.FormMissingKey)
		}
	}
}

// The same workflow of the same repository ran from an attacker's branch, pull
// request or tag.
func TestN17AttackersRef(t *testing.T) {
	refuses(t, reason.SignatureWrongIdentity, exactRelease, 12, "ref-", "signer-other-ref")
	refuses(t, reason.SignatureWrongIdentity, "issuer: "+github+", repository: acme/agent, ref: refs/tags/v*, unsafeRegex: {workflow: .+}", 2, "ref-mixed", "ref-branch") // the ref is no part of the path
	san := "issuer: " + github + ", san: \"" + agent + "/" + flow + "@refs/tags/v*\""
	refuses(t, reason.SignatureWrongIdentity, san, 8, "ref-branch", "ref-pull", "ref-slash", "ref-other-tag", "ref-prefix", "ref-short", "ref-case", "ref-trailing", "ref-tab", "ref-newline")
}

// TestReusableIdentity: a reusable workflow signs, and only the one that the
// identity names.
func TestReusableIdentity(t *testing.T) {
	const base = "https://github.com/acme/ci/.github/workflows/sign.yml"
	id := identity(t, "issuer: "+github+", repository: acme/agent, workflow: "+flow+", ref: refs/tags/v*, signer: "+base+"@refs/tags/v*")
	for signer, want := range map[string]bool{
		base + "@refs/tags/v1":                    true,
		base + "@refs/tags/v1.2.3":                true,
		base + "@refs/tags/v1@x":                  true,
		base + "@refs/heads/main":                 false,
		base + "@refs/tags/":                      false,
		base + "@":                                false,
		base:                                      false,
		base + "@evil.yml@refs/tags/v1":           false,
		base + "l@refs/tags/v1":                   false,
		base + "/x@refs/tags/v1":                  false,
		"x" + base + "@refs/tags/v1":              false,
		base + "@refs/tags/v1/x":                  false,
		base + "@refs/tags/v1\n":                  false,
		agent + "/" + flow + "@" + tag:            false,
		"https://github.com/acme/ci2/x@refs/tags": false,
	} {
		if got := len(id.Differences(reusable(signer))) == 0; got != want {
			t.Errorf("%q accepted = %v", signer, got)
		}
	}
	s := reusable(base + "@refs/tags/v1")
	s.BuildConfigURI = "https://github.com/evil/agent/" + flow + "@" + tag
	if len(id.Differences(s)) == 0 {
		t.Error("another repository's run of the same reusable workflow was accepted")
	}
}

// TestNameIdentity: issuer and certificate name, compared whole and by kind.
func TestNameIdentity(t *testing.T) {
	mail := identity(t, "issuer: https://accounts.example, san: dev@acme.example")
	uri := identity(t, "issuer: https://accounts.example, san: \"spiffe://acme.example/ci\"")
	for _, c := range []struct {
		id      Identity
		san     string
		sanType string
		want    bool
	}{
		{mail, "dev@acme.example", "email", true},
		{mail, "dev@acme.example", "uri", false},
		{mail, "dev@acme.example", "other", false},
		{mail, "dev@acme.example.evil", "email", false},
		{mail, "xdev@acme.example", "email", false},
		{mail, "Dev@acme.example", "email", false},
		{mail, "dev@acme.example\n", "email", false},
		{mail, "dev@acme.example ", "email", false},
		{mail, "devXacme.example", "email", false},
		{mail, "dev@acmeXexample", "email", false},
		{mail, "", "email", false},
		{uri, "spiffe://acme.example/ci", "uri", true},
		{uri, "spiffe://acme.example/ci", "email", false},
		{uri, "spiffe://acme.example/ci/", "uri", false},
		{uri, "spiffe://acme.example/ci?x=1", "uri", false},
		{uri, "spiffe://evil.example/?u=spiffe://acme.example/ci", "uri", false},
	} {
		s := evidence.Signer{Issuer: "https://accounts.example", SAN: c.san, SANType: c.sanType}
		if got := len(c.id.Differences(s)) == 0; got != c.want {
			t.Errorf("%s against %q (%s) = %v", c.id, c.san, c.sanType, got)
		}
		s.Issuer = "https://accounts.example.evil"
		if len(c.id.Differences(s)) == 0 {
			t.Errorf("%q of another issuer accepted", c.san)
		}
	}
	if len((Identity{}).Differences(genuine())) == 0 {
		t.Error("the zero identity is everybody")
	}
	if len((Identity{keyless: Keyless{Issuer: github}}).Differences(genuine())) == 0 {
		t.Error("an issuer alone is an identity")
	}
}

// TestExactly: the identity written for a signer is that signer, and no other
// tag of it.
func TestExactly(t *testing.T) {
	other := genuine()
	for name, s := range map[string]evidence.Signer{
		"workflow": genuine(),
		"reusable": reusable("https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v1"),
		"commit":   reusable("https://github.com/acme/ci/.github/workflows/sign.yml@" + strings.Repeat("0a", 20)),
		"pull":     at(agent, flow, "refs/pull/7/merge"),
		"mail":     {Issuer: "https://accounts.example", SAN: "dev@acme.example", SANType: "email"},
		"gitlab":   with(at("https://gitlab.example/a/b", "/.gitlab-ci.yml", "refs/heads/main"), func(s *evidence.Signer) { s.Issuer = "https://gitlab.example" }),
		"no-build": {Issuer: "https://accounts.example", SAN: "spiffe://acme.example/ci", SANType: "uri"},
	} {
		k, ok := exactly(s)
		p, err := Parse([]byte("identities: {release: {keyless: "+k.flow()+"}}\n"+image), "p", nil)
		if err != nil || !ok {
			t.Errorf("%s: %s: %v", name, k.flow(), err)
			continue
		}
		id := p.Identities()[0]
		if diff := id.Differences(s); len(diff) != 0 {
			t.Errorf("%s: %s refuses its own signer: %+v", name, id, diff)
		}
		if name != "workflow" && len(id.Differences(other)) == 0 {
			t.Errorf("%s: %s accepts another", name, id)
		}
		if later := at(agent, flow, "refs/tags/v1.5"); len(id.Differences(later)) == 0 {
			t.Errorf("%s: %s accepts a later tag", name, id)
		}
	}
}
