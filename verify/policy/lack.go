package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// unreached reports a demand that is not met while discovery was incomplete.
// Where evidence is there and its bytes are wrong, that is the reason; else nobody
// can tell whether what is missing exists.
func (e *evaluation) unreached(d demand, f Finding, good []judged) {
	var why []string
	for _, p := range e.in.Problems {
		why = append(why, clip(p.Error()))
		if f.Next == "" {
			f.Next = p.Next
		}
		if p.Code.Class() == reason.Denied && f.Code == "" {
			f.Code = p.Code
		}
	}
	if slices.ContainsFunc(e.in.Problems, func(p *reason.Error) bool { return p.Code.Class() != reason.Denied }) {
		f.Code = reason.EvidenceUnreached
	}
	if f.Code != reason.EvidenceUnreached && f.Next == "" {
		f.Next = "copy the image and its evidence anew from where they were made"
	}
	f.Expected = fmt.Sprintf("%s by %s", d.word, d.who)
	f.Found = fmt.Sprintf("%d, and not all places could be asked: %s", len(match(good)), some(why))
	if f.Next == "" {
		f.Next = "try again when the registry answers"
	}
	e.fail(f)
}

// strangers reports claims that are genuine and by somebody else: the fields
// that differ from the nearest identity, side by side.
func (e *evaluation) strangers(d demand, f Finding, all []stranger) {
	_, f.Code, _ = d.word.codes()
	best := all[0]
	for _, s := range all[1:] {
		if len(s.differences) < len(best.differences) {
			best = s
		}
	}
	var expected, found []string
	for _, diff := range best.differences {
		expected = append(expected, diff.Field+" "+clip(diff.Expected))
		found = append(found, diff.Field+" "+clip(diff.Found))
	}
	f.Expected = best.nearest.name + ": " + strings.Join(expected, "; ")
	f.Found = strings.Join(found, "; ")
	if s := best.claim.Signer(); s.Caller() != "" {
		f.Found += "; started as " + clip(s.Caller()) + ", signed by " + clip(s.BuildSignerURI)
	}
	for _, s := range all {
		f.Evidence = append(f.Evidence, s.claim.Envelope())
	}
	if more := len(all) - 1; more > 0 {
		f.Found += fmt.Sprintf(" (and %d more by others)", more)
	}
	f.Next = suggest(best.nearest.name, best.claim.Signer())
	e.fail(f)
}

// missing reports a demand for which no genuine claim was found at all.
func (e *evaluation) missing(d demand, f Finding) {
	absent, _, unproved := d.word.codes()
	f.Code, f.Expected, f.Next = absent, fmt.Sprintf("%s by %s", d.word, d.who), e.command(d)
	f.Found = "none" + e.others(d)
	var why []string
	for _, u := range e.in.Unproved {
		if u.Type != "" && !d.accepts(e.in.Artifact.Kind(), u.Type) || u.Err == nil {
			continue
		}
		f.Code = unproved
		f.Evidence = append(f.Evidence, u.Envelope)
		why = append(why, clip(u.Err.Error()))
		if next := u.Err.Next; len(why) == 1 && next != "" {
			switch ref := e.in.Artifact.Ref(); {
			case next != "ztlaunch tree REF":
				f.Next = next
			case ref.Kind() != artifact.Model: // else to make one that proves
				f.Next = "ztlaunch tree " + reason.Word(ref.String())
			}
		}
	}
	if why != nil {
		f.Found = some(why)
	}
	e.fail(f)
}

// others says which predicates were proved, when the wanted one was not: an
// SBOM is no signature.
func (e *evaluation) others(d demand) string {
	seen := map[string]bool{}
	var types []string
	for _, c := range e.in.Claims {
		if t := c.PredicateType(); !seen[t] && !d.accepts(e.in.Artifact.Kind(), t) {
			seen[t] = true
			types = append(types, clip(t))
		}
	}
	if types == nil {
		return ""
	}
	return " (proved, and of another type: " + some(types) + ")"
}

// command is what makes the missing claim.
func (e *evaluation) command(d demand) string {
	return d.command(e.in.Artifact.Kind(), e.in.Artifact.Ref())
}

// command is what makes a claim of the demand's type; about REF, if there is no
// reference.
func (d demand) command(kind artifact.Kind, about artifact.Reference) string {
	ref := "REF"
	if !about.Zero() {
		ref = reason.Word(about.String())
	}
	attest := func(predicateType, file string) string {
		return "ztlaunch attest " + ref + " --key KEY --type " + predicateType + " --predicate " + file
	}
	switch d.word {
	case signature:
		if s := about.Scheme(); s != artifact.Registry && s != artifact.OCILayout && kind == artifact.Image {
			return "ztlaunch adopt " + ref + " --as NAME, to vouch for it yourself; a signature needs a registry or an oci-layout: (ztlaunch copy)"
		}
		if kind != artifact.Image {
			return "ztlaunch sign --key KEY " + ref
		}
		return "ztlaunch sign --key KEY " + ref + ", by one of them; to vouch for it yourself: ztlaunch adopt " + ref + " --as NAME"
	case provenance:
		return attest(evidence.PredicateSLSAProvenanceV1, "provenance.json")
	case bill:
		return "ztlaunch sbom create " + ref + " > sbom.spdx.json && " + attest(evidence.PredicateSPDX, "sbom.spdx.json")
	case vulnerabilities:
		return attest(PredicateVulnerabilities, "vulns.json")
	case attestation:
		return attest(d.kind, "predicate.json")
	case pin: // nothing of ours makes one yet
		return "ask its publisher for a pin"
	}
	return ""
}

// suggest is the change that would make this signer the named identity.
func suggest(name string, s evidence.Signer) string {
	switch k, ok := exactly(s); {
	case s.Key != "":
		return "if this signer is right, with its public key in FILE: identities: {" + name + ": {key: FILE}}"
	case s.Authority != "" && !strings.Contains(s.SAN, "*"):
		return "if this signer is right, with its authority's certificates in FILE: identities: {" + name + ": {certificate: {authority: FILE, kind: " + s.SANType + ", san: " + scalar(clip(s.SAN)) + "}}}"
	case ok:
		return "if this signer is right: identities: {" + name + ": {keyless: " + k.flow() + "}}"
	}
	return "ask whoever signed it for a certificate whose name holds no *"
}

// exactly fixes every field that a certificate fixes. It is the identity that
// policy init writes. A name with "*" in it cannot be written exactly.
func exactly(s evidence.Signer) (k Keyless, ok bool) {
	k = Keyless{Issuer: s.Issuer, Repository: s.SourceRepositoryURI, Ref: s.SourceRepositoryRef, Trigger: s.BuildTrigger, Runner: s.RunnerEnvironment}
	workflow, under := strings.CutPrefix(s.BuildConfigURI, s.SourceRepositoryURI+"/")
	workflow, atRef := strings.CutSuffix(workflow, "@"+s.SourceRepositoryRef)
	if under && atRef && s.SourceRepositoryURI != "" && s.SourceRepositoryRef != "" {
		k.Workflow = workflow
		if s.BuildSignerURI != s.BuildConfigURI {
			k.Signer = s.BuildSignerURI
		}
		if k.exact() {
			return k, true
		}
	}
	k = Keyless{Issuer: s.Issuer, Kind: s.SANType, SAN: s.SAN}
	return k, k.exact()
}
