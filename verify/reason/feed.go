package reason

// Causes found in reading and believing a deny feed.
const (
	DenyFeedAbsent        Code = "deny-feed-absent"
	DenyFeedUnreadable    Code = "deny-feed-unreadable"
	DenyFeedUnsigned      Code = "deny-feed-unsigned"
	DenyFeedTampered      Code = "deny-feed-tampered"
	DenyFeedUnproved      Code = "deny-feed-unproved"
	DenyFeedWrongIdentity Code = "deny-feed-wrong-identity"
	DenyFeedMalformed     Code = "deny-feed-malformed"
	DenyFeedFuture        Code = "deny-feed-future"
	DenyFeedForked        Code = "deny-feed-forked"
	DenyFeedMemory        Code = "deny-feed-memory"
)

// Causes found in what a deny feed names.
const (
	SignerDenied      Code = "signer-denied"
	CertificateDenied Code = "certificate-denied"
	LogDenied         Code = "log-denied"
)

// Causes found in the version of what was signed.
const (
	ClaimTooYoung     Code = "claim-too-young"
	VersionAbsent     Code = "version-absent"
	VersionMalformed  Code = "version-malformed"
	VersionBelowFloor Code = "version-below-floor"
	EpochAbsent       Code = "epoch-absent"
	EpochMalformed    Code = "epoch-malformed"
	EpochBelowFloor   Code = "epoch-below-floor"
)

var feedRows = []Row{
	{DenyFeedAbsent, CannotTell, "the policy names a deny feed, and there is none", "cmd/ztlaunch TestDenyFeed/absent"},
	{DenyFeedUnreadable, CannotTell, "the deny feed or its signature cannot be read", "cmd/ztlaunch TestDenyFeed/unreadable"},
	{DenyFeedUnsigned, Denied, "there is no signature over the deny feed", "cmd/ztlaunch TestDenyFeed/unsigned"},
	{DenyFeedTampered, Denied, "the deny feed is not what was signed", "cmd/ztlaunch TestDenyFeed/tampered"},
	{DenyFeedUnproved, Denied, "the deny feed's signature does not prove", "cmd/ztlaunch TestDenyFeed/unproved"},
	{DenyFeedWrongIdentity, Denied, "somebody else signed the deny feed than the policy names", "cmd/ztlaunch TestDenyFeed/wrong-identity"},
	{DenyFeedMalformed, CannotTell, "the deny feed cannot be read strictly", "verify/policy TestParseFeed/not-json"},
	{DenyFeedFuture, Denied, "the deny feed was issued in the future, as this host's clock has it", "verify/policy TestPolicyFeed/future"},
	{DenyFeedForked, Denied, "there are two deny feeds of one serial", "cmd/ztlaunch TestDenyFeed/forked"},
	{DenyFeedMemory, CannotTell, "which deny feeds were seen before cannot be read or written", "cmd/ztlaunch TestDenyFeed/memory"},

	{SignerDenied, Denied, "the deny feed names the signer whom the rule needs", "verify/policy TestEvaluate/signer-denied"},
	{CertificateDenied, Denied, "the deny feed names the certificate that signed, or one above it", "verify/policy TestFeedClaims/leaf"},
	{LogDenied, Denied, "the deny feed names every log that holds the signature", "verify/policy TestFeedClaims/log"},

	{ClaimTooYoung, Denied, "the claim is younger than the rule's minimumAge", "verify/policy TestMinimumAge/too-young"},
	{VersionAbsent, Denied, "the rule has a minimum version, and nothing that was signed says one", "verify/policy TestEvaluate/version-absent"},
	{VersionMalformed, Denied, "the version that was signed is none of SemVer 2.0.0", "verify/policy TestEvaluate/version-malformed"},
	{VersionBelowFloor, Stale, "the version that was signed is older than the rule's minimum", "verify/policy TestEvaluate/version-below-floor"},
	{EpochAbsent, Denied, "the rule has a minimum epoch, and the configuration has no such label", "verify/policy TestEvaluate/epoch-absent"},
	{EpochMalformed, Denied, "the epoch's label is no whole number", "verify/policy TestEvaluate/epoch-malformed"},
	{EpochBelowFloor, Stale, "the epoch is below the rule's minimum", "verify/policy TestEvaluate/epoch-below-floor"},
}
