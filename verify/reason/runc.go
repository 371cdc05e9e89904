package reason

// Causes about the OCI runtime.
const (
	RuntimeUnpinned   Code = "runtime-unpinned"
	RuntimeAbsent     Code = "runtime-absent"
	RuntimeUnreadable Code = "runtime-unreadable"
	RuntimeMismatch   Code = "runtime-digest-mismatch"
	RuntimeUnknown    Code = "runtime-unknown"
	RuntimeTooOld     Code = "runtime-too-old"
	RuntimeNoSeccomp  Code = "runtime-no-seccomp"
	RuntimeCreate     Code = "runtime-create-failed"
	RuntimeStart      Code = "runtime-start-failed"
	RuntimeState      Code = "runtime-state-failed"
	RuntimeKill       Code = "runtime-kill-failed"
	RuntimeDelete     Code = "runtime-delete-failed"
	RuntimeExec       Code = "runtime-exec-failed"
)

var runcRows = []Row{
	{RuntimeUnpinned, Host, "this build of ztlaunch names no runtime, or no keeper, that it would accept", "launch/program TestFind/unpinned"},
	{RuntimeAbsent, Host, "the runtime or the keeper is not where ztlaunch is installed", "launch/program TestFind/absent"},
	{RuntimeUnreadable, Host, "the file of the runtime or the keeper cannot be read", "launch/program TestFind/folder"},
	{RuntimeMismatch, Denied, "the bytes of the runtime or the keeper are not those that this build names", "launch/program TestFind/changed"},
	{RuntimeUnknown, Host, "the program is not a runtime that ztlaunch knows how to judge", "launch/runc TestAlternative/other"},
	{RuntimeTooOld, Host, "this version of the runtime has published escapes", "launch/runc TestAlternative/old"},
	{RuntimeNoSeccomp, Host, "the runtime would not install a seccomp filter", "launch/runc TestAlternative/no-seccomp"},
	{RuntimeCreate, Host, "the runtime could not make the container", "launch/runc TestCreateFails"},
	{RuntimeStart, Host, "the container was made, but its first process ended before it was started", "launch/runc TestStartAfterDeath"},
	{RuntimeState, CannotTell, "the runtime cannot tell the container's state", "launch/runc TestVerbs/no-such-container"},
	{RuntimeKill, Host, "the runtime could not signal the container", "launch/runc TestVerbs/no-such-container"},
	{RuntimeDelete, Host, "the runtime could not delete the container", "launch/runc TestDelete"},
	{RuntimeExec, Host, "the runtime could not start a process in the container", "launch/runc TestVerbs/no-such-container"},
}
