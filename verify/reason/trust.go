package reason

// Causes that verify/trust refuses with.
const (
	TrustKeyMalformed       Code = "trust-key-malformed"
	TrustKeyUnsupported     Code = "trust-key-unsupported"
	TrustKeyWeak            Code = "trust-key-weak"
	TrustAuthorityMalformed Code = "trust-authority-malformed"
	TrustRootAbsent         Code = "trust-root-absent"
	TrustRootMalformed      Code = "trust-root-malformed"
	TrustRootTooLarge       Code = "trust-root-too-large"
	TrustRootWindow         Code = "trust-root-window"
)

var trustRows = []Row{
	{TrustKeyMalformed, Usage, "a public key file is not exactly one PEM block PUBLIC KEY", "verify/trust TestParseKeyRefuses"},
	{TrustKeyUnsupported, Usage, "a public key is of a kind or size that no signature format here uses", "verify/trust TestParseKeyRefuses/p224"},
	{TrustKeyWeak, Usage, "an RSA key has fewer than 2048 bits", "verify/trust TestParseKeyRefuses/rsa-1024"},
	{TrustAuthorityMalformed, Usage, "a private authority's file holds something other than certificates that may issue others, or no root", "verify/trust TestParseAuthorityRefuses/no-root"},
	{TrustRootAbsent, Denied, "a certificate was to be checked, but only keys are trusted", "verify/trust TestRootAbsent"},
	{TrustRootMalformed, Usage, "a trusted_root.json cannot be read strictly", "verify/trust TestFromJSONRefuses"},
	{TrustRootTooLarge, Usage, "a trusted_root.json is over the size limit", "verify/trust TestFromJSONRefuses/too-large"},
	{TrustRootWindow, Usage, "an authority or log in a trusted_root.json does not say since when it is valid", "verify/trust TestN12TrustedRootWithoutStart"},
}
