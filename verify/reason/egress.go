package reason

// Causes of launch/egress.
const (
	EgressListen Code = "egress-listen"
)

var egressRows = []Row{
	{EgressListen, Host, "a listener could not be made in the task's network namespace", "launch/egress TestListenRefused"},
}
