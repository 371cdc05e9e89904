package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/opencontainers/go-digest"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// good are predicates as they should be, one of each type that is known, with
// every member that is read.
var good = map[string]string{
	evidence.PredicateSLSAProvenanceV1: `{"buildDefinition": {"buildType": "https://ci.example/b", "externalParameters": {"source": {"uri": "git+https://a.example/r@refs/tags/v1", "digest": {"gitCommit": "aa"}}},
		"internalParameters": {}, "resolvedDependencies": [{"uri": "git+https://a.example/r@refs/tags/v1", "digest": {"sha1": "aa"}}]},
		"runDetails": {"builder": {"id": "https://ci.example/x"}, "metadata": {"startedOn": "2026-05-30T10:00:00Z", "finishedOn": "2026-05-30T11:00:00Z"}}}`,
	evidence.PredicateSLSAProvenanceV02: `{"builder": {"id": "https://ci.example/x"}, "buildType": "https://ci.example/b",
		"invocation": {"configSource": {"uri": "git+https://a.example/r@refs/tags/v1", "digest": {"sha1": "aa"}, "entryPoint": "ci.yml"}, "parameters": {}, "environment": {}},
		"metadata": {"buildStartedOn": "2026-05-30T10:00:00Z", "buildFinishedOn": "2026-05-30T11:00:00Z"}, "materials": [{"uri": "git+https://a.example/r@refs/tags/v1", "digest": {"sha1": "aa"}}]}`,
	predicateVSA: `{"verifier": {"id": "https://v.example"}, "timeVerified": "2026-05-30T10:00:00Z", "resourceUri": "pkg:oci/coder", "policy": {"uri": "https://v.example/p", "digest": {"sha256": "aa"}},
		"inputAttestations": [], "verificationResult": "PASSED", "verifiedLevels": ["SLSA_BUILD_LEVEL_3"]}`,
	predicateTestResult: `{"result": "PASSED", "configuration": [{}], "url": "https://ci.example/1", "passedTests": ["a"], "warnedTests": [], "failedTests": []}`,
	predicateSVR1:       `{"verifier": {"id": "https://v.example"}, "timeCreated": "2026-05-30T10:00:00Z", "properties": ["SLSA_BUILD_LEVEL_3"]}`,
	predicateSVR2:       `{"verifier": {"id": "https://v.example", "policies": []}, "timeCreated": "2026-05-30T10:00:00Z", "properties": ["SLSA_BUILD_LEVEL_3"]}`,
	predicateRelease1:   `{"purl": "pkg:npm/%40acme/agent@1.4.0", "releaseId": "7"}`,
	predicateRelease2:   `{"purl": "pkg:oci/coder@sha256%3Aaa?tag=1", "packageId": "7"}`,
	predicateSCAI3:      `{"attributes": [{"attribute": "HARDENED", "target": {}, "conditions": {}, "evidence": {}}], "producer": {}}`,
	predicateReport2:    `{"attributes": [{"attribute": "HARDENED"}]}`,
	predicateReport3:    `{"attributes": [{"attribute": "HARDENED"}]}`,
	vulnerabilitiesV02: `{"scanner": {"db": {"lastUpdate": "2026-05-31T00:00:00Z"}, "result": [{"id": "CVE-1", "severity": [{"method": "nvd", "score": "low"}]}]},
		"metadata": {"scanStartedOn": "2026-05-31T11:00:00Z", "scanFinishedOn": "2026-05-31T12:00:00Z"}}`,
	vulnerabilitiesV01:    `{"scanner": {"db": {}, "result": [{"vulnerability": {"id": "CVE-1", "severity": []}}]}, "metadata": {"scanFinishedOn": "2026-05-31T12:00:00Z"}}`,
	vulnerabilitiesFamily: `{"scanner": {"result": []}, "metadata": {"scanFinishedOn": "2026-05-31T12:00:00Z"}}`,
	predicateCosignVuln: `{"scanner": {"result": {"SchemaVersion": 2, "Results": [{"Vulnerabilities": [{"VulnerabilityID": "CVE-1", "Severity": "LOW"}]}]}},
		"metadata": {"scanStartedOn": "2026-05-31T11:00:00Z", "scanFinishedOn": "2026-05-31T12:00:00Z"}}`,
	evidence.PredicateSPDX:      `{"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "name": "coder", "packages": [], "files": []}`,
	evidence.PredicateCycloneDX: `{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []}`,
}

// said is one claim of a scene: a predicate by release.
type said struct{ predicateType, predicate string }

