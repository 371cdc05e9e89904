// Package egress owns a task's only ways out. The task's network namespace has
// lo and nothing else: no route, no resolver, no proxy setting that it could
// ignore. What it may reach are listeners that the launcher made inside that
// namespace, each declared name on an address of its own; a socket stays in the
// namespace in which it was made, whoever holds it, so the launcher accepts and
// relays from outside.
//
// # Addresses
//
// Addresses gives the declared names, sorted by their bytes, the addresses
// 127.77.0.1, 127.77.0.2 and so on, leaving out those that end in 0 or 255. The
// names go into the task's /etc/hosts. 127.0.0.0/8 is all on lo, so no address
// has to be added to it; lo must be up, which is the runtime's work.
//
// # Making a listener
//
// Listen enters the namespace with a thread of its own, makes the socket and
// comes back. A thread that cannot come back is never used again: its goroutine
// ends while locked to it, and the Go runtime ends the thread.
//
// # What this does not do
//
// It relays nothing and knows no protocol. Whether a name may be declared, and
// what a connection may carry, is decided elsewhere.
package egress

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// backlog is how many connections wait to be accepted, as the kernel allows.
const backlog = 4096

var loopback = netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8)

// Addresses gives each name its own loopback address. The same set of names has
// the same addresses, in whatever order and however often they are given.
func Addresses(names []string) map[string]netip.Addr {
	all := slices.Clone(names)
	slices.Sort(all)
	out := make(map[string]netip.Addr, len(all))
	for i, name := range slices.Compact(all) {
		third, second := i/254, 77+i/254/256
		out[name] = netip.AddrFrom4([4]byte{127, byte(second), byte(third % 256), byte(1 + i%254)})
	}
	return out
}

// Listen makes a TCP listener on addr, of 127.0.0.0/8 and with a port, inside the
// network namespace that netns is open on. It needs CAP_SYS_ADMIN and
// CAP_NET_BIND_SERVICE over that namespace. The listener works like any other;
// closing it is the caller's work. An error has the code egress-listen.
func Listen(netns *os.File, addr netip.AddrPort) (net.Listener, error) {
	what := fmt.Sprintf("listen on %s in the task's network namespace", addr)
	if !loopback.Contains(addr.Addr()) || addr.Port() == 0 {
		return nil, &reason.Error{Code: reason.EgressListen, What: what, Expected: "an address of 127.0.0.0/8 and a port", Found: addr.String()}
	}
	var fd int
	err := inside(netns, func() (err error) {
		fd, err = socket(addr)
		return err
	})
	if err != nil {
		return nil, &reason.Error{Code: reason.EgressListen, What: what, Err: err}
	}
	f := os.NewFile(uintptr(fd), addr.String())
	defer f.Close() // FileListener has its own
	l, err := net.FileListener(f)
	if err != nil {
		return nil, &reason.Error{Code: reason.EgressListen, What: what, Err: err}
	}
	return l, nil
}

// inside runs do on a thread that is in the network namespace.
func inside(netns *os.File, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open own network namespace: %w", err)
			return
		}
		defer home.Close()
		if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread() // it never left
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		err = do()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// socket makes a listening socket, and leaves none behind when it cannot.
func socket(addr netip.AddrPort) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	step := "reuse address"
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		step, err = "bind", unix.Bind(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()})
	}
	if err == nil {
		step, err = "listen", unix.Listen(fd, backlog)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("%s: %w", step, err)
	}
	return fd, nil
}
