package reason

// Causes that verify/sign refuses with.
const (
	SignKeyMalformed  Code = "sign-key-malformed"
	SignKeyType       Code = "sign-key-type"
	SignKeyPassphrase Code = "sign-key-passphrase"
	SignPredicateType Code = "sign-predicate-type"
	SignPredicate     Code = "sign-predicate-malformed"
	SignDenyFeed      Code = "sign-deny-feed-malformed"
)

var signRows = []Row{
	{SignKeyMalformed, Usage, "a private key file is not one sealed PEM block", "verify/sign TestLoadRefuses"},
	{SignKeyType, Usage, "a private key file is not sealed in cosign's format", "verify/sign TestLoadRefuses/plain"},
	{SignKeyPassphrase, Usage, "a private key does not open with this passphrase", "verify/sign TestLoadRefuses/passphrase"},
	{SignPredicateType, Usage, "--type is neither a word that cosign knows nor a URI", "verify/sign TestPredicateType"},
	{SignPredicate, Usage, "a predicate is not what the type promises that it is to be signed as", "cmd/ztlaunch TestScript/predicates"},
	{SignDenyFeed, Usage, "what is to be signed as a deny feed is none", "cmd/ztlaunch TestScript/authors"},
}