// under decides on claims by release about the manifest, under one demand.
func under(t testing.TB, demand string, claims ...said) Decision {
	t.Helper()
	return underKind(t, "images", demand, claims...)
}

func underKind(t testing.TB, section, demand string, claims ...said) Decision {
	t.Helper()
	text := "-- policy.yaml --\n" + ids + section + ": [{match: registry.example/agents/coder, require: [" + demand + "]}]\n-- input --\n"
	if section == "servers" {
		text += "kind: mcp\n"
	}
	for i, c := range claims {
		text += fmt.Sprintf("claim: release %s manifest p%d.json\n", c.predicateType, i)
	}
	for i, c := range claims {
		text += fmt.Sprintf("-- p%d.json --\n%s\n", i, c.predicate)
	}
	s := newScene(t, txtar.Parse([]byte(text)))
	if s.perr != nil {
		t.Fatal(s.perr)
	}
	return Evaluate(s.policy, s.in)
}

// denies demands exactly these codes.
func denies(t *testing.T, d Decision, want ...reason.Code) {
	t.Helper()
	var all []string
	for _, c := range want {
		all = append(all, string(c))
	}
	slices.Sort(all)
	if got := codes(d); got != strings.Join(all, " ") || d.Allowed() != (len(want) == 0) {
		t.Errorf("codes %q, want %q\n%s", got, all, show(d))
	}
}

func attests(predicateType string) string {
	return "{attestation: {by: [release], type: \"" + predicateType + "\"}}"
}

// TestN20AnotherTypeDoesNotSatisfy: an attestation of any other type, by the right
// signer and of the right image, does not meet a demand for one type.
func TestN20AnotherTypeDoesNotSatisfy(t *testing.T) {
	claims := []said{{evidence.PredicateCosignSign, "{}"}, {"https://example.com/score", "{}"}, {PredicatePin, "{}"}}
	for _, predicateType := range slices.Sorted(maps.Keys(good)) {
		claims = append(claims, said{predicateType, good[predicateType]})
	}
	others := func(mine func(string) bool) (out []said) {
		for _, c := range claims {
			if !mine(c.predicateType) {
				out = append(out, c)
			}
		}
		if len(out) < 10 || len(out) == len(claims) {
			t.Fatalf("%d of %d are of another type", len(out), len(claims))
		}
		return out
	}
	is := func(all ...string) func(string) bool { return func(s string) bool { return slices.Contains(all, s) } }
	denies(t, under(t, "{provenance: {by: [release], builder: https://ci.example/x}}", others(is(provenanceTypes...))...), reason.ProvenanceAbsent)
	denies(t, under(t, "{sbom: {by: [release], covers: all}}", others(IsSBOM)...), reason.SBOMAbsent)
	denies(t, under(t, "{vulnerabilities: {by: [release], maxAge: 72h, deny: [critical]}}", others(is(scanTypes...))...), reason.VulnerabilitiesAbsent)
	denies(t, underKind(t, "servers", "{signature: {by: [release]}}, {pin: {by: [release]}}", others(is(PredicatePin))...), reason.PinAbsent)
	for _, c := range claims {
		denies(t, under(t, attests(c.predicateType), others(is(c.predicateType))...), reason.AttestationAbsent)
		if c.predicateType != evidence.PredicateCosignSign {
			denies(t, under(t, attests(c.predicateType), claims...)) // and its own does
		}
	}
}

// TestN21MalformedPredicate: a predicate that is not what its type promises is
// reported as that, member by member, and never as good.
func TestN21MalformedPredicate(t *testing.T) {
	for predicateType, text := range good {
		t.Run(predicateType, func(t *testing.T) {
			denies(t, under(t, attests(predicateType), said{predicateType, text}))
			for _, predicate := range []string{"[]", `"PASSED"`, "7", "true", "{}", "null"} {
				denies(t, under(t, attests(predicateType), said{predicateType, predicate}), reason.AttestationMalformed)
			}
			if IsSBOM(predicateType) {
				return // package sbom has tests of its own
			}
			for path, predicate := range broken(t, text) {
				if err := WellFormed(predicateType, predicate); err == nil {
					t.Errorf("%s of another type is well-formed: %s", path, predicate)
				}
				denies(t, under(t, attests(predicateType), said{predicateType, string(predicate)}), reason.AttestationMalformed)
			}
		})
	}
	denies(t, under(t, attests(evidence.PredicateSPDX), said{evidence.PredicateSPDX, good[evidence.PredicateCycloneDX]}), reason.AttestationMalformed)
	denies(t, under(t, attests(evidence.PredicateCycloneDX), said{evidence.PredicateCycloneDX, `{"bomFormat": "CycloneDX", "specVersion": "9.0"}`}))
	p := said{evidence.PredicateSLSAProvenanceV1, "{}"}
	denies(t, under(t, "{provenance: {by: [release], builder: https://ci.example/x}}", p), reason.ProvenanceMalformed)
	p.predicateType = evidence.PredicateSLSAProvenanceV02
	denies(t, under(t, "{provenance: {by: [release], builder: https://ci.example/x}}", p), reason.ProvenanceMalformed)
	denies(t, under(t, "{sbom: {by: [release], covers: all}}", said{evidence.PredicateSPDX, "{}"}), reason.SBOMMalformed)
	for _, predicateType := range scanTypes {
		denies(t, under(t, "{vulnerabilities: {by: [release], maxAge: 72h, deny: [critical]}}", said{predicateType, "{}"}), reason.VulnerabilitiesMalformed)
	}
	future := strings.Replace(good[predicateVSA], "2026-05-30", "2026-06-02", 1)
	denies(t, under(t, attests(predicateVSA), said{predicateVSA, future}), reason.AttestationMalformed)
}

