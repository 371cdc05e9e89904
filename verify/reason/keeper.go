package reason

// Causes about cleaning up after a launch.
const (
	KeeperFailed  Code = "keeper-failed"
	KeeperUnclean Code = "keeper-unclean"
)

var keeperRows = []Row{
	{KeeperFailed, Host, "the process that cleans up after a launch cannot be started or reached", "launch/keeper TestStartFails"},
	{KeeperUnclean, Host, "something of an ended launch could not be removed", "launch/keeper TestUnclean"},
}
