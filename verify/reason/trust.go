package reason

// Causes of verify/trust.
const (
	TrustKeyMalformed       Code = "trust-key-malformed"
	TrustKeyUnsupported     Code = "trust-key-unsupported"
	TrustKeyWeak            Code = "trust-key-weak"
	TrustAuthorityMalformed Code = "trust-authority-malformed"
	TrustRootAbsent         Code = "trust-root-absent"
	TrustRootMalformed      Code = "trust-root-malformed"
	TrustRootTooLarge       Code = "trust-root-too-large"
	TrustRootWindow         Code = "trust-root-window"

	TrustRootChanged     Code = "trust-root-changed"
	TrustRootRewound     Code = "trust-root-rewound"
	TrustRecordMalformed Code = "trust-record-malformed"
)

// Causes of verify/trust/tuf.
const (
	TUFRootInvalid  Code = "tuf-root-invalid"
	TUFAbsent       Code = "tuf-absent"
	TUFMalformed    Code = "tuf-malformed"
	TUFSignature    Code = "tuf-signature"
	TUFRollback     Code = "tuf-rollback"
	TUFExpired      Code = "tuf-expired"
	TUFMismatch     Code = "tuf-mismatch"
	TUFPath         Code = "tuf-path"
	TUFTargetAbsent Code = "tuf-target-absent"
	TUFTooLarge     Code = "tuf-too-large"
)

var trustRows = []Row{
	{TrustKeyMalformed, Usage, "a public key file is not exactly one PEM block PUBLIC KEY", "verify/trust TestParseKeyRefuses"},
	{TrustKeyUnsupported, Usage, "a public key is of a kind or size that no signature format here uses", "verify/trust TestParseKeyRefuses/p224"},
	{TrustKeyWeak, Usage, "an RSA key has fewer than 2048 bits", "verify/trust TestParseKeyRefuses/rsa-1024"},
	{TrustAuthorityMalformed, Usage, "a private authority's file holds something other than certificates that may issue others, or no root", "verify/trust TestParseAuthorityRefuses/no-root"},
	{TrustRootAbsent, Denied, "a certificate was to be checked, but only keys are trusted", "verify/trust TestRootAbsent"},
	{TrustRootMalformed, Usage, "a trusted_root.json cannot be read strictly", "verify/trust TestFromJSONRefuses"},
	{TrustRootTooLarge, Usage, "a trusted_root.json is over the size limit", "verify/trust TestFromJSONRefuses/too-large"},
	{TrustRootWindow, Usage, "an authority or log in a trusted_root.json does not say since when it is valid", "verify/trust TestN12RootWindow/no-start-ca"},
	{TrustRootChanged, Denied, "the installed trusted root is not the one that its record names", "verify/trust TestInstalled"},
	{TrustRootRewound, Stale, "a root would drop or widen an authority or log of the one in force, and --replace was not typed", "cmd/ztlaunch TestScript/trust"},
	{TrustRecordMalformed, CannotTell, "the record of the installed root cannot be read strictly", "verify/trust TestParseRecordRefuses"},

	{TUFRootInvalid, Usage, "a TUF root.json to start from is none, or is not signed by its own keys", "verify/trust/tuf TestAnchor"},
	{TUFAbsent, CannotTell, "the TUF repository lacks a file that its metadata names", "verify/trust/tuf TestRefreshRefuses/absent"},
	{TUFMalformed, Denied, "TUF metadata cannot be read strictly", "verify/trust/tuf TestRefreshRefuses/malformed"},
	{TUFSignature, Denied, "TUF metadata is not signed by as many of its keys as it must be", "verify/trust/tuf TestRefreshRefuses/unsigned"},
	{TUFRollback, Stale, "the TUF repository has older metadata than was seen before", "verify/trust/tuf TestN42Rollback"},
	{TUFExpired, Stale, "TUF metadata has expired: the repository, or a mirror of it, stands still", "verify/trust/tuf TestFreeze"},
	{TUFMismatch, Denied, "a file of a TUF repository is not the one that the metadata above it names", "verify/trust/tuf TestRefreshRefuses/mixed"},
	{TUFPath, Denied, "TUF metadata has a name that is no plain path", "verify/trust/tuf TestN42PathTraversal"},
	{TUFTargetAbsent, Denied, "the TUF repository signs no trusted_root.json", "verify/trust/tuf TestRefreshRefuses/no-target"},
	{TUFTooLarge, Denied, "a TUF repository signs a target over 4 MiB, or has over 256 new roots", "verify/trust/tuf TestRefreshRefuses/large-target"},
}