// TestN21MissingMember: each member that a type needs, left out, null or empty.
func TestN21MissingMember(t *testing.T) {
	const finished = "metadata/scanFinishedOn"
	for predicateType, paths := range map[string][]string{
		evidence.PredicateSLSAProvenanceV1:  {"buildDefinition", "buildDefinition/buildType", "buildDefinition/externalParameters", "runDetails", "runDetails/builder", "runDetails/builder/id"},
		evidence.PredicateSLSAProvenanceV02: {"builder", "builder/id", "buildType"},
		predicateVSA:                        {"verifier", "verifier/id", "timeVerified", "resourceUri", "policy", "policy/uri", "policy/digest", "policy/digest/sha256", "verificationResult", "verifiedLevels"},
		predicateTestResult:                 {"result", "configuration"},
		predicateSVR1:                       {"verifier", "verifier/id", "timeCreated", "properties"},
		predicateSVR2:                       {"verifier", "verifier/id", "verifier/policies", "timeCreated", "properties"},
		predicateRelease1:                   {"purl"},
		predicateRelease2:                   {"purl"},
		predicateSCAI3:                      {"attributes", "attributes/0/attribute"},
		predicateReport2:                    {"attributes", "attributes/0/attribute"},
		vulnerabilitiesV01:                  {"scanner", "scanner/result", "scanner/result/0/vulnerability/id", "metadata", finished},
		vulnerabilitiesV02:                  {"scanner", "scanner/result", "scanner/result/0/id", "metadata", finished},
		predicateCosignVuln:                 {"scanner", "scanner/result", "metadata", finished},
	} {
		root, err := decodeObject([]byte(good[predicateType]))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			for name, value := range map[string]any{"absent": nil, "null": json.RawMessage("null"), "empty": ""} {
				raw, err := json.Marshal(edit(t, root, value, path))
				if err != nil {
					t.Fatal(err)
				}
				if d := under(t, attests(predicateType), said{predicateType, string(raw)}); codes(d) != string(reason.AttestationMalformed) {
					t.Errorf("%s, %s %s: codes %q", predicateType, path, name, codes(d))
				}
			}
		}
	}
	denies(t, under(t, attests(predicateSCAI3), said{predicateSCAI3, `{"attributes": []}`}), reason.AttestationMalformed)
	for _, purl := range []string{"npm/agent@1", "pkg:npm/agent", "pkg:npm/@acme/agent", "pkg:npm/agent@", "pkg:npm/agent?tag=a@b"} {
		denies(t, under(t, attests(predicateRelease2), said{predicateRelease2, `{"purl": "` + purl + `"}`}), reason.AttestationMalformed)
	}
}

// broken are a predicate's variants in which one member has a value of a type
// that no member has.
func broken(t *testing.T, text string) map[string]json.RawMessage {
	t.Helper()
	out := map[string]json.RawMessage{}
	var root any
	if err := json.Unmarshal([]byte(text), &root); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, v any)
	write := func(path string) {
		raw, err := json.Marshal(root)
		if err != nil {
			t.Fatal(err)
		}
		out[path] = raw
	}
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, was := range v {
				if name == "score" || name == "source" {
					continue // of any type: a grade that is not known, a source that is nobody's
				}
				v[name] = true
				write(path + "/" + name)
				v[name] = was
				walk(path+"/"+name, was)
			}
		case []any:
			for i, was := range v {
				v[i] = true
				write(fmt.Sprintf("%s/%d", path, i))
				v[i] = was
				walk(fmt.Sprintf("%s/%d", path, i), was)
			}
		}
	}
	walk("", root)
	if len(out) == 0 {
		t.Fatal("nothing to break")
	}
	return out
}

