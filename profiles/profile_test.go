package profiles

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const minimal = `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}`

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"minimal", minimal, ""},
		{"all", `{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"architectures":["SCMP_ARCH_X86_64"],"flags":["SECCOMP_FILTER_FLAG_LOG"],` +
			`"syscalls":[{"names":["read","_llseek"],"action":"SCMP_ACT_ERRNO","errnoRet":38,"args":[{"index":5,"value":18446744073709551615,"valueTwo":1,"op":"SCMP_CMP_MASKED_EQ"}]}]}`, ""},
		{"empty", ``, "EOF"},
		{"array", `[]`, "cannot unmarshal"},
		{"null", `null`, "null"},
		{"no-default", `{}`, `defaultAction ""`},
		{"bad-default", `{"defaultAction":"ALLOW"}`, `defaultAction "ALLOW"`},
		{"unknown-key", `{"defaultAction":"SCMP_ACT_ERRNO","x":1}`, `unknown key "x"`},
		{"docker-arch-map", `{"defaultAction":"SCMP_ACT_ERRNO","archMap":[]}`, `unknown key "archMap"`},
		{"docker-includes", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{}}]}`, `unknown key "includes"`},
		{"case", `{"DefaultAction":"SCMP_ACT_ERRNO"}`, `unknown key "DefaultAction"`},
		{"misplaced-key", `{"defaultAction":"SCMP_ACT_ERRNO","op":"SCMP_CMP_EQ"}`, `unknown field "op"`},
		{"twice", `{"defaultAction":"SCMP_ACT_ERRNO","defaultAction":"SCMP_ACT_ALLOW"}`, "twice"},
		{"twice-inside", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"names":["bpf"],"action":"SCMP_ACT_ALLOW"}]}`, "twice"},
		{"trailing", minimal + `{}`, "data after"},
		{"trailing-text", minimal + `x`, "invalid character"},
		{"null-inside", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":null}`, "null"},
		{"arch", `{"defaultAction":"SCMP_ACT_ERRNO","architectures":["x86_64"]}`, "architecture"},
		{"flag", `{"defaultAction":"SCMP_ACT_ERRNO","flags":["LOG"]}`, "flag"},
		{"action", strings.Replace(minimal, "SCMP_ACT_ALLOW", "allow", 1), "syscalls[0]: action"},
		{"call", strings.Replace(minimal, `"read"`, `"read "`, 1), "syscalls[0]: name"},
		{"errno", `{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096}`, "4096"},
		{"index", strings.Replace(minimal, `ALLOW"`, `ALLOW","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]`, 1), "argument 6"},
		{"op", strings.Replace(minimal, `ALLOW"`, `ALLOW","args":[{"index":0,"value":0,"op":"=="}]`, 1), `op "=="`},
		{"negative", strings.Replace(minimal, `ALLOW"`, `ALLOW","args":[{"index":0,"value":-1,"op":"SCMP_CMP_EQ"}]`, 1), "cannot unmarshal"},
		{"seven-args", strings.Replace(minimal, `ALLOW"`, `ALLOW","args":[`+strings.Repeat(`{"index":0,"value":0,"op":"SCMP_CMP_EQ"},`, 6)+`{"index":0,"value":0,"op":"SCMP_CMP_EQ"}]`, 1), "7 args"},
		{"deep", strings.Repeat("[", 100), "nested"},
		{"huge", `{"defaultAction":"` + strings.Repeat("A", MaxSize) + `"}`, "at most"},
		{"many-rules", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[` + strings.Repeat(`{"names":["read"],"action":"SCMP_ACT_ALLOW"},`, maxRules) + `{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}`, "at most 4096"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.in))
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "seccomp profile: ")):
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestRoundTrip(t *testing.T) {
	for _, a := range arches {
		p := defaultFor(a.arch)
		again, err := Parse(p.JSON())
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(p, again) || p.Digest() != again.Digest() {
			t.Error("the profile changes on its way through its file format")
		}
		// The runtime's type has the same JSON, so what is signed is what runs.
		spec, err := json.Marshal(p.Spec())
		if err != nil {
			t.Fatal(err)
		}
		again, err = Parse(spec)
		if err != nil || again.Digest() != p.Digest() {
			t.Errorf("the runtime's form is another profile: %v", err)
		}
	}
}

func TestEvaluate(t *testing.T) {
	seven, allow := uint(7), specs.ActAllow
	p := Profile{Default: specs.ActErrno, Rules: []Rule{
		{Names: []string{"read", "write"}, Action: allow},
		{Names: []string{"write"}, Action: specs.ActKillProcess, Args: []Arg{equal(0, 1)}},
		{Names: []string{"open"}, Action: specs.ActErrno, Errno: &seven},
		{Names: []string{"both"}, Action: allow, Args: []Arg{equal(0, 1), equal(1, 2)}},
		{Names: []string{"either"}, Action: allow, Args: []Arg{equal(0, 1), equal(0, 2)}},
		{Names: []string{"range"}, Action: allow, Args: []Arg{{Index: 0, Value: 5, Op: specs.OpGreaterEqual}}},
		{Names: []string{"less"}, Action: allow, Args: []Arg{{Index: 0, Value: 5, Op: specs.OpLessThan}}},
		{Names: []string{"mask"}, Action: allow, Args: []Arg{masked(2, 0xf0, 0x10)}},
		{Names: []string{"ne"}, Action: allow, Args: []Arg{{Index: 0, Value: 5, Op: specs.OpNotEqual}}},
	}}
	for _, c := range []struct {
		name string
		args []uint64
		want Verdict
	}{
		{"read", nil, Verdict{allow, 0, 0}},
		{"write", []uint64{1}, Verdict{allow, 0, 0}},
		{"open", nil, Verdict{specs.ActErrno, 7, 2}},
		{"close", nil, Verdict{specs.ActErrno, eperm, -1}},
		{"both", []uint64{1, 2}, Verdict{allow, 0, 3}},
		{"both", []uint64{1, 3}, Verdict{specs.ActErrno, eperm, -1}},
		{"either", []uint64{2}, Verdict{allow, 0, 4}},
		{"either", []uint64{3}, Verdict{specs.ActErrno, eperm, -1}},
		{"range", []uint64{5}, Verdict{allow, 0, 5}},
		{"range", []uint64{4}, Verdict{specs.ActErrno, eperm, -1}},
		{"less", []uint64{4}, Verdict{allow, 0, 6}},
		{"less", []uint64{1 << 40}, Verdict{specs.ActErrno, eperm, -1}},
		{"mask", []uint64{0, 0, 0x11f}, Verdict{allow, 0, 7}},
		{"mask", []uint64{0, 0, 0x20}, Verdict{specs.ActErrno, eperm, -1}},
		{"mask", nil, Verdict{specs.ActErrno, eperm, -1}},
		{"ne", []uint64{5}, Verdict{specs.ActErrno, eperm, -1}},
		{"ne", []uint64{1<<32 | 5}, Verdict{allow, 0, 8}}, // why Default masks
	} {
		if got := p.Evaluate(c.name, c.args...); got != c.want {
			t.Errorf("%s%v: %+v, want %+v", c.name, c.args, got, c.want)
		}
	}
}

func TestExcept(t *testing.T) {
	for _, values := range [][]uint64{{0}, {5}, {5, 6}, {1, 2, 9, 15}, {3, 3}} {
		args := except(1, 4, values...)
		for v := range uint64(64) {
			bad := false
			for _, x := range values {
				bad = bad || v&0xf == x
			}
			held := 0
			for _, a := range args {
				if a.holds([]uint64{0, v}) {
					held++
				}
			}
			if bad && held != 0 || !bad && held != 1 {
				t.Errorf("except %v: %d of the conditions hold for %d", values, held, v)
			}
		}
	}
}

func TestDefault(t *testing.T) {
	for _, a := range arches {
		p := defaultFor(a.arch)
		if found := p.Lint(a.arch); len(found) != 0 {
			t.Errorf("%s: %v", a.goarch, found)
		}
		for n := range strings.FieldsSeq(knownNames(a.arch)) {
			if never(n) == "" {
				continue
			}
			for v := range uint64(8) {
				if p.Evaluate(n, v).Allowed() {
					t.Errorf("%s: %s is allowed", a.goarch, n)
				}
			}
		}
		for _, c := range []struct {
			name string
			args []uint64
			want string
		}{
			{"read", nil, "allow"}, {"execve", nil, "allow"}, {"futex", nil, "allow"}, {"mprotect", nil, "allow"},
			{"clone", []uint64{uint64(unix.SIGCHLD)}, "allow"},
			{"clone", []uint64{unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND}, "allow"},
			{"clone", []uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}, "1"},
			{"clone3", nil, "38"},
			{"memfd_create", nil, "38"},
			{"memfd_secret", nil, "1"},
			{"socket", []uint64{unix.AF_UNIX, unix.SOCK_STREAM | unix.SOCK_CLOEXEC}, "allow"},
			{"socket", []uint64{unix.AF_INET, unix.SOCK_STREAM | unix.SOCK_NONBLOCK}, "allow"},
			{"socket", []uint64{unix.AF_INET6, unix.SOCK_DGRAM}, "allow"},
			{"socket", []uint64{unix.AF_INET, unix.SOCK_RAW}, "1"},
			{"socket", []uint64{unix.AF_INET, unix.SOCK_PACKET}, "1"},
			{"socket", []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, "allow"},
			{"socket", []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, "1"},
			{"socket", []uint64{unix.AF_PACKET, unix.SOCK_RAW}, "1"},
			{"socket", []uint64{unix.AF_ALG, unix.SOCK_SEQPACKET}, "1"},
			{"socket", []uint64{unix.AF_VSOCK, unix.SOCK_STREAM}, "1"},
			{"socket", []uint64{1<<32 | unix.AF_UNIX, unix.SOCK_STREAM}, "1"},
			{"socketpair", []uint64{unix.AF_UNIX}, "allow"},
			{"socketpair", []uint64{unix.AF_TIPC}, "1"},
			{"ioctl", []uint64{0, unix.TCGETS}, "allow"},
			{"ioctl", []uint64{0, unix.TIOCGWINSZ}, "allow"},
			{"ioctl", []uint64{0, 0x541b}, "allow"},
			{"ioctl", []uint64{0, unix.TIOCSTI}, "1"},
			{"ioctl", []uint64{0, unix.TIOCLINUX}, "1"},
			{"ioctl", []uint64{0, 1<<32 | unix.TIOCSTI}, "1"},
			{"personality", []uint64{0}, "allow"},
			{"personality", []uint64{0xffffffff}, "allow"},
			{"personality", []uint64{noRandomize}, "1"},
			{"execveat", []uint64{3, 1, 1, 1, 0}, "allow"},
			{"execveat", []uint64{3, 1, 1, 1, unix.AT_EMPTY_PATH}, "1"},
			{"io_uring_setup", nil, "1"}, {"unshare", nil, "1"}, {"setns", nil, "1"}, {"vmsplice", nil, "1"},
		} {
			v := p.Evaluate(c.name, c.args...)
			got := "allow"
			if v.Action == specs.ActErrno {
				got = fmt.Sprint(v.Errno)
			}
			if got != c.want {
				t.Errorf("%s: %s%#x: %s, want %s", a.goarch, c.name, c.args, got, c.want)
			}
		}
	}
	if got := defaultFor("SCMP_ARCH_MIPS"); got.Default != "" || len(got.Rules) != 0 {
		t.Errorf("an architecture that was not generated has %+v", got)
	}
}

func TestLint(t *testing.T) {
	const arch = specs.ArchX86_64
	allowing := func(names ...string) func(*Profile) {
		return func(p *Profile) { p.Rules = append(p.Rules, Rule{Names: names, Action: specs.ActAllow}) }
	}
	for _, c := range []struct {
		name   string
		change func(*Profile)
		want   string
	}{
		{"default-allow", func(p *Profile) { p.Default = specs.ActAllow }, "error: the default action"},
		{"default-log", func(p *Profile) { p.Default = specs.ActLog }, "error: the default action"},
		{"compat", func(p *Profile) { p.Arches = append(p.Arches[:1:1], specs.ArchX86) }, "error: architecture SCMP_ARCH_X86 "},
		{"foreign", func(p *Profile) { p.Arches = []Arch{specs.ArchAARCH64} }, "error: architecture SCMP_ARCH_AARCH64"},
		{"listener", func(p *Profile) { p.Listener = "/x" }, "error: a listener"},
		{"ptrace", allowing("ptrace"), "error: syscalls[61]: ptrace: allowed"},
		{"io-uring", allowing("io_uring_enter"), "io_uring_enter: allowed"},
		{"ptrace-logged", func(p *Profile) { p.Rules = append(p.Rules, Rule{Names: []string{"ptrace"}, Action: specs.ActLog}) }, "ptrace: allowed"},
		{"ptrace-conditional", func(p *Profile) { p.Rules = append(p.Rules, allow("ptrace", equal(0, 0))) }, "ptrace: allowed"},
		{"clone3", allowing("clone3"), "clone3: allowed: its flags"},
		{"clone", allowing("clone"), "clone: makes namespaces"},
		{"clone-half-mask", func(p *Profile) { p.Rules = append(p.Rules, allow("clone", masked(0, unix.CLONE_NEWUSER, 0))) }, "clone: makes namespaces"},
		{"socket", allowing("socket"), "socket: opens AF_ALG"},
		{"socket-vsock", func(p *Profile) { p.Rules = append(p.Rules, allow("socket", equal(0, unix.AF_VSOCK))) }, "socket: opens AF_VSOCK"},
		{"socketcall", allowing("socketcall"), "socketcall: allowed"},
		{"ipc", allowing("ipc"), "ipc: allowed"},
		{"notify-write", func(p *Profile) {
			p.Rules = append(p.Rules, Rule{Names: []string{"write"}, Action: specs.ActNotify, Args: []Arg{equal(0, 9)}})
		}, "error: syscalls[61]: write: runc cannot"},
		{"ioctl", allowing("ioctl"), "warning: syscalls[61]: ioctl: allows TIOCSTI"},
		{"ioctl-not-equal", func(p *Profile) {
			p.Rules = append(p.Rules[:1:1], allow("ioctl", Arg{Index: 1, Value: unix.TIOCSTI, Op: specs.OpNotEqual}))
		}, "ioctl: allows TIOCLINUX"},
		{"ioctl-high-bits", func(p *Profile) {
			p.Rules = append(p.Rules[:1:1], allow("ioctl", Arg{Index: 1, Value: 0x6000, Op: specs.OpGreaterThan}))
		}, "ioctl: allows TIOCSTI with high bits"},
		{"personality", allowing("personality"), "warning: syscalls[61]: personality"},
		{"memfd", allowing("memfd_create"), "warning: syscalls[61]: memfd_create: allowed"},
		{"vmsplice", allowing("vmsplice"), "vmsplice: allowed"},
		{"flag", func(p *Profile) { p.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagSpecAllow} }, "warning: flag"},
		{"unequal", func(p *Profile) {
			p.Rules = append(p.Rules, allow("read", Arg{Index: 0, Value: 1, Op: specs.OpNotEqual}, Arg{Index: 0, Value: 2, Op: specs.OpNotEqual}))
		}, "always hold"},
		{"unknown", allowing("frobnicate"), "frobnicate: not a system call"},
		{"no-names", func(p *Profile) { p.Rules = append(p.Rules, Rule{Action: specs.ActAllow}) }, "names no call"},
		{"contradiction", func(p *Profile) {
			p.Rules = append(p.Rules, Rule{Names: []string{"read"}, Action: specs.ActKillProcess})
		}, "read: has no effect"},
		{"dead-condition", func(p *Profile) { p.Rules = append(p.Rules, allow("read", equal(0, 0))) }, "read: has no effect"},
		{"clone3-eperm", func(p *Profile) { p.Rules = p.Rules[:len(p.Rules)-1] }, "clone3: answers EPERM"},
		{"bare", func(p *Profile) { p.Rules = nil }, "exit_group: not allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := defaultFor(arch)
			c.change(&p)
			found := p.Lint(arch)
			for _, f := range found {
				if strings.Contains(f.String(), c.want) {
					return
				}
			}
			t.Errorf("%v, want %q", found, c.want)
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add(Default().JSON())
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_NE"},{"index":0,"value":2,"op":"SCMP_CMP_NE"}]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := Parse(raw)
		if err != nil {
			return
		}
		again, err := Parse(p.JSON())
		if err != nil || again.Digest() != p.Digest() {
			t.Fatalf("%q does not survive: %v", raw, err)
		}
		p.Lint(specs.ArchX86_64)
		p.Evaluate("read", 1, 2)
	})
}

func BenchmarkDefault(b *testing.B) {
	for b.Loop() {
		Default().Spec()
	}
}
