package reason

// Causes found by launch/plan and launch.
const (
	UserUnknown          Code = "user-unknown"
	CommandAbsent        Code = "command-absent"
	CommandNotFound      Code = "command-not-found"
	CommandNotExecutable Code = "command-not-executable"
	MountRefused         Code = "mount-refused"
	MountTarget          Code = "mount-target"
	MountSource          Code = "mount-source"
	PlatformForeign      Code = "platform-foreign"
	ScratchTooLarge      Code = "scratch-too-large"
	ExecNotGranted       Code = "exec-not-granted"
	LimitExceeded        Code = "limit-exceeds-box"
	CapNotGranted        Code = "capability-not-granted"
	CapNeeded            Code = "capability-needed"
	LimitsUnenforceable  Code = "limits-unenforceable"
	IntegrityBelowBox    Code = "integrity-below-box"
	FlagRefused          Code = "flag-refused"
	LaunchFailed         Code = "launch-failed"
	Drift                Code = "drift"
	KeeperLost           Code = "keeper-lost"
	TaskStopped          Code = "stopped"
	TaskTimeLimit        Code = "time-limit"
	TaskOutOfMemory      Code = "out-of-memory"
)

var planRows = []Row{
	{UserUnknown, Usage, "the task's user or group is a name that the image does not know", "launch/plan TestUser"},
	{CommandAbsent, Usage, "neither the image nor the command line names a command", "launch/plan TestArguments"},
	{CommandNotFound, Usage, "the command is not in the verified root; run exits 127", "launch/plan TestProgram"},
	{CommandNotExecutable, Usage, "the command cannot be executed by the task's user; run exits 126", "launch/plan TestProgram"},
	{MountRefused, Usage, "a mount source would open the box", "launch/plan TestSources"},
	{MountTarget, Usage, "a mount target would replace a part of the box", "launch/plan TestTargets"},
	{PlatformForeign, Usage, "the image is for another processor than this host's", "cmd/ztlaunch TestScriptBox/words"},
	{MountSource, Usage, "a mount source does not exist or cannot be opened", "cmd/ztlaunch TestScriptBox/mounts"},
	{ScratchTooLarge, Usage, "the image content below a scratch mount is larger than may be copied", "launch/plan TestBuildRefuses/scratch_too_big"},
	{ExecNotGranted, Denied, "a mount asks to be executable and the policy's box does not grant it", "launch/plan TestBuildRefuses/exec"},
	{LimitExceeded, Denied, "a limit asked for is above the policy's box", "launch/plan TestBuildRefuses/memory"},
	{CapNotGranted, Denied, "a task asks for a capability and the policy's box does not grant it", "launch/plan TestCapabilities"},
	{CapNeeded, Denied, "the task failed, and its program changes owners or users, for which it lacks a capability", "cmd/ztlaunch TestCapabilities"},
	{LimitsUnenforceable, Host, "this host gives the launcher nothing that could bound the task's memory or processors", "launch/plan TestUnlimited"},
	{IntegrityBelowBox, Host, "this host cannot hold a root as strongly as the policy's box demands", "launch/plan TestIntegrity"},
	{FlagRefused, Denied, "a flag would open the box", "cmd/ztlaunch TestScript/flags"},
	{Drift, Denied, "a byte of the running task no longer matches what was admitted", "cmd/ztlaunch TestDriftExtracted"},
	{KeeperLost, Internal, "the process that cleans up after a crash is gone, so the task was ended", "launch TestKeeperLost"},
	{TaskStopped, Denied, "the launcher was told to end the task", "launch TestStopped"},
	{LaunchFailed, Host, "the host refused a step of the launch", "launch TestRun/host_refuses"},
	{TaskTimeLimit, Denied, "the task ran longer than its limit", "cmd/ztlaunch TestLimits"},
	{TaskOutOfMemory, Denied, "the task used more memory than its limit", "cmd/ztlaunch TestLimits"},
}