// TestN22AttestationIsNoSignature: SBOM, provenance, test result and every other
// attestation by the right signer, all at once, are no signature of the image.
func TestN22AttestationIsNoSignature(t *testing.T) {
	var claims []said
	for predicateType, text := range good {
		claims = append(claims, said{predicateType, text})
	}
	denies(t, under(t, "{signature: {by: [release]}}", claims...), reason.SignatureAbsent)
	denies(t, under(t, "{signature: {by: [release]}}", append(claims, said{evidence.PredicateCosignSign, "{}"})...))
}

// TestN25SignedFailure: a result that is no good one is no pass, though the right
// signer signed it and whatever the condition says.
func TestN25SignedFailure(t *testing.T) {
	edit := func(predicateType, old, new string) said {
		text := strings.Replace(good[predicateType], old, new, 1)
		if text == good[predicateType] {
			t.Fatalf("nothing to edit: %s", old)
		}
		return said{predicateType, text}
	}
	for name, c := range map[string]said{
		"vsa":         edit(predicateVSA, `"PASSED"`, `"FAILED"`),
		"vsa-levels":  edit(predicateVSA, `"SLSA_BUILD_LEVEL_3"`, `"FAILED"`),
		"test":        edit(predicateTestResult, `"PASSED"`, `"FAILED"`),
		"test-warned": edit(predicateTestResult, `"PASSED"`, `"WARNED"`),
		"test-listed": edit(predicateTestResult, `"failedTests": []`, `"failedTests": ["b"]`),
		"svr":         edit(predicateSVR1, `"SLSA_BUILD_LEVEL_3"`, ``),
		"svr-v0.2":    edit(predicateSVR2, `"SLSA_BUILD_LEVEL_3"`, ``),
	} {
		t.Run(name, func(t *testing.T) {
			denies(t, under(t, attests(c.predicateType), c), reason.AttestationFailed)
			always := strings.Replace(attests(c.predicateType), "}}", ", cel: \"true\"}}", 1)
			denies(t, under(t, always, c), reason.AttestationFailed)
		})
	}
	// A word that the type does not have is no result at all.
	for _, word := range []string{"passed", "PASS", "PASSED ", ""} {
		c := edit(predicateVSA, `"PASSED"`, `"`+word+`"`)
		denies(t, under(t, attests(predicateVSA), c), reason.AttestationMalformed)
		c = edit(predicateTestResult, `"PASSED"`, `"`+word+`"`)
		denies(t, under(t, attests(predicateTestResult), c), reason.AttestationMalformed)
	}
}

// TestN28OtherSubjectDoesNotCount: a claim that was proved of another image does
// not count for this one.
func TestN28OtherSubjectDoesNotCount(t *testing.T) {
	denies(t, decideFile(t, "signature-of-other-subject"), reason.SignatureAbsent)
	d := newScene(t, txtar.Parse([]byte("-- policy.yaml --\n"+demanded("{provenance: {by: [release], builder: https://ci.example/builder}}")+
		"-- input --\nclaim: release slsa other provenance.json\nname: registry.example/a\n")))
	denies(t, Evaluate(d.policy, d.in), reason.ProvenanceAbsent)
}

func decideFile(t *testing.T, name string) Decision {
	s := loadScene(t, "testdata/evaluate/"+name+".txtar")
	return Evaluate(s.policy, s.in)
}

