package reason

// Causes found in a policy that reads well and cannot be meant, and in holding a
// policy against its fixtures.
const (
	PolicyOpen          Code = "policy-open"
	PolicyNeverMatches  Code = "policy-never-matches"
	PolicyRuleTwice     Code = "policy-rule-twice"
	PolicyDemandTwice   Code = "policy-demand-twice"
	PolicyIdentityTwice Code = "policy-identity-twice"
	PolicyUntilPast     Code = "policy-until-past"
	PolicyDeniesAdopted Code = "policy-denies-adopted"
	PolicyPlace         Code = "policy-place"

	FixtureAbsent  Code = "fixture-absent"
	FixtureInvalid Code = "fixture-invalid"
	FixtureDiffers Code = "fixture-differs"
	FixtureGap     Code = "fixture-gap"
)

var lintRows = []Row{
	{PolicyOpen, Usage, "a rule admits from any registry whatever one signer ever signed", "verify/policy TestLint/open"},
	{PolicyNeverMatches, Usage, "no name that an artifact can have matches the rule", "verify/policy TestLint/never-matches"},
	{PolicyRuleTwice, Usage, "a rule demands nothing that another for the same names does not", "verify/policy TestLint/rule-twice"},
	{PolicyDemandTwice, Usage, "a rule makes one demand twice", "verify/policy TestLint/demand-twice"},
	{PolicyIdentityTwice, Usage, "one key or certificate has two names", "verify/policy TestLint/identity-twice"},
	{PolicyUntilPast, Usage, "the rule has ended", "verify/policy TestLint/until-past"},
	{PolicyDeniesAdopted, Usage, "the deny list names a digest that a rule is for", "verify/policy TestLint/denies-adopted"},
	{PolicyPlace, Usage, "there is no such rule or demand in the policy", "verify/policy TestExplainPlace"},

	{FixtureAbsent, Usage, "the folder holds no fixture", "cmd/ztlaunch TestScript/fixtures"},
	{FixtureInvalid, Usage, "a fixture cannot be acted out", "verify/policy/fixture TestRead"},
	{FixtureDiffers, Denied, "the policy does not decide on a fixture as it should", "verify/policy/fixture TestRun"},
	{FixtureGap, Denied, "no fixture shows that a rule admits, or that one of its demands denies", "verify/policy/fixture TestRun"},
}
