package reason

// Causes found in an in-toto layout and its links.
const (
	InTotoLayoutAbsent      Code = "intoto-layout-absent"
	InTotoLayoutMalformed   Code = "intoto-layout-malformed"
	InTotoLayoutUnsigned    Code = "intoto-layout-unsigned"
	InTotoLayoutWrongSigner Code = "intoto-layout-wrong-signer"
	InTotoLayoutExpired     Code = "intoto-layout-expired"
	InTotoLayoutEmpty       Code = "intoto-layout-empty"
	InTotoInspection        Code = "intoto-inspection"
	InTotoThreshold         Code = "intoto-threshold"
	InTotoCertificate       Code = "intoto-certificate"
	InTotoDisallow          Code = "intoto-disallow-missing"

	InTotoLinkAbsent      Code = "intoto-link-absent"
	InTotoLinkMalformed   Code = "intoto-link-malformed"
	InTotoLinkName        Code = "intoto-link-wrong-step"
	InTotoLinkFunctionary Code = "intoto-link-wrong-functionary"
	InTotoLinkInvalid     Code = "intoto-link-invalid"
	InTotoStepUnmet       Code = "intoto-step-threshold-unmet"
	InTotoLinksDiffer     Code = "intoto-links-differ"
	InTotoArtifactRule    Code = "intoto-artifact-rule"

	InTotoSublayoutUnauthorized Code = "intoto-sublayout-unauthorized"
	InTotoSublayoutDepth        Code = "intoto-sublayout-depth"

	InTotoProductAbsent   Code = "intoto-product-absent"
	InTotoProductMismatch Code = "intoto-product-mismatch"
)

var stepsRows = []Row{
	{InTotoLayoutAbsent, Denied, "the policy demands an in-toto layout, and none was given", "verify/policy TestEvaluate/intoto-layout-absent"},
	{InTotoLayoutMalformed, Denied, "a file is no in-toto layout, or one that readers could understand differently", "verify/steps TestLayoutMalformed"},
	{InTotoLayoutUnsigned, Denied, "nobody signed the layout", "verify/steps TestN46LayoutUnsigned"},
	{InTotoLayoutWrongSigner, Denied, "the layout is signed by nobody whom the policy names", "verify/steps TestN46LayoutOfAnother"},
	{InTotoLayoutExpired, Stale, "the layout, or a sublayout, is past its end", "verify/steps TestN46LayoutExpired"},
	{InTotoLayoutEmpty, Denied, "the layout asks for no step, so anything would pass", "verify/steps TestN45LayoutEmpty"},
	{InTotoInspection, Denied, "the layout asks the verifier to run a command", "verify/steps TestN44InspectionRunsNothing"},
	{InTotoThreshold, Denied, "a step asks for no functionary, or for fewer than none", "verify/steps TestN19ThresholdOfAStep"},
	{InTotoCertificate, Denied, "a step names its functionaries by certificate, which nobody could date", "verify/steps TestCertificateFunctionaries"},
	{InTotoDisallow, Denied, "a step's rules do not end in DISALLOW *, so what they do not name would pass", "verify/steps TestN47DisallowMissing"},
	{InTotoLinkAbsent, Denied, "there is no link for a step", "verify/steps TestLinks/absent"},
	{InTotoLinkMalformed, Denied, "a link of a step is no in-toto link, or one that readers could understand differently", "verify/steps TestLinkMalformed"},
	{InTotoLinkName, Denied, "a link stands under the name of another step than its own", "verify/steps TestN50LinkRenamed"},
	{InTotoLinkFunctionary, Denied, "a link is signed by somebody who is no functionary of its step", "verify/steps TestN50LinkByFunctionaryOfAnotherStep"},
	{InTotoLinkInvalid, Denied, "the signature of a link does not prove", "verify/steps TestLinks/tampered"},
	{InTotoStepUnmet, Denied, "fewer distinct functionaries did a step than its layout demands", "verify/steps TestN18OneKeyUnderTwoIDs"},
	{InTotoLinksDiffer, Denied, "functionaries of one step report different materials or products", "verify/steps TestLinks/differ"},
	{InTotoArtifactRule, Denied, "a step took or made something that its layout's rules do not allow", "verify/steps TestArtifactRules"},
	{InTotoSublayoutUnauthorized, Denied, "a sublayout is signed by somebody who is no functionary of its step", "verify/steps TestN49SublayoutByUnauthorisedKey"},
	{InTotoSublayoutDepth, Denied, "sublayouts nest too deep", "verify/steps TestSublayoutDepth"},
	{InTotoProductAbsent, Denied, "the last step made nothing of the name that the policy demands", "verify/policy TestEvaluate/intoto-product-absent"},
	{InTotoProductMismatch, Denied, "the product of that name is not the artifact", "verify/policy TestEvaluate/intoto-product-mismatch"},
}
