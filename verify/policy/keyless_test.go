package policy

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// stage is a Sigstore of our own, and an image that was signed with it.
type stage struct {
	sigstore *verifytest.Sigstore
	root     trust.Root
	in       Input
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{sigstore: verifytest.New(t)}
	var err error
	if s.root, err = trust.FromJSON(s.sigstore.Root()); err != nil {
		t.Fatal(err)
	}
	base := loadScene(t, "testdata/evaluate/ok-signature.txtar")
	s.in = Input{Artifact: base.in.Artifact, Tree: base.in.Tree, Purpose: Run, Root: s.root.Digest(), Now: verifytest.Epoch().Add(time.Hour)}
	return s
}

// sign adds a claim about the manifest.
func (s *stage) sign(t *testing.T, who evidence.Signer, predicateType string, predicate any) {
	t.Helper()
	s.add(t, s.sigstore.Attest(t, who, verifytest.Statement(t, predicateType, predicate, manifestSum.Encoded()), verifytest.Options{}))
}

func (s *stage) add(t *testing.T, raw []byte) {
	t.Helper()
	e, err := evidence.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	c, err := evidence.Check(e, s.root, []digest.Digest{manifestSum}, s.in.Now)
	if err != nil {
		t.Fatal(err)
	}
	s.in.Claims = append(s.in.Claims, c)
}

var release = verifytest.GitHub("acme/agent", flow, tag, "push")

// signedBy is who signs in a run of release when a reusable workflow does.
func signedBy(workflow string) evidence.Signer {
	s := release
	s.SAN, s.BuildSignerURI = workflow, workflow
	return s
}

// attested is what actions/attest-build-provenance writes for a signer.
func attested(s evidence.Signer) map[string]any {
	return map[string]any{
		"buildDefinition": map[string]any{
			"buildType": githubAttest,
			"externalParameters": map[string]any{"workflow": map[string]any{
				"ref": s.SourceRepositoryRef, "repository": s.SourceRepositoryURI, "path": flow}},
			"internalParameters":   map[string]any{"github": map[string]any{"event_name": "push", "runner_environment": "github-hosted"}},
			"resolvedDependencies": []any{map[string]any{"uri": "git+" + s.SourceRepositoryURI + "@" + s.SourceRepositoryRef, "digest": map[string]any{"gitCommit": s.SourceRepositoryDigest}}},
		},
		"runDetails": map[string]any{"builder": map[string]any{"id": s.BuildSignerURI}, "metadata": map[string]any{"invocationId": s.RunInvocationURI}},
	}
}

const trusted = "identities: {release: {keyless: {issuer: " + github + ", repository: acme/agent, workflow: " + flow + ", ref: refs/tags/v*}}}\n"

func (s *stage) decide(t *testing.T, text string) Decision {
	t.Helper()
	p, err := Parse([]byte(text), "policy.yaml", keyFile)
	if err != nil {
		t.Fatal(err)
	}
	return Evaluate(p, s.in)
}

// codes are the distinct codes of the failures.
func codes(d Decision) string {
	seen := map[string]bool{}
	for _, f := range d.Findings() {
		if !f.Pass && !f.Skipped {
			seen[string(f.Code)] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(seen)), " ")
}

