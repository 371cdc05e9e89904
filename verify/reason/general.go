package reason

// Causes that belong to no single package.
const (
	UsageWrong     Code = "usage"
	InternalFault  Code = "internal"
	OutputClosed   Code = "output-closed"
	SBOMToolAbsent Code = "sbom-tool-absent"
	SBOMToolFailed Code = "sbom-tool-failed"
	TaskInvalid    Code = "task-invalid"
	FlagUnknown    Code = "flag-unknown"
	FileUnreadable Code = "file-unreadable"
	FileUnwritable Code = "file-unwritable"

	ReportUnwritable Code = "report-unwritable"
)

var generalRows = []Row{
	{UsageWrong, Usage, "the command line does not parse", "cmd/ztlaunch TestScript/usage"},
	{SBOMToolAbsent, Usage, "the SBOM generator is not installed beside ztlaunch", "cmd/ztlaunch TestScript/adopt"},
	{SBOMToolFailed, CannotTell, "the SBOM generator made no document", "cmd/ztlaunch TestScript/adopt"},
	{TaskInvalid, Usage, "a task file cannot be used as it stands", "cmd/ztlaunch TestScript/task"},
	{FlagUnknown, Usage, "a flag that the verb does not have", "cmd/ztlaunch TestScript/usage"},
	{FileUnwritable, Usage, "a file named on the command line cannot be written", "cmd/ztlaunch TestScript/usage"},
	{FileUnreadable, Usage, "a file named on the command line cannot be read", "cmd/ztlaunch TestScript/usage"},
	{ReportUnwritable, CannotTell, "a report cannot be written; what was decided stands", "cmd/ztlaunch TestScript/reports"},
	{OutputClosed, CannotTell, "standard output, or a result file, cannot be written", "cmd/ztlaunch TestScript/output"},
	{InternalFault, Internal, "ztlaunch met a state it holds to be impossible", "launch/plan TestBuildRefuses/zero"},
}
