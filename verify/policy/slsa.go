package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// judge holds provenance against a demand's terms.
// may says which identities could sign when the claim was signed.
func (t buildTerms) judge(c evidence.Claim, may func(Identity) bool) []fault {
	const again = "build with a generator that writes SLSA provenance v1"
	if !slices.Contains(provenanceTypes, c.PredicateType()) {
		return []fault{{reason.ProvenanceUnsupported, strings.Join(provenanceTypes, " or "), clip(c.PredicateType()), again}}
	}
	b, err := readBuild(c.PredicateType(), c.Predicate())
	if err != nil {
		return []fault{{reason.ProvenanceMalformed, provenanceName(c.PredicateType()), clip(err.Error()), again}}
	}
	return t.held(b, c.Signer(), may)
}

// held is in which ways a build is not the one that the terms expect.
func (t buildTerms) held(b build, signer evidence.Signer, may func(Identity) bool) (out []fault) {
	add := func(code reason.Code, expected, found, next string) {
		out = append(out, fault{code, expected, clip(found), next})
	}
	if t.source != "" {
		if got := b.origin.repository; got != t.source {
			add(reason.ProvenanceSource, t.source, got, change("source", got, "build from "+t.source))
		} else if s := signer.SourceRepositoryURI; s != "" && source(s) != t.source {
			add(reason.ProvenanceSource, t.source, source(s)+" in the signer's certificate", "build from "+t.source)
		}
	}
	switch got := b.origin.ref; {
	case t.ref == "":
	case got == "":
		add(reason.ProvenanceRefAbsent, "a build of "+t.ref, "a build that names no ref", "build from a ref that matches "+t.ref+", with a generator that names it")
	case !glob(t.ref, got):
		add(reason.ProvenanceRef, t.ref, got, suggestRef(got, "build from a ref that matches "+t.ref))
	}
	if why := b.contradiction(); why != "" {
		add(reason.ProvenanceContradictory, "one ref and commit of "+clip(b.origin.repository), why, "build with a generator that names each source once")
	}
	if expected, found := t.against(b, signer); expected != "" {
		add(reason.ProvenanceContradicts, expected+", as the certificate says", found, "build and attest in one workflow")
	}
	if t.buildType != "" && b.buildType != t.buildType {
		add(reason.ProvenanceBuildType, t.buildType, b.buildType, change("buildType", b.buildType, "build as "+t.buildType))
	}
	level, why := t.believed(b, signer, may)
	switch {
	case level == 0:
		add(reason.ProvenanceBuilder, t.named(), why, change("builder", b.builder, "build with the "+t.named()))
	case level < t.level:
		add(reason.ProvenanceLevel, fmt.Sprintf("level %d", t.level), fmt.Sprintf("level %d: %s", level, why), fmt.Sprintf("level: %d", level))
	}
	return append(out, t.inputs(b)...)
}

// suggestRef is the change that would accept a ref, where a policy may name it.
func suggestRef(got, otherwise string) string {
	if !refPattern(got) || strings.Contains(got, "*") {
		return otherwise
	}
	return change("ref", got, otherwise)
}

// against compares the provenance with the certificate of its signer: the
// workflow, where the build type names one; else, where the terms ask for a ref,
// the ref; and with either of them the commit.
func (t buildTerms) against(b build, s evidence.Signer) (expected, found string) {
	differ := func(certificate, provenance string) bool {
		return certificate != "" && provenance != "" && certificate != provenance
	}
	switch {
	case differ(s.BuildConfigURI, b.workflow):
		return s.BuildConfigURI, b.workflow
	case t.ref != "" && differ(s.SourceRepositoryRef, b.origin.ref):
		return s.SourceRepositoryRef, b.origin.ref
	case (t.ref != "" || b.workflow != "") && differ(s.SourceRepositoryDigest, b.origin.commit):
		return "commit " + s.SourceRepositoryDigest, "commit " + b.origin.commit
	}
	return "", ""
}

func (t buildTerms) named() string {
	switch {
	case t.entry != nil:
		return "builder " + t.entry.name + " (" + t.entry.id + ")"
	default:
		return "builder " + t.builder
	}
}

// believed is the SLSA build level up to which the terms believe this signer
// about this builder, and why; 0 if the builder is another one.
func (t buildTerms) believed(b build, s evidence.Signer, may func(Identity) bool) (level int64, why string) {
	switch {
	case t.entry != nil && b.builder != t.entry.id:
		return 0, "builder " + b.builder
	case t.entry != nil:
		if !slices.ContainsFunc(t.entry.by, func(id Identity) bool { return len(id.Differences(s)) == 0 && may(id) }) {
			return 0, "builder " + b.builder + " according to " + s.String() + ", whom builders: does not believe about it"
		}
		return t.entry.level, "as builders: says of " + t.entry.name
	case t.builder == githubHosted:
		return t.hosted(b, s)
	case b.builder != t.builder:
		return 0, "builder " + b.builder
	}
	return 1, "a builder without an entry in builders: is believed up to level 1"
}

// githubRunners are the builder.id of older provenance, v0.2 among it, from
// runners that GitHub operates. The first says nothing of who operates the
// runner; the certificate must.
var githubRunners = [...]string{"https://github.com/actions/runner", "https://github.com/actions/runner/github-hosted"}

// hosted says up to which level a build on GitHub's own runners is believed:
// the certificate must say that it ran there. Level 3 needs a reusable workflow,
// which the build's own repository cannot change.
func (t buildTerms) hosted(b build, s evidence.Signer) (level int64, why string) {
	switch {
	case s.Issuer != githubIssuer || s.RunnerEnvironment != githubHosted:
		return 0, "runner " + cmp.Or(s.RunnerEnvironment, "none") + " of issuer " + cmp.Or(s.Issuer, "none") + " in the signer's certificate"
	case !slices.Contains(githubRunners[:], b.builder) && b.builder != s.BuildSignerURI:
		return 0, "builder " + b.builder + ", and the certificate says " + s.BuildSignerURI
	case s.BuildSignerURI == s.BuildConfigURI:
		return 2, "the workflow that built also signed; level 3 needs a reusable workflow that signs"
	}
	return 3, "signed by the reusable workflow " + s.BuildSignerURI
}
