package reason

// Causes for which a host launches nothing.
const (
	HostCannotLaunch Code = "host-cannot-launch"
	HostUnsupported  Code = "host-unsupported"
)

var hostRows = []Row{
	{HostCannotLaunch, Host, "this process may not launch: it lacks CAP_SYS_ADMIN, or a user namespace with the ids of a task, and cannot make one", "launch/host TestLaunchRefuses"},
	{HostUnsupported, Host, "this system verifies and launches nothing: tasks are boxed by a Linux kernel", "cmd/ztlaunch TestUnsupported"},
}
