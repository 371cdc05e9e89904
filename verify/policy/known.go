package policy

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/ztlaunch/ztlaunch/sbom"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Predicate types that say how something ended, or that it happened.
const (
	predicateVSA        = "https://slsa.dev/verification_summary/v1"
	predicateTestResult = "https://in-toto.io/attestation/test-result/v0.1"
	predicateSVR1       = "https://in-toto.io/attestation/svr/v0.1"
	predicateSVR2       = "https://in-toto.io/attestation/svr/v0.2"
	predicateRelease1   = "https://in-toto.io/attestation/release/v0.1"
	predicateRelease2   = "https://in-toto.io/attestation/release/v0.2"
	predicateSCAI3      = "https://in-toto.io/attestation/scai/v0.3"
	predicateReport2    = "https://in-toto.io/attestation/scai/attribute-report/v0.2" // SCAI, under its older name
	predicateReport3    = "https://in-toto.io/attestation/scai/attribute-report/v0.3"
)

// families are the known predicate types by what all versions of one begin with.
// A version that is not here is refused: what its result is called, nobody knows.
func families() map[string][]string {
	return map[string][]string{
		"https://slsa.dev/verification_summary":        {predicateVSA},
		"https://in-toto.io/attestation/test-result":   {predicateTestResult},
		"https://in-toto.io/attestation/svr":           {predicateSVR2, predicateSVR1},
		"https://in-toto.io/attestation/release":       {predicateRelease2, predicateRelease1},
		"https://in-toto.io/attestation/scai":          {predicateSCAI3, predicateReport2, predicateReport3},
		strings.TrimSuffix(provenanceFamily, "/"):      provenanceTypes,
		vulnerabilitiesFamily:                          scanTypes,
		strings.TrimSuffix(predicateCosignVuln, "/v1"): {predicateCosignVuln},
	}
}

// versions are those of a predicate type's family, where the type is of a known
// family and of a version that is not read; else nil.
func versions(predicateType string) []string {
	for family, read := range families() {
		rest, is := strings.CutPrefix(predicateType, family)
		if is && (rest == "" || rest[0] == '/') && !slices.Contains(read, predicateType) {
			return read
		}
	}
	return nil
}

// verdict is what a predicate says as a whole.
type verdict struct {
	at     time.Time // when what it reports was done, by its signer's word; zero if it does not say
	failed string    // why its result is no good one; "" if it is one, or there is none
}

// WellFormed says whether a predicate is what its type promises, for the types
// that rules read: SLSA provenance v1 and v0.2, vulnerability reports, SPDX,
// CycloneDX, and those that attestation demands know. Of any other type every JSON
// value is well-formed. The error is for people.
func WellFormed(predicateType string, raw json.RawMessage) error {
	_, err := read(predicateType, raw)
	return err
}

// read reads a predicate of any type.
func read(predicateType string, raw json.RawMessage) (v verdict, err error) {
	if IsSBOM(predicateType) {
		doc, err := sbom.Parse(raw)
		if err == nil && evidence.IsSPDX(predicateType) != (doc.Format == sbom.SPDX) {
			err = &reason.Error{Code: reason.SBOMMalformed, What: "read SBOM", Expected: predicateType, Found: string(doc.Format)}
		}
		if e, ok := reason.Of(err); ok && e.Code == reason.SBOMUnsupported {
			err = nil // of a version that only an sbom demand would have to read
		}
		return verdict{}, err
	}
	var p parser
	var with func(object) verdict
	switch predicateType {
	case evidence.PredicateSLSAProvenanceV1:
		with = func(root object) verdict { p.buildV1(root); return verdict{} }
	case evidence.PredicateSLSAProvenanceV02:
		with = func(root object) verdict { p.buildV02(root); return verdict{} }
	case vulnerabilitiesV01, vulnerabilitiesV02, vulnerabilitiesFamily:
		with = func(root object) verdict { return verdict{at: p.scanInToto(root).finished} }
	case predicateCosignVuln:
		with = func(root object) verdict { return verdict{at: p.scanCosign(root).finished} }
	case predicateVSA:
		with = p.summary
	case predicateTestResult:
		with = p.testResult
	case predicateSVR1:
		with = func(root object) verdict { return p.simple(root, false) }
	case predicateSVR2:
		with = func(root object) verdict { return p.simple(root, true) }
	case predicateRelease1, predicateRelease2:
		with = p.release
	case predicateSCAI3, predicateReport2, predicateReport3:
		with = p.attributes
	default:
		return verdict{}, nil
	}
	root, err := decodeObject(raw)
	if err != nil {
		return verdict{}, err
	}
	v = with(root)
	return v, p.err
}

