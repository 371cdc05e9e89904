package reason

// Causes found in a policy file.
const (
	PolicyAbsent          Code = "policy-absent"
	PolicyPresent         Code = "policy-present"
	PolicyKeyUnreadable   Code = "policy-key-unreadable"
	PolicyKeyMalformed    Code = "policy-key-malformed"
	PolicyPattern         Code = "policy-pattern"
	PolicyRuleEmpty       Code = "policy-rule-empty"
	PolicyUnused          Code = "policy-unused"
	PolicyIdentityUnknown Code = "policy-identity-unknown"
	PolicyThreshold       Code = "policy-threshold"
	PolicyByUnclear       Code = "policy-by-unclear"
	PolicyRegex           Code = "policy-regex"
	PolicyAuthority       Code = "policy-authority"
	PolicyLevel           Code = "policy-level"
	PolicyExpression      Code = "policy-expression"
	PolicyAttestationType Code = "policy-attestation-type"
)

// Causes found in writing a policy.
const (
	InitUnproved      Code = "policy-init-unproved"
	InitChoice        Code = "policy-init-choice"
	InitName          Code = "policy-init-name"
	AdoptNameGoverned Code = "adopt-name-governed"
	AdoptLayout       Code = "adopt-layout"
)

// Causes found in holding an artifact against a policy.
const (
	DecisionInput     Code = "decision-input"
	PolicyNoMatch     Code = "policy-no-match"
	DigestNotAdopted  Code = "digest-not-adopted"
	DigestDenied      Code = "digest-denied"
	DenyFeedStale     Code = "deny-feed-stale"
	RuleExpired       Code = "rule-expired"
	EvidenceUnreached Code = "evidence-unreachable"
	ThresholdUnmet    Code = "threshold-unmet"
	LogsUnmet         Code = "logs-unmet"
	LayoutNotNamed    Code = "layout-not-named"
	ClaimTooOld       Code = "claim-too-old"
	ClaimUndated      Code = "claim-undated"

	SignatureAbsent              Code = "signature-absent"
	SignatureWrongIdentity       Code = "signature-wrong-identity"
	SignatureUnproved            Code = "signature-unproved"
	ProvenanceAbsent             Code = "provenance-absent"
	ProvenanceWrongIdentity      Code = "provenance-wrong-identity"
	ProvenanceUnproved           Code = "provenance-unproved"
	SBOMAbsent                   Code = "sbom-absent"
	SBOMWrongIdentity            Code = "sbom-wrong-identity"
	SBOMUnproved                 Code = "sbom-unproved"
	VulnerabilitiesAbsent        Code = "vulnerabilities-absent"
	VulnerabilitiesWrongIdentity Code = "vulnerabilities-wrong-identity"
	VulnerabilitiesUnproved      Code = "vulnerabilities-unproved"
	AttestationAbsent            Code = "attestation-absent"
	AttestationWrongIdentity     Code = "attestation-wrong-identity"
	AttestationUnproved          Code = "attestation-unproved"
	PinAbsent                    Code = "pin-absent"
	PinWrongIdentity             Code = "pin-wrong-identity"
	PinUnproved                  Code = "pin-unproved"

	ProvenanceUnsupported Code = "provenance-unsupported"
	ProvenanceMalformed   Code = "provenance-malformed"
	ProvenanceSource      Code = "provenance-wrong-source"
	ProvenanceBuilder     Code = "provenance-wrong-builder"
	ProvenanceLevel       Code = "provenance-level"
	ProvenanceBuildType   Code = "provenance-wrong-build-type"
	ProvenanceParameter   Code = "provenance-unexpected-parameter"
	ProvenanceContradicts Code = "provenance-contradicts-signer"

	ProvenanceRef             Code = "provenance-wrong-ref"
	ProvenanceRefAbsent       Code = "provenance-ref-absent"
	ProvenanceParameterWrong  Code = "provenance-wrong-parameter"
	ProvenanceParameterAbsent Code = "provenance-parameter-absent"
	ProvenanceContradictory   Code = "provenance-contradicts-itself"

	SBOMFileUnlisted Code = "sbom-file-unlisted"
	SBOMFileUnhashed Code = "sbom-file-unhashed"
	SBOMFileMismatch Code = "sbom-file-mismatch"

	VulnerabilitiesMalformed   Code = "vulnerabilities-malformed"
	VulnerabilitiesUnsupported Code = "vulnerabilities-unsupported"
	VulnerabilityDenied        Code = "vulnerability-denied"

	AttestationMalformed Code = "attestation-malformed"
	AttestationFailed    Code = "attestation-failed"

	ConditionFalse Code = "attestation-condition"
	ConditionError Code = "attestation-condition-error"
	ConditionCost  Code = "attestation-condition-cost"

	ModelFormatDenied Code = "model-format-denied"
	ModelFormatUnread Code = "model-format-unread"
)

