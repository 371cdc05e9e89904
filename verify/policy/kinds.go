package policy

import (
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// PredicatePin is the predicate type of a server's pinned surface.
const PredicatePin = "https://github.com/ztlaunch/ztlaunch/pin/v1"

// PredicateVulnerabilities is the predicate type of the vulnerability reports that are
// written today.
const PredicateVulnerabilities = vulnerabilitiesFamily + "/v0.2"

const (
	provenanceFamily      = "https://slsa.dev/provenance/"
	vulnerabilitiesFamily = "https://in-toto.io/attestation/vulns"
)

// accepts says whether a predicate type is what the demand is about.
func (d demand) accepts(k artifact.Kind, predicateType string) bool {
	switch d.word {
	case signature:
		return predicateType == signatureType(k)
	case provenance:
		return strings.HasPrefix(predicateType, provenanceFamily)
	case bill:
		return IsSBOM(predicateType)
	case vulnerabilities:
		return strings.HasPrefix(predicateType, vulnerabilitiesFamily) || predicateType == predicateCosignVuln
	case attestation:
		return predicateType == d.kind
	case pin:
		return predicateType == PredicatePin
	}
	return false
}

// signatureType is the predicate that counts as the signature of a kind: no
// other attestation does, whoever signed it.
func signatureType(k artifact.Kind) string {
	switch k {
	case artifact.Image, artifact.MCP:
		return evidence.PredicateCosignSign
	case artifact.Model:
		return evidence.PredicateModelSignature
	}
	return ""
}

// codes are the reasons of a kind of demand for claims that are not there, not
// by the right signer, and not proved.
func (w word) codes() (absent, wrong, unproved reason.Code) {
	switch w {
	case signature:
		return reason.SignatureAbsent, reason.SignatureWrongIdentity, reason.SignatureUnproved
	case provenance:
		return reason.ProvenanceAbsent, reason.ProvenanceWrongIdentity, reason.ProvenanceUnproved
	case bill:
		return reason.SBOMAbsent, reason.SBOMWrongIdentity, reason.SBOMUnproved
	case vulnerabilities:
		return reason.VulnerabilitiesAbsent, reason.VulnerabilitiesWrongIdentity, reason.VulnerabilitiesUnproved
	case attestation:
		return reason.AttestationAbsent, reason.AttestationWrongIdentity, reason.AttestationUnproved
	case pin:
		return reason.PinAbsent, reason.PinWrongIdentity, reason.PinUnproved
	}
	return reason.InternalFault, reason.InternalFault, reason.InternalFault
}