// TestN29OneOfManySubjects: a statement about several artifacts counts for the
// one that is ours, and the result names it, and says that there are others; it
// does not count when ours is not among them.
func TestN29OneOfManySubjects(t *testing.T) {
	s := newStage(t)
	sums := []string{otherSum.Encoded(), manifestSum.Encoded(), digest.FromString("third").Encoded()}
	s.add(t, s.sigstore.Attest(t, release, verifytest.Statement(t, evidence.PredicateCosignSign, map[string]any{}, sums...), verifytest.Options{}))
	const rule = trusted + "images: [{match: registry.example/agents/coder, require: [{signature: {by: [release]}}]}]\n"
	d := s.decide(t, rule)
	denies(t, d)
	f := d.Findings()[0]
	if want := "of the manifest " + manifestSum.String() + ", one of 3 subjects"; !strings.Contains(f.Found, want) {
		t.Errorf("found %q, want %q", f.Found, want)
	}
	if p := d.Proved(); len(p) != 1 || p[0].Subject != manifestSum || p[0].Index {
		t.Errorf("proved %+v", p)
	}
	e, err := evidence.Parse(s.sigstore.Attest(t, release, verifytest.Statement(t, evidence.PredicateCosignSign, map[string]any{}, sums[0], sums[2]), verifytest.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = evidence.Check(e, s.root, s.in.Artifact.Subjects(), s.in.Now)
	why, _ := reason.Of(err)
	if why == nil || why.Code != reason.SubjectMismatch {
		t.Fatalf("%v, want %s", err, reason.SubjectMismatch)
	}
	s.in.Claims, s.in.Unproved = nil, []Unproved{{Envelope: e.Digest(), Type: e.PredicateType(), Err: why}}
	denies(t, s.decide(t, rule), reason.SignatureUnproved)
}

// TestN51EscapesInFindings: what signers wrote, in names, types and predicates,
// cannot speak to the terminal that shows a decision.
func TestN51EscapesInFindings(t *testing.T) {
	const evil = "\u001b]0;pwned\u0007\u009b31m\u202e\r\n"
	raw, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw[1 : len(raw)-1])
	build := func(old string) said {
		p := strings.Replace(good[evidence.PredicateSLSAProvenanceV1], old, text, 1)
		return said{evidence.PredicateSLSAProvenanceV1, p}
	}
	const built = "{provenance: {by: [release], source: a.example/r, ref: refs/tags/v*, builder: https://ci.example/x, buildType: https://ci.example/b, parameters: {a: x}}}"
	vulns := "{vulnerabilities: {by: [release], maxAge: 72h, deny: [low]}}"
	for name, c := range map[string]struct {
		demand string
		said
		want []reason.Code
	}{
		"builder":    {built, build("https://ci.example/x"), []reason.Code{reason.ProvenanceBuilder, reason.ProvenanceParameterAbsent}},
		"build-type": {built, build("https://ci.example/b"), []reason.Code{reason.ProvenanceBuildType, reason.ProvenanceParameterAbsent}},
		"ref":        {built, build("refs/tags/v1"), []reason.Code{reason.ProvenanceContradictory, reason.ProvenanceParameterAbsent, reason.ProvenanceRef}},
		"source":     {built, build("a.example/r"), []reason.Code{reason.ProvenanceParameterAbsent, reason.ProvenanceRefAbsent, reason.ProvenanceSource}},
		"time":       {built, build("2026-05-30T10:00:00Z"), []reason.Code{reason.ProvenanceMalformed}},
		"parameter": {built, said{evidence.PredicateSLSAProvenanceV1, strings.Replace(good[evidence.PredicateSLSAProvenanceV1], `"externalParameters": {`, `"externalParameters": {"`+text+`": 1, "a": "`+text+`", `, 1)},
			[]reason.Code{reason.ProvenanceParameter, reason.ProvenanceParameterWrong}},
		"result":  {attests(predicateVSA), said{predicateVSA, strings.Replace(good[predicateVSA], "PASSED", text, 1)}, []reason.Code{reason.AttestationMalformed}},
		"failed":  {attests(predicateTestResult), said{predicateTestResult, strings.Replace(good[predicateTestResult], `"failedTests": []`, `"failedTests": ["`+text+`"]`, 1)}, []reason.Code{reason.AttestationFailed}},
		"weak":    {vulns, said{vulnerabilitiesV02, strings.Replace(good[vulnerabilitiesV02], "CVE-1", text, 1)}, []reason.Code{reason.VulnerabilityDenied}},
		"trivy":   {vulns, said{predicateCosignVuln, strings.Replace(good[predicateCosignVuln], "LOW", text, 1)}, []reason.Code{reason.VulnerabilitiesMalformed}},
		"purl":    {attests(predicateRelease1), said{predicateRelease1, `{"purl": "` + text + `"}`}, []reason.Code{reason.AttestationMalformed}},
		"unasked": {"{signature: {by: [release]}}", said{"https://x/" + strings.ReplaceAll(evil, "\r\n", ""), "{}"}, []reason.Code{reason.SignatureAbsent}},
	} {
		t.Run(name, func(t *testing.T) {
			d := under(t, c.demand, c.said)
			denies(t, d, c.want...)
			for _, f := range d.Findings() {
				for _, line := range []string{f.What, f.Expected, f.Found, f.Next} {
					if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
						t.Errorf("speaks to the terminal: %q", line)
					}
				}
			}
		})
	}
}
