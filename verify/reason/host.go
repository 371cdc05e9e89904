package reason

// HostCannotLaunch says that this host does not allow what every launch needs.
const HostCannotLaunch Code = "host-cannot-launch"

var hostRows = []Row{
	{HostCannotLaunch, Host, "this process may not launch: it lacks CAP_SYS_ADMIN, or a user namespace with the ids of a task, and cannot make one", "launch/host TestLaunchRefuses"},
}