// result is a word out of a fixed set, the first of which is the good one.
func (p *parser) result(o object, name string, words ...string) (failed string) {
	got := p.text(o, name, true)
	if p.err == nil && !slices.Contains(words, got) {
		p.fail("%s is %s, which is none of %s", name, clip(got), strings.Join(words, ", "))
	}
	if got == words[0] {
		return ""
	}
	return name + " is " + clip(got)
}

// summary reads a SLSA verification summary (https://slsa.dev/spec/v1.1/verification_summary).
// The digest of the policy, optional there, is needed: a name alone can be given
// to any policy.
func (p *parser) summary(root object) (v verdict) {
	p.text(p.object(root, "verifier", true), "id", true)
	v.at = p.time(root, "timeVerified", true)
	p.text(root, "resourceUri", true)
	policy := p.object(root, "policy", true)
	p.text(policy, "uri", true)
	p.digests(policy)
	p.list(root, "inputAttestations", false)
	levels := p.texts(root, "verifiedLevels", true)
	v.failed = p.result(root, "verificationResult", "PASSED", "FAILED")
	if v.failed == "" && slices.Contains(levels, "FAILED") {
		v.failed = "verificationResult is PASSED, and verifiedLevels holds FAILED"
	}
	return v
}

// digests needs a digest set with at least one digest.
func (p *parser) digests(o object) {
	set := p.object(o, "digest", true)
	if len(set) == 0 {
		p.fail("digest is empty")
	}
	for algorithm := range set {
		p.text(set, algorithm, true)
	}
}

// testResult reads a test result (in-toto/attestation spec/predicates/test-result.md).
func (p *parser) testResult(root object) (v verdict) {
	p.list(root, "configuration", true)
	p.text(root, "url", false)
	p.texts(root, "passedTests", false)
	p.texts(root, "warnedTests", false)
	failed := p.texts(root, "failedTests", false)
	v.failed = p.result(root, "result", "PASSED", "WARNED", "FAILED")
	if v.failed == "" && len(failed) > 0 {
		v.failed = "result is PASSED, and failedTests holds " + some(clipped(failed))
	}
	return v
}

// simple reads a simple verification result (in-toto/attestation
// spec/predicates/svr.md), which names the policies from v0.2 on. It lists what
// was verified; nothing listed is no good result.
func (p *parser) simple(root object, policies bool) (v verdict) {
	verifier := p.object(root, "verifier", true)
	p.text(verifier, "id", true)
	p.list(verifier, "policies", policies)
	v.at = p.time(root, "timeCreated", true)
	properties := p.texts(root, "properties", true)
	if slices.Contains(properties, "") {
		p.fail("properties holds an empty one")
	}
	if len(properties) == 0 {
		v.failed = "properties holds nothing that was verified"
	}
	return v
}

// release reads a release (in-toto/attestation spec/predicates/release.md): a
// package URL with a version.
func (p *parser) release(root object) verdict {
	purl := p.text(root, "purl", true)
	name, _, _ := strings.Cut(purl, "?")
	at := strings.LastIndexByte(name, '@')
	if p.err == nil && (!strings.HasPrefix(purl, "pkg:") || at < 0 || at < strings.LastIndexByte(name, '/') || at == len(name)-1) {
		p.fail("purl is not a package URL with a version: %s", clip(purl))
	}
	p.text(root, "packageId", false)
	p.text(root, "releaseId", false)
	return verdict{}
}

// attributes reads a SCAI attribute report (in-toto/attestation
// spec/predicates/scai.md).
func (p *parser) attributes(root object) verdict {
	all := p.list(root, "attributes", true)
	if len(all) == 0 {
		p.fail("attributes is empty")
	}
	for _, a := range all {
		p.text(a, "attribute", true)
		p.object(a, "target", false)
		p.object(a, "conditions", false)
		p.object(a, "evidence", false)
	}
	p.object(root, "producer", false)
	return verdict{}
}

// attested holds an attestation of any type against the demand: a known type is
// read whole, and its result is a good one; then the condition.
func (d demand) attested(c evidence.Claim, at, now time.Time) (out []fault) {
	v, err := read(c.PredicateType(), c.Predicate())
	switch {
	case err != nil:
		return []fault{{reason.AttestationMalformed, "a predicate of type " + d.kind, clip(err.Error()), "attest anew, with the members that the type needs"}}
	case v.at.After(now.Add(skew)):
		return []fault{{reason.AttestationMalformed, "a time no later than " + stamp(now), "made at " + stamp(v.at) + ", in the future", "compare this host's clock with another"}}
	case v.failed != "":
		out = []fault{{reason.AttestationFailed, "a result that is good", v.failed, "mend what failed, and attest anew"}}
	}
	return append(out, d.expression.judge(c, at, now)...)
}