// TestKeyless decides on certificates that a Sigstore issued and a log
// witnessed.
func TestKeyless(t *testing.T) {
	const image = "images: [{match: registry.example/agents/coder, require: [%]}]\n"
	rule := func(d string) string { return trusted + strings.Replace(image, "%", d, 1) }
	reusableRule := func(d string) string {
		return strings.Replace(rule(d), "ref: refs/tags/v*}", "ref: refs/tags/v*, signer: https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v1}", 1)
	}
	const signed = "{signature: {by: [release]}}"
	const built = "{provenance: {by: [release], source: github.com/acme/agent, builder: github-hosted, level: 2}}"
	ci := signedBy("https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v1")
	change := func(f func(s *evidence.Signer)) evidence.Signer { s := release; f(&s); return s }
	edit := func(f func(workflow, build, run map[string]any)) map[string]any {
		p := attested(release)
		b := p["buildDefinition"].(map[string]any)
		f(b["externalParameters"].(map[string]any)["workflow"].(map[string]any), b, p["runDetails"].(map[string]any))
		return p
	}
	for _, c := range []struct {
		name, policy  string
		who           evidence.Signer
		predicateType string
		predicate     any
		later         time.Duration // after the signature
		want          string
	}{
		{"signed", rule(signed), release, evidence.PredicateCosignSign, nil, time.Hour, ""},
		{"another-branch", rule(signed), verifytest.GitHub("acme/agent", flow, "refs/heads/main", "push"), evidence.PredicateCosignSign, nil, time.Hour, "signature-wrong-identity"},
		{"another-organisation", rule(signed), verifytest.GitHub("acme-evil/agent", flow, tag, "push"), evidence.PredicateCosignSign, nil, time.Hour, "signature-wrong-identity"},
		{"a-person", rule(signed), verifytest.Email("dev@acme.example", "https://accounts.example"), evidence.PredicateCosignSign, nil, time.Hour, "signature-wrong-identity"},
		{"reusable-not-named", rule(signed), ci, evidence.PredicateCosignSign, nil, time.Hour, "signature-wrong-identity"},
		{"reusable-named", reusableRule(signed), ci, evidence.PredicateCosignSign, nil, time.Hour, ""},
		{"reusable-expected", reusableRule(signed), release, evidence.PredicateCosignSign, nil, time.Hour, "signature-wrong-identity"},
		{"attestation-is-no-signature", rule(signed), release, evidence.PredicateSLSAProvenanceV1, attested(release), time.Hour, "signature-absent"},

		{"young-enough", rule("{signature: {by: [release], maxAge: 72h}}"), release, evidence.PredicateCosignSign, nil, 72*time.Hour - time.Minute, ""},
		{"claim-too-old", rule("{signature: {by: [release], maxAge: 72h}}"), release, evidence.PredicateCosignSign, nil, 72*time.Hour - time.Minute + time.Second, "claim-too-old"},

		{"built", rule(built), release, evidence.PredicateSLSAProvenanceV1, attested(release), time.Hour, ""},
		{"level-3-same-workflow", rule(strings.Replace(built, "level: 2", "level: 3", 1)), release, evidence.PredicateSLSAProvenanceV1, attested(release), time.Hour, "provenance-level"},
		{"level-3-reusable", reusableRule(strings.Replace(built, "level: 2", "level: 3", 1)), ci, evidence.PredicateSLSAProvenanceV1, attested(ci), time.Hour, ""},
		{"old-builder-id", rule(built), release, evidence.PredicateSLSAProvenanceV1, edit(func(_, _, run map[string]any) { run["builder"] = map[string]any{"id": githubRunners[1]} }), time.Hour, ""},
		{"own-runner", rule(built), change(func(s *evidence.Signer) { s.RunnerEnvironment = "self-hosted" }), evidence.PredicateSLSAProvenanceV1, attested(release), time.Hour, "provenance-wrong-builder"},
		{"builder-is-another", rule(built), release, evidence.PredicateSLSAProvenanceV1, edit(func(_, _, run map[string]any) { run["builder"] = map[string]any{"id": ci.SAN} }), time.Hour, "provenance-wrong-builder"},
		{"source-is-another", rule(built), release, evidence.PredicateSLSAProvenanceV1, edit(func(w, _, _ map[string]any) { w["repository"] = "https://github.com/acme/other" }), time.Hour, "provenance-contradicts-signer provenance-wrong-source"},
		{"provenance-contradicts-signer", rule(built), release, evidence.PredicateSLSAProvenanceV1, edit(func(w, _, _ map[string]any) { w["path"] = ".github/workflows/test.yml" }), time.Hour, "provenance-contradicts-signer"},
		{"ref-contradicts-signer", rule(built), release, evidence.PredicateSLSAProvenanceV1, edit(func(w, _, _ map[string]any) { w["ref"] = "refs/heads/main" }), time.Hour, "provenance-contradicts-itself provenance-contradicts-signer"},
		{"source-of-certificate", rule(strings.Replace(built, "acme/agent", "acme/other", 1)), release, evidence.PredicateSLSAProvenanceV1,
			edit(func(_, b, _ map[string]any) {
				b["buildType"] = "https://x.example/build"
				b["externalParameters"] = map[string]any{"source": "https://github.com/acme/other"}
			}), time.Hour, "provenance-wrong-source"},
		{"inputs", rule(built), release, evidence.PredicateSLSAProvenanceV1, edit(func(_, b, _ map[string]any) {
			b["externalParameters"].(map[string]any)["inputs"] = map[string]any{"debug": true}
		}), time.Hour, "provenance-unexpected-parameter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.in.Now = verifytest.Epoch().Add(c.later)
			if c.predicate == nil {
				c.predicate = map[string]any{}
			}
			s.sign(t, c.who, c.predicateType, c.predicate)
			d := s.decide(t, c.policy)
			if got := codes(d); got != c.want || d.Allowed() != (c.want == "") {
				t.Errorf("codes %q, want %q\n%s", got, c.want, show(d))
			}
		})
	}
}