var policyRows = []Row{
	{PolicyPresent, Usage, "a first policy was to be written, and there is one", "cmd/ztlaunch TestScript/policy-absent"},
	{PolicyAbsent, Denied, "no policy was found, and without one nothing is admitted", "cmd/ztlaunch TestScript/policy-absent"},
	{PolicyKeyUnreadable, Usage, "a key file that the policy names cannot be read", "verify/policy TestParse/key-unreadable"},
	{PolicyKeyMalformed, Usage, "a key that the policy names is no PEM public key that is believed", "verify/policy TestParse/key-malformed"},
	{PolicyPattern, Usage, "a value that must be exact or well-formed is not", "verify/policy TestParse/pattern-ref-open"},
	{PolicyRuleEmpty, Usage, "a rule or list demands nothing, so it would admit everything", "verify/policy TestParse/rule-empty"},
	{PolicyUnused, Usage, "an identity or builder is declared and named by no rule", "verify/policy TestParse/unused"},
	{PolicyIdentityUnknown, Usage, "a rule names an identity that is not declared", "verify/policy TestParse/identity-unknown"},
	{PolicyThreshold, Usage, "a threshold exceeds the number of distinct signers", "verify/policy TestParse/threshold"},
	{PolicyByUnclear, Usage, "a list of several identities does not say whether any or all of them must sign", "verify/policy TestBy/list-of-two"},
	{PolicyRegex, Usage, "a regular expression does not compile, is too long, or matches the empty text", "verify/policy TestUnsafeRegex/empty-match"},
	{PolicyAuthority, Usage, "a private authority's file that the policy names cannot be read or is no authority", "verify/policy TestParse/authority-unreadable"},
	{PolicyLevel, Usage, "a provenance level is demanded of a builder that has none", "verify/policy TestParse/level"},
	{PolicyExpression, Usage, "a CEL condition does not compile to true or false", "verify/policy TestParse/expression"},
	{PolicyAttestationType, Usage, "an attestation demand names a version of a known predicate type that is not read", "verify/policy TestParse/attestation-version"},

	{InitUnproved, Denied, "policy init found no proved signature to write a rule for", "verify/policy TestInit/nothing-unproved"},
	{InitChoice, Usage, "policy init found several signers and was not told which", "verify/policy TestInit/two-signers-choice"},
	{InitName, Usage, "policy init needs a name that rules can match", "verify/policy TestOneRun"},
	{AdoptNameGoverned, Usage, "a rule of the policy already demands something of that name", "verify/policy TestAdopt/bad-governed"},
	{AdoptLayout, Usage, "the policy file is laid out in a way that cannot be added to without rewriting it", "verify/policy TestAdopt/bad-one-flow"},

	{DecisionInput, Internal, "a decision was asked for without policy, artifact, tree, time, root or purpose", "verify/policy TestInput"},
	{PolicyNoMatch, Denied, "no rule of the policy matches the name", "verify/policy TestEvaluate/policy-no-match"},
	{DigestNotAdopted, Denied, "the name was adopted under other digests than this one", "verify/policy TestEvaluate/digest-not-adopted"},
	{DigestDenied, Denied, "the digest is on a deny list", "verify/policy TestEvaluate/digest-denied"},
	{DenyFeedStale, Stale, "the deny feed is past its end", "verify/policy TestEvaluate/deny-feed-stale"},
	{RuleExpired, Stale, "the rule that would admit this is past its until", "verify/policy TestEvaluate/rule-expired"},
	{EvidenceUnreached, CannotTell, "what was demanded was not found, and not everywhere could be looked", "verify/policy TestEvaluate/evidence-unreachable"},
	{ThresholdUnmet, Denied, "fewer distinct signers said it than the policy demands", "verify/policy TestEvaluate/threshold-unmet"},
	{LogsUnmet, Denied, "fewer distinct transparency logs hold the signature than the rule demands", "verify/policy TestN04LogsOfADemand"},
	{LayoutNotNamed, Denied, "what was demanded is only at a tag of cosign 2, and the rule does not name that layout", "verify/policy TestEvaluate/layout-not-named"},
	{ClaimTooOld, Stale, "the claim is older than the rule's maxAge", "verify/policy TestEvaluate/claim-too-old"},
	{ClaimUndated, Denied, "nobody vouches for the claim's time, and the rule has a maxAge", "verify/policy TestEvaluate/claim-undated"},

	{SignatureAbsent, Denied, "there is no signature", "verify/policy TestEvaluate/signature-absent"},
	{SignatureWrongIdentity, Denied, "there is a genuine signature, by somebody else", "verify/policy TestEvaluate/signature-wrong-identity"},
	{SignatureUnproved, Denied, "there is a signature that does not prove", "verify/policy TestEvaluate/signature-unproved"},
	{ProvenanceAbsent, Denied, "there is no SLSA provenance", "verify/policy TestEvaluate/provenance-absent"},
	{ProvenanceWrongIdentity, Denied, "there is genuine provenance, by somebody else", "verify/policy TestEvaluate/provenance-wrong-identity"},
	{ProvenanceUnproved, Denied, "there is provenance that does not prove", "verify/policy TestEvaluate/provenance-unproved"},
	{SBOMAbsent, Denied, "there is no SBOM", "verify/policy TestEvaluate/sbom-absent"},
	{SBOMWrongIdentity, Denied, "there is a genuine SBOM, by somebody else", "verify/policy TestEvaluate/sbom-wrong-identity"},
	{SBOMUnproved, Denied, "there is an SBOM whose signature does not prove", "verify/policy TestEvaluate/sbom-unproved"},
	{VulnerabilitiesAbsent, Denied, "there is no vulnerability report", "verify/policy TestEvaluate/vulnerabilities-absent"},
	{VulnerabilitiesWrongIdentity, Denied, "there is a genuine vulnerability report, by somebody else", "verify/policy TestEvaluate/vulnerabilities-wrong-identity"},
	{VulnerabilitiesUnproved, Denied, "there is a vulnerability report that does not prove", "verify/policy TestEvaluate/vulnerabilities-unproved"},
	{AttestationAbsent, Denied, "there is no attestation of the demanded type", "verify/policy TestEvaluate/attestation-absent"},
	{AttestationWrongIdentity, Denied, "there is a genuine attestation of that type, by somebody else", "verify/policy TestEvaluate/attestation-wrong-identity"},
	{AttestationUnproved, Denied, "there is an attestation of that type that does not prove", "verify/policy TestEvaluate/attestation-unproved"},
	{PinAbsent, Denied, "there is no pin of the server's surface", "verify/policy TestEvaluate/pin-absent"},
	{PinWrongIdentity, Denied, "there is a genuine pin, by somebody else", "verify/policy TestEvaluate/pin-wrong-identity"},
	{PinUnproved, Denied, "there is a pin that does not prove", "verify/policy TestEvaluate/pin-unproved"},

	{ProvenanceUnsupported, Denied, "the provenance is of a version that is not read", "verify/policy TestEvaluate/provenance-unsupported"},
	{ProvenanceMalformed, Denied, "the provenance lacks a required member or has one of the wrong type", "verify/policy TestEvaluate/provenance-malformed"},
	{ProvenanceSource, Denied, "it was built from another source repository", "verify/policy TestEvaluate/provenance-wrong-source"},
	{ProvenanceBuilder, Denied, "another builder built it", "verify/policy TestEvaluate/provenance-wrong-builder"},
	{ProvenanceLevel, Denied, "the builder is not believed up to the demanded level", "verify/policy TestEvaluate/provenance-level"},
	{ProvenanceBuildType, Denied, "it was built by another kind of build", "verify/policy TestEvaluate/provenance-wrong-build-type"},
	{ProvenanceParameter, Denied, "the build took an external parameter that the policy does not name", "verify/policy TestEvaluate/provenance-unexpected-parameter"},
	{ProvenanceContradicts, Denied, "the provenance names another workflow than the certificate of its signer", "verify/policy TestKeyless/provenance-contradicts-signer"},
	{ProvenanceRef, Denied, "it was built from a ref that the policy does not allow", "verify/policy TestEvaluate/provenance-wrong-ref"},
	{ProvenanceRefAbsent, Denied, "the provenance does not say from which ref it was built", "verify/policy TestEvaluate/provenance-ref-absent"},
	{ProvenanceParameterWrong, Denied, "an external parameter has another value than the policy says", "verify/policy TestEvaluate/provenance-wrong-parameter"},
	{ProvenanceParameterAbsent, Denied, "the build took no external parameter that the policy gives a value", "verify/policy TestEvaluate/provenance-parameter-absent"},
	{ProvenanceContradictory, Denied, "the provenance names two refs or commits of the source that it was built from", "verify/policy TestEvaluate/provenance-contradicts-itself"},

	{SBOMFileUnlisted, Denied, "a file of the artifact is not in its SBOM", "verify/policy TestEvaluate/sbom-file-unlisted"},
	{SBOMFileUnhashed, Denied, "the SBOM lists a file without sha256 and under no package", "verify/policy TestEvaluate/sbom-file-unhashed"},
	{SBOMFileMismatch, Denied, "a file of the artifact is not the one its SBOM lists", "verify/policy TestEvaluate/sbom-file-mismatch"},

	{VulnerabilitiesMalformed, Denied, "the vulnerability report lacks a required member or has one of the wrong type", "verify/policy TestEvaluate/vulnerabilities-malformed"},
	{VulnerabilitiesUnsupported, Denied, "the vulnerability report is of a version that is not read", "verify/policy TestEvaluate/vulnerabilities-unsupported"},
	{VulnerabilityDenied, Denied, "the report holds a vulnerability of a denied or unknown severity", "verify/policy TestEvaluate/vulnerability-denied"},

	{AttestationMalformed, Denied, "the predicate is not what its type promises", "verify/policy TestEvaluate/attestation-malformed"},
	{AttestationFailed, Denied, "the attestation is genuine, and says that what it reports did not pass", "verify/policy TestEvaluate/attestation-failed"},
	{ConditionFalse, Denied, "the condition on the attestation is false", "verify/policy TestEvaluate/attestation-condition"},
	{ConditionError, Denied, "the condition on the attestation cannot be evaluated", "verify/policy TestEvaluate/attestation-condition-error"},
	{ConditionCost, Denied, "the condition on the attestation takes too long to evaluate", "verify/policy TestEvaluate/attestation-condition-cost"},

	{ModelFormatDenied, Denied, "a file of the model has a format that the rule does not allow", "verify/policy TestEvaluate/model-format-denied"},
	{ModelFormatUnread, CannotTell, "the rule limits formats, and nobody read the format of a file", "verify/policy TestEvaluate/model-format-unread"},
}
