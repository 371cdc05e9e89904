package reason

// Causes that belong to no single package.
const (
	UsageWrong    Code = "usage"
	ConfigInvalid Code = "config-invalid"
	InternalFault Code = "internal"
)

var generalRows = []Row{
	{UsageWrong, Usage, "the command line does not parse", "cmd/ztlaunch TestScript/usage"},
	{ConfigInvalid, Usage, "a configuration file cannot be used as it stands", "cmd/ztlaunch TestScript/usage"},
	{InternalFault, Internal, "ztlaunch met a state it holds to be impossible", "verify/reason TestUnlistedIsInternal"},
}
