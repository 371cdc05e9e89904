package reason

// Causes of launch/mcp.
const (
	McpServerEnded     Code = "mcp-server-ended"
	McpServerMalformed Code = "mcp-server-malformed"
)

var mcpRows = []Row{
	{McpServerEnded, CannotTell, "a tool server has ended while the agent could still ask it", "launch/mcp TestServerFails/ended"},
	{McpServerMalformed, Denied, "a tool server wrote something that is no JSON-RPC message", "launch/mcp TestServerFails/banner"},
}
