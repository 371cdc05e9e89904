package reason

// Causes found at the door between verification and launch.
const (
	AdmissionDenied   Code = "admission-denied"
	AdmissionMismatch Code = "admission-mismatch"
	AdmissionExpired  Code = "admission-expired"
	FeedRolledBack    Code = "deny-feed-rolled-back"
	LockInvalid       Code = "lock-invalid"
	LockStale         Code = "lock-stale"
	TagMoved          Code = "tag-moved"
	LockAbsent        Code = "lock-absent"
	LockEmpty         Code = "lock-empty"
	LockMissing       Code = "lock-missing"
	LockOutdated      Code = "lock-outdated"
	LockInCI          Code = "lock-in-ci"
)

var admitRows = []Row{
	{AdmissionDenied, Denied, "something that no decision allows was to be admitted", "verify/admit TestAdmit/denied"},
	{AdmissionMismatch, Internal, "the decision is about another artifact, tree or purpose than what was to be admitted", "verify/admit TestAdmit/other-tree"},
	{AdmissionExpired, Stale, "the admission is past its end, or not yet begun", "verify/admit TestAdmit/expired"},
	{FeedRolledBack, Stale, "the deny feed is older than the one that was consulted before", "verify/admit TestRevoked/rolled-back"},
	{LockInvalid, Usage, "the lock file holds an entry twice, or one that contradicts itself", "verify/admit TestParseLock/entry-twice"},
	{LockStale, Stale, "the lock does not say the same as what was found: kind, platform, signers or pin", "verify/admit TestCompare/signers"},
	{TagMoved, Denied, "the name stands for another digest than the locked one", "verify/admit TestCompare/index"},
	{LockAbsent, Usage, "there is no ztlaunch.lock in the working folder", "cmd/ztlaunch TestN39ZeroAttestationsExitsZero/no-lock"},
	{LockEmpty, Usage, "the lock has no entry, so it would verify nothing", "cmd/ztlaunch TestN39ZeroAttestationsExitsZero/no-entry"},
	{LockMissing, Denied, "the project's lock has no entry for the name", "cmd/ztlaunch TestScript/lock"},
	{LockOutdated, Denied, "the project's lock holds another digest than what the name leads to", "cmd/ztlaunch TestScript/lock"},
	{LockInCI, Usage, "a lock was to be written in CI, where nobody reviews it", "cmd/ztlaunch TestScript/lock"},
}
