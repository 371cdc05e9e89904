package reason

// Causes found while a root is built, sealed, kept and mounted.
const (
	DigestMismatchFile Code = "digest-mismatch-file"
	RootMismatch       Code = "root-mismatch"
	TreeNotAdmitted    Code = "tree-not-admitted"
	SealTooLarge       Code = "seal-too-large"
	SealBroken         Code = "seal-broken"
	SealUnsupported    Code = "seal-unsupported"
	SpoolMissing       Code = "spool-missing"
	MountNoIDMap       Code = "mount-no-idmap"
	MountFailed        Code = "mount-failed"
	IDsExhausted       Code = "ids-exhausted"
)

var rootfsRows = []Row{
	{DigestMismatchFile, Denied, "a file's bytes are not the ones that were admitted", "launch/rootfs TestBuildRefuses/flipped"},
	{RootMismatch, Denied, "what is mounted is not the tree that was admitted", "launch/rootfs TestRehashRefuses"},
	{TreeNotAdmitted, Denied, "the tree to be sealed is not the one that the admission names", "launch/rootfs TestSealRefuses/sealed/tree"},
	{SealTooLarge, Host, "the root does not fit into the memory that seals may use", "launch/rootfs TestSealRefuses/sealed/size"},
	{SealBroken, Denied, "a sealed root is not as it was sealed", "launch/rootfs TestProve"},
	{SealUnsupported, Host, "this kernel, or this user, cannot seal a root in this form", "launch/rootfs TestUnsupported"},
	{SpoolMissing, Internal, "a layer's bytes were asked for before they were read", "launch/rootfs TestSpool"},
	{MountNoIDMap, Host, "a mount's file system cannot map owners", "launch/rootfs TestBindNoIDMap"},
	{MountFailed, Host, "the kernel refused a mount", "launch/rootfs TestPlaceRefuses"},
	{IDsExhausted, Host, "every block of user ids is taken, or covered by /etc/subuid or /etc/subgid", "launch/rootfs TestTakeIDsExhausted"},
}
