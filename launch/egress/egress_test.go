package egress

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// namespace makes a network namespace whose lo is up, and nothing more.
func namespace(t *testing.T, up bool) *os.File {
	t.Helper()
	type made struct {
		f   *os.File
		err error
	}
	c := make(chan made)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends, the descriptor stays
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			c <- made{nil, err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		if err == nil && up {
			err = loUp()
		}
		c <- made{f, err}
	}()
	m := <-c
	if errors.Is(m.err, unix.EPERM) {
		t.Skip("ZTLAUNCH_E2E: no right to a network namespace")
	}
	if m.err != nil {
		t.Fatal(m.err)
	}
	t.Cleanup(func() { m.f.Close() })
	return m.f
}

func loUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	var req struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], "lo")
	req.flags = unix.IFF_UP
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&req))); e != 0 {
		return e
	}
	return nil
}

// dial connects from within a namespace.
func dial(t *testing.T, ns *os.File, addr netip.AddrPort) (net.Conn, error) {
	t.Helper()
	var fd int
	err := inside(ns, func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()})
		if err != nil {
			unix.Close(fd)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "dial")
	defer f.Close()
	return net.FileConn(f)
}

// TestListen serves a task from outside its namespace: two names on the same
// privileged port, each by its own listener, and neither of them on the host.
func TestListen(t *testing.T) {
	ns := namespace(t, true)
	home := threadNetns(t)
	for _, ip := range []string{"127.77.0.1", "127.77.0.2"} {
		addr := netip.AddrPortFrom(netip.MustParseAddr(ip), 443)
		l, err := Listen(ns, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		if got := l.Addr().String(); got != addr.String() {
			t.Errorf("listens on %s, want %s", got, addr)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintf(c, "this is %s", ip)
				c.Close()
			}
		}()
	}
	for _, ip := range []string{"127.77.0.1", "127.77.0.2"} {
		addr := netip.AddrPortFrom(netip.MustParseAddr(ip), 443)
		for range 50 {
			c, err := dial(t, ns, addr)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			c.Close()
			if err != nil || string(got) != "this is "+ip {
				t.Fatalf("%s says %q, %v", ip, got, err)
			}
		}
		if c, err := net.Dial("tcp", addr.String()); err == nil {
			c.Close()
			t.Errorf("%s is reached from the host", addr)
		}
	}
	if _, err := dial(t, ns, netip.MustParseAddrPort("127.77.0.3:443")); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("an undeclared address: %v", err)
	}
	if _, err := dial(t, ns, netip.MustParseAddrPort("192.0.2.1:443")); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("an address outside: %v", err)
	}
	if got := threadNetns(t); got != home {
		t.Errorf("the caller is in %s, was in %s", got, home)
	}
}

// TestClose: Accept ends and the address is free again.
func TestClose(t *testing.T) {
	ns := namespace(t, true)
	addr := netip.MustParseAddrPort("127.77.0.1:80")
	for range 3 {
		l, err := Listen(ns, addr)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			_, err := l.Accept()
			ended <- err
		}()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept ends with %v", err)
		}
	}
}

// TestListenRefused: every failure has a name, leaves no descriptor behind and no
// thread in another namespace.
func TestListenRefused(t *testing.T) {
	ns, down := namespace(t, true), namespace(t, false)
	busy := netip.MustParseAddrPort("127.77.0.1:80")
	l, err := Listen(ns, busy)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	home, before := threadNetns(t), descriptors(t)
	for range 20 {
		for name, tc := range map[string]struct {
			ns   *os.File
			addr string
			errs error
		}{
			"busy":          {ns, "127.77.0.1:80", unix.EADDRINUSE},
			"no-loopback":   {ns, "10.0.0.1:80", nil},
			"any":           {ns, "0.0.0.0:80", nil},
			"ipv6":          {ns, "[::1]:80", nil},
			"mapped":        {ns, "[::ffff:127.0.0.1]:80", nil},
			"no-port":       {ns, "127.77.0.1:0", nil},
			"no-namespace":  {null, "127.77.0.1:81", unix.EINVAL},
			"lo-down":       {down, "127.77.0.1:80", unix.EADDRNOTAVAIL},
			"zero-addrport": {ns, "", nil},
		} {
			var addr netip.AddrPort
			if tc.addr != "" {
				addr = netip.MustParseAddrPort(tc.addr)
			}
			l, err := Listen(tc.ns, addr)
			if name == "lo-down" && err == nil { // some kernels bind, none connects
				l.Close()
				continue
			}
			if e, ok := reason.Of(err); !ok || e.Code != reason.EgressListen || tc.errs != nil && !errors.Is(err, tc.errs) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	after := descriptors(t)
	for deadline := time.Now().Add(5 * time.Second); after != before && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		after = descriptors(t) // what the runtime or another test has open for a moment goes
	}
	if after != before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
	for range 100 { // whatever threads there are now
		if got := threadNetns(t); got != home {
			t.Fatalf("a thread is in %s, not %s", got, home)
		}
	}
}

// threadNetns is the namespace of a thread that the runtime hands out.
func threadNetns(t *testing.T) string {
	t.Helper()
	c := make(chan string)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		s, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil {
			s = err.Error()
		}
		c <- s
	}()
	return <-c
}

func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func TestAddresses(t *testing.T) {
	got := Addresses([]string{"b.example", "a.example", "b.example"})
	if len(got) != 2 || got["a.example"].String() != "127.77.0.1" || got["b.example"].String() != "127.77.0.2" {
		t.Errorf("%v", got)
	}
	var names []string
	for i := range 70000 {
		names = append(names, fmt.Sprintf("n%06d", i))
	}
	seen := map[netip.Addr]bool{}
	for name, a := range Addresses(names) {
		four := a.As4()
		if seen[a] || !a.IsLoopback() || four[1] < 77 || four[3] == 0 || four[3] == 255 {
			t.Fatalf("%s has %s", name, a)
		}
		seen[a] = true
	}
	if a := Addresses(names)["n000254"]; a.String() != "127.77.1.1" {
		t.Errorf("the 255th name has %s", a)
	}
}
