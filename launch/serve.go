package launch

import (
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"github.com/ztlaunch/ztlaunch/launch/egress"
	"github.com/ztlaunch/ztlaunch/launch/mcp"
)

// serverPort is where an agent reaches a server.
const serverPort = 80

// names are the addresses of the granted servers inside the task, by host name.
func (p Parts) names() map[string]string {
	var hosts []string
	for name := range p.Servers {
		hosts = append(hosts, mcp.Host(name))
	}
	out := map[string]string{}
	for host, addr := range egress.Addresses(hosts) {
		out[host] = addr.String()
	}
	return out
}

// serve opens a listener for each granted server inside the task's network
// namespace and bridges it to the server's standard streams. The task has no
// other way to a server, and a server no way to the task.
func (r *run) serve() error {
	if len(r.parts.Servers) == 0 {
		return nil
	}
	netns, err := os.Open("/proc/" + strconv.Itoa(r.init.PID) + "/ns/net")
	if err != nil {
		return refused("open the task's network namespace", err)
	}
	defer netns.Close()
	at := r.parts.names()
	for _, name := range slices.Sorted(maps.Keys(r.parts.Servers)) {
		addr, err := netip.ParseAddr(at[mcp.Host(name)])
		if err != nil {
			return refused("find an address for the server "+name, err)
		}
		l, err := egress.Listen(netns, netip.AddrPortFrom(addr, serverPort))
		if err != nil {
			return err
		}
		b := mcp.New(mcp.Host(name), r.parts.Servers[name])
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = b.Serve(l) // an agent whose server is gone reads 503, or no connection
		}()
		r.later(func() {
			_ = b.Close() // the servers' own ends are told by whoever started them
			<-served
		})
	}
	return nil
}

// config is the list of servers that the agent reads.
func (p Parts) config() []byte { return mcp.Config(slices.Sorted(maps.Keys(p.Servers))) }

// Server starts one MCP server in a box of its own, for one session of the
// agent, and gives its standard streams.
type Server = mcp.Open
