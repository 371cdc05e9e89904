package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const refuserName = "ztlaunch-test-refuser"

// The test program also asks for a launch in worse circumstances.
func TestMain(m *testing.M) {
	if os.Args[0] == refuserName {
		err := Quick().Launch()
		if e, ok := reason.Of(err); ok {
			fmt.Fprintln(os.Stdout, e.Code, "|", e.Found, "|", e.Next)
			os.Exit(3)
		}
		fmt.Fprintln(os.Stdout, err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if h := Quick(); h.Launch() != nil {
		why := "ZTLAUNCH_E2E: " + h.Launch().Error()
		if os.Getenv("ZTLAUNCH_E2E") == "require" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
}

func TestHierarchies(t *testing.T) {
	for _, c := range []struct {
		name, mountinfo string
		mode            Mode
		want            []Hierarchy
	}{
		{"none", "21 26 0:20 / /proc rw,relatime - proc proc rw\n", None, nil},
		{"v2", "30 22 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n", V2, []Hierarchy{{"/sys/fs/cgroup", true, nil}}},
		{"v1", "31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n" +
			"39 30 0:36 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd\n", V1,
			[]Hierarchy{{"/sys/fs/cgroup/cpu,cpuacct", false, []string{"cpu", "cpuacct"}}, {"/sys/fs/cgroup/systemd", false, nil}}},
		{"hybrid", "31 30 0:28 / /cg/a\\040b rw - cgroup cgroup rw,pids\n40 30 0:37 / /cg/unified rw - cgroup2 none rw\n", Hybrid,
			[]Hierarchy{{"/cg/a b", false, []string{"pids"}}, {"/cg/unified", true, nil}}},
		{"garbage", "x\n - \n1 2 3\n - cgroup\n", None, nil},
	} {
		got := parseHierarchies(c.mountinfo)
		if !reflect.DeepEqual(got, c.want) || mode(got) != c.mode {
			t.Errorf("%s: %+v, %s", c.name, got, mode(got))
		}
	}
}

func TestController(t *testing.T) {
	h := Host{Hierarchies: []Hierarchy{{"/a", false, []string{"cpu"}}, {"/b", true, []string{"memory"}}}}
	if !h.Controller("cpu") || !h.Controller("memory") || h.Controller("pids") {
		t.Error("controllers")
	}
}

func TestCapability(t *testing.T) {
	for _, c := range []struct {
		status string
		want   bool
	}{
		{"Name:\tx\nCapEff:\t000001ffffffffff\n", true},
		{"CapEff:\t0000000000200000\n", true},
		{"CapEff:\t00000000ffdfffff\nCapBnd:\t000001ffffffffff\n", false},
		{"CapEff:\t0000000000000000\n", false},
		{"CapEff:\tzzz\n", false},
		{"", false},
	} {
		if got := hasCapability(c.status, unix.CAP_SYS_ADMIN); got != c.want {
			t.Errorf("%q: %v", c.status, got)
		}
	}
}

func TestLaunch(t *testing.T) {
	for _, c := range []struct {
		h           Host
		found, next string
	}{
		{Host{Sysadmin: true, Initial: true}, "", ""},
		{Host{Sysadmin: true, Initial: true, Nested: "/.dockerenv"}, "", ""},
		{Host{Initial: true}, "no CAP_SYS_ADMIN", "sudo"},
		{Host{Initial: true, Nested: "/.dockerenv"}, "no CAP_SYS_ADMIN, in a container (/.dockerenv)", "give this container"},
		{Host{Sysadmin: true, IDs: 1 << 16}, "", ""},
		{Host{Sysadmin: true, IDs: 1}, "1", "on the host itself"},
		{Host{Sysadmin: true, IDs: 65535, Nested: "container=lxc"}, "65535, in a container (container=lxc)", "on the host itself"},
		{Host{IDs: 1 << 16}, "another user namespace", "on the host itself"},
	} {
		err := c.h.Launch()
		if c.found == "" {
			if err != nil {
				t.Errorf("%+v: %v", c.h, err)
			}
			continue
		}
		e, ok := reason.Of(err)
		if !ok || e.Code != reason.HostCannotLaunch || e.Found != c.found || !strings.Contains(e.Next, c.next) {
			t.Errorf("%+v: %+v", c.h, e)
		}
	}
}

// Without capabilities, and in a user namespace that has all of them and one id, a
// launch is refused.
func TestLaunchRefuses(t *testing.T) {
	needRoot(t)
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	for _, c := range []struct {
		name string
		sys  *syscall.SysProcAttr
		want string
	}{
		{"nobody", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}, "host-cannot-launch | no CAP_SYS_ADMIN"},
		{"userns", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: one, GidMappings: one}, "host-cannot-launch | 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			cmd.Args, cmd.SysProcAttr = []string{refuserName}, c.sys
			out, err := cmd.Output()
			var e *exec.ExitError
			if !errors.As(err, &e) || e.ExitCode() != 3 || !strings.HasPrefix(string(out), c.want) {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
}

func TestQuick(t *testing.T) {
	h := Quick()
	if h.Kernel == "" || h.Abilities != nil {
		t.Errorf("%+v", h)
	}
}

// Every ability is tried, each that fails says why and what would help, and
// nothing is left.
func TestProbe(t *testing.T) {
	scratch := t.TempDir()
	h := Probe(scratch)
	if len(h.Abilities) != 20 {
		t.Errorf("%d abilities", len(h.Abilities))
	}
	for _, a := range h.Abilities {
		t.Logf("%-20s %v %s", a.Name, a.OK, a.Why)
		if a.Why == "" || a.OK == (a.Fix != "") {
			t.Errorf("%+v", a)
		}
		if got, ok := h.Ability(a.Name); !ok || got != a {
			t.Errorf("%s is found as %+v", a.Name, got)
		}
	}
	if _, ok := h.Ability("none"); ok {
		t.Error("an ability that is not there is found")
	}
	left, err := os.ReadDir(scratch)
	if err != nil || len(left) != 0 {
		t.Errorf("left in scratch: %v, %v", left, err)
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), scratch) {
		t.Errorf("a mount is left: %v", err)
	}
}

// On a host that launches, what every launch uses is found.
func TestProbeFindsWhatLaunchesUse(t *testing.T) {
	needRoot(t)
	h := Probe(t.TempDir())
	for _, name := range []string{"privilege", "cgroups", "userns", "seccomp", "pidfd", "openat2", "overlay"} {
		if a, ok := h.Ability(name); !ok || !a.OK {
			t.Errorf("%+v", a)
		}
	}
}

func TestProbeWithoutScratch(t *testing.T) {
	h := Probe("/proc/none")
	if len(h.Abilities) != 1 || h.Abilities[0].OK {
		t.Errorf("%+v", h.Abilities)
	}
}

func TestTypeID(t *testing.T) {
	order := binary.NativeEndian
	names := "\x00int\x00list\x00want\x00"
	var types []byte
	add := func(name uint32, kind, n uint32, rest int) {
		types = order.AppendUint32(types, name)
		types = order.AppendUint32(types, kind<<24|n)
		types = order.AppendUint32(types, 4)
		types = append(types, make([]byte, rest)...)
	}
	add(1, kindInt, 0, 4)
	add(5, kindStruct, 2, 24)
	add(10, kindStruct, 0, 0) // of that name, and the wrong kind
	add(0, kindProto, 1, 8)
	add(10, kindFunc, 0, 0)
	make := func(types []byte) []byte {
		b := order.AppendUint16(nil, btfMagic)
		b = append(b, 1, 0)
		for _, n := range []int{24, 0, len(types), len(types), len(names)} {
			b = order.AppendUint32(b, uint32(n))
		}
		return append(append(b, types...), names...)
	}
	if id, err := typeID(make(types), "want"); id != 5 || err != nil {
		t.Errorf("%d, %v", id, err)
	}
	if _, err := typeID(make(types), "wan"); err == nil {
		t.Error("part of a name is found")
	}
	if _, err := typeID(make(types[:20]), "want"); err == nil {
		t.Error("a type without its end")
	}
	for n := range make(types) {
		if _, err := typeID(make(types)[:n], "want"); err == nil {
			t.Errorf("the first %d bytes are enough", n)
		}
	}
}

func FuzzTypeID(f *testing.F) {
	f.Add([]byte{0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, "x")
	f.Fuzz(func(t *testing.T, raw []byte, name string) { _, _ = typeID(raw, name) })
}

func FuzzHierarchies(f *testing.F) {
	f.Add("30 22 0:27 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, h := range parseHierarchies(s) {
			if h.Path == "" {
				t.Fatalf("%q has a hierarchy nowhere", s)
			}
		}
	})
}

func BenchmarkQuick(b *testing.B) {
	for b.Loop() {
		Quick()
	}
}

func BenchmarkProbe(b *testing.B) {
	for b.Loop() {
		Probe(b.TempDir())
	}
}
