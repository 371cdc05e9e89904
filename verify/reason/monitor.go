package reason

// Causes of launch/monitor: how a live file differs from its Tree.
const (
	DriftMissing    Code = "drift-missing"
	DriftType       Code = "drift-type"
	DriftMode       Code = "drift-mode"
	DriftLink       Code = "drift-link"
	DriftSize       Code = "drift-size"
	DriftBytes      Code = "drift-bytes"
	DriftMount      Code = "drift-mount"
	DriftExtra      Code = "drift-extra"
	DriftUnreadable Code = "drift-unreadable"
)

var monitorRows = []Row{
	{DriftMissing, Denied, "a verified file is gone while the task runs", "launch/monitor TestSweep/missing"},
	{DriftType, Denied, "something else stands where a verified file was, or on the way to it", "launch/monitor TestSweep/fifo"},
	{DriftMode, Denied, "the permissions of a verified file have changed", "launch/monitor TestSweep/mode"},
	{DriftLink, Denied, "a verified symlink leads elsewhere", "launch/monitor TestSweep/link-retargeted"},
	{DriftSize, Denied, "a verified file has grown or shrunk", "launch/monitor TestSweep/extended"},
	{DriftBytes, Denied, "a verified file has other bytes", "launch/monitor TestSweep/byte"},
	{DriftMount, Denied, "something is mounted over a verified path", "launch/monitor TestMountOver"},
	{DriftExtra, Denied, "something is there that nobody verified", "launch/monitor TestExtra"},
	{DriftUnreadable, CannotTell, "a verified file cannot be read again", "launch/monitor TestUnreadable"},
}
