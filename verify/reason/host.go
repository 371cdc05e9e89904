package reason

// HostCannotLaunch says that this host does not allow what every launch needs.
const HostCannotLaunch Code = "host-cannot-launch"

var hostRows = []Row{
	{HostCannotLaunch, Host, "this process may not mount a sealed root: it lacks CAP_SYS_ADMIN in the first user namespace", "launch/host TestLaunchRefuses"},
}