// TestKeylessFinding: a denial shows the fields that differ, side by side, and
// the change that would accept the signer; applied, it does.
func TestKeylessFinding(t *testing.T) {
	s := newStage(t)
	s.sign(t, verifytest.GitHub("acme/agent", flow, "refs/heads/main", "push"), evidence.PredicateCosignSign, map[string]any{})
	rules := "images: [{match: registry.example/agents/coder, require: [{signature: {by: [release]}}]}]\n"
	f := s.decide(t, trusted+rules).Findings()[0]
	if f.Code != reason.SignatureWrongIdentity || !strings.Contains(f.Expected, "ref refs/tags/v*") || !strings.Contains(f.Found, "ref refs/heads/main") || strings.Contains(f.Found, "issuer") {
		t.Errorf("finding %+v", f)
	}
	line, ok := strings.CutPrefix(f.Next, "if this signer is right: ")
	if !ok {
		t.Fatalf("next %q", f.Next)
	}
	if d := s.decide(t, line+"\n"+rules); !d.Allowed() {
		t.Errorf("%s does not accept the signer:\n%s", line, show(d))
	}
}

// TestThresholdOfOneIdentity: one identity that two certificate names match is
// one signer; two identities need two. (N18)
func TestThresholdOfOneIdentity(t *testing.T) {
	s := newStage(t)
	s.sign(t, verifytest.GitHub("acme/agent", flow, "refs/tags/v1.4", "push"), evidence.PredicateCosignSign, map[string]any{})
	s.sign(t, verifytest.GitHub("acme/agent", flow, "refs/tags/v1.5", "push"), evidence.PredicateCosignSign, map[string]any{})
	ids := strings.TrimSuffix(trusted, "}\n") + ", exact: {keyless: {issuer: " + github + ", repository: acme/agent, workflow: " + flow + ", ref: refs/tags/v1.4}}}\n"
	d := s.decide(t, ids+"images: [{match: registry.example/agents/coder, require: [{signature: {by: [release, exact], threshold: 2}}]}]\n")
	if !d.Allowed() { // exact takes v1.4, which leaves v1.5 for release
		t.Errorf("two signers for two identities:\n%s", show(d))
	}
	s.in.Claims = s.in.Claims[:1]
	d = s.decide(t, ids+"images: [{match: registry.example/agents/coder, require: [{signature: {by: [release, exact], threshold: 2}}]}]\n")
	if codes(d) != "threshold-unmet" {
		t.Errorf("one signer for two identities:\n%s", show(d))
	}
}

// TestUntilOfClaims: an allowed decision ends when its oldest claim becomes too
// old; of two claims by one signer the newer counts.
func TestUntilOfClaims(t *testing.T) {
	s := newStage(t)
	at := verifytest.Epoch()
	for _, ago := range []time.Duration{0, 2 * time.Hour} {
		raw := s.sigstore.Attest(t, release, verifytest.Statement(t, evidence.PredicateCosignSign, map[string]any{}, manifestSum.Encoded()), verifytest.Options{At: at.Add(-ago)})
		s.add(t, raw)
	}
	d := s.decide(t, trusted+"images: [{match: registry.example/agents/coder, require: [{signature: {by: [release], maxAge: 24h}}]}]\n")
	until := at.Add(24*time.Hour - time.Minute) // the certificate began a minute before
	if !d.Allowed() || !d.Until().Equal(until) {
		t.Errorf("until %v, want %v\n%s", d.Until(), until, show(d))
	}
}
