package profiles

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Problem is one thing that is wrong with a profile.
type Problem struct {
	Error bool   // the profile must not be enforced; else a warning
	Rule  int    // the index of the rule, or -1 for the whole profile
	Name  string // the call, if it is about one
	Text  string // what is wrong, without the name
}

// String reads `error: syscalls[2]: ptrace: allowed: controls ...`.
func (p Problem) String() string {
	var b strings.Builder
	if p.Error {
		b.WriteString("error: ")
	} else {
		b.WriteString("warning: ")
	}
	if p.Rule >= 0 {
		fmt.Fprintf(&b, "syscalls[%d]: ", p.Rule)
	}
	if p.Name != "" {
		b.WriteString(p.Name + ": ")
	}
	return b.String() + p.Text
}

// linter collects what is found.
type linter struct {
	p     Profile
	arch  Arch
	found []Problem
}

func (l *linter) fail(rule int, name, format string, args ...any) {
	l.found = append(l.found, Problem{true, rule, name, fmt.Sprintf(format, args...)})
}

func (l *linter) warn(rule int, name, format string, args ...any) {
	l.found = append(l.found, Problem{false, rule, name, fmt.Sprintf(format, args...)})
}

// Lint says what is wrong with a profile that is to be enforced on a host of
// the architecture arch. Executable memory is not among it: no dynamic loader
// lives without mmap(PROT_EXEC).
func (p Profile) Lint(arch Arch) []Problem {
	l := &linter{p: p, arch: arch}
	l.whole()
	l.rules()
	l.forbidden()
	l.arguments()
	l.needed()
	return l.found
}

// whole judges what is not about a rule.
func (l *linter) whole() {
	if allows(l.p.Default) {
		l.fail(-1, "", "the default action %s lets calls through that no rule names", l.p.Default)
	}
	for _, a := range l.p.Arches {
		if a != l.arch {
			l.fail(-1, "", "architecture %s besides the host's %s is a second door: its calls have other numbers and arguments", a, l.arch)
		}
	}
	if l.p.Listener != "" || l.p.Metadata != "" {
		l.fail(-1, "", "a listener decides outside the profile")
	}
	for _, f := range l.p.Flags {
		if f == "SECCOMP_FILTER_FLAG_TSYNC" || f == specs.LinuxSeccompFlagSpecAllow {
			l.warn(-1, "", "flag %s", f)
		}
	}
	if l.p.Default == specs.ActErrno && errno(l.p.Default, l.p.DefaultErrno) == eperm && !l.answers("clone3", enosys) {
		l.warn(-1, "clone3", "answers EPERM: C libraries that meet it do not fall back to clone; let it answer ENOSYS")
	}
}

func (l *linter) answers(name string, want uint) bool {
	v := l.p.Evaluate(name)
	return v.Action == specs.ActErrno && v.Errno == want
}

// rules judges each rule by itself.
func (l *linter) rules() {
	plain := map[string]int{}
	known := strings.Fields(knownNames(l.arch))
	for i, r := range l.p.Rules {
		if len(r.Names) == 0 {
			l.warn(i, "", "names no call")
		}
		unequal := map[uint]int{}
		for _, a := range r.Args {
			if a.Op == specs.OpNotEqual {
				unequal[a.Index]++
			}
		}
		for _, n := range unequal {
			if n > 1 {
				l.warn(i, "", "%d conditions \"not equal\" on one argument are taken for alternatives, and always hold: use ranges", n)
			}
		}
		for _, n := range r.Names {
			if len(known) > 0 && !slices.Contains(known, n) {
				l.warn(i, n, "not a system call of %s", l.arch)
			}
			if len(r.Args) > 0 {
				continue
			}
			if first, twice := plain[n]; twice && l.p.Rules[first].Action != r.Action {
				l.warn(i, n, "has no effect: syscalls[%d] decides it", first)
			} else if !twice {
				plain[n] = i
			}
		}
	}
	for i, r := range l.p.Rules {
		for _, n := range r.Names {
			if first, ok := plain[n]; ok && len(r.Args) > 0 {
				l.warn(i, n, "has no effect: syscalls[%d] decides it without a condition", first)
			}
			if n == "write" && r.Action == specs.ActNotify {
				l.fail(i, n, "runc cannot start a container whose write calls ask a listener")
			}
		}
	}
}

// forbidden looks for calls that must not be allowed under any condition.
func (l *linter) forbidden() {
	for i, r := range l.p.Rules {
		if !allows(r.Action) {
			continue
		}
		for _, n := range r.Names {
			switch why := never(n); {
			case why != "":
				l.fail(i, n, "allowed: %s", why)
			case n == "clone3":
				l.fail(i, n, "allowed: its flags lie in memory, where no filter sees them; let it answer ENOSYS")
			case n == "memfd_create":
				l.warn(i, n, "allowed: makes files that can be executed and that nothing verified")
			}
		}
	}
}

// noRandomize is ADDR_NO_RANDOMIZE of <sys/personality.h>.
const noRandomize = 0x0040000

// arguments asks the profile about calls that only their arguments make bad.
// Bits that the kernel ignores are set too.
func (l *linter) arguments() {
	const high = 1 << 32
	flag := uint(0)
	if l.arch == specs.ArchS390X {
		flag = 1
	}
	for _, ns := range []uint64{unix.CLONE_NEWNS, unix.CLONE_NEWUTS, unix.CLONE_NEWIPC, unix.CLONE_NEWUSER, unix.CLONE_NEWPID, unix.CLONE_NEWNET, unix.CLONE_NEWCGROUP} {
		var args [2]uint64
		args[flag] = ns | uint64(unix.SIGCHLD)
		if v := l.p.Evaluate("clone", args[:]...); v.Allowed() {
			l.fail(v.Rule, "clone", "makes namespaces: mask its flags with %#x", uint64(namespaces))
			break
		}
	}
	for _, f := range []struct {
		family uint64
		name   string
	}{{unix.AF_ALG, "AF_ALG"}, {unix.AF_VSOCK, "AF_VSOCK"}, {unix.AF_PACKET, "AF_PACKET"}, {unix.AF_KEY, "AF_KEY"}, {unix.AF_XDP, "AF_XDP"}, {unix.AF_RDS, "AF_RDS"}} {
		if v := l.p.Evaluate("socket", f.family, unix.SOCK_STREAM); v.Allowed() {
			l.fail(v.Rule, "socket", "opens %s: list the families that the task needs", f.name)
			break
		}
	}
	for _, r := range []struct {
		request uint64
		name    string
	}{{unix.TIOCSTI, "TIOCSTI"}, {unix.TIOCLINUX, "TIOCLINUX"}, {unix.TIOCSTI | high, "TIOCSTI with high bits set"}, {unix.TIOCLINUX | high, "TIOCLINUX with high bits set"}} {
		if v := l.p.Evaluate("ioctl", 0, r.request); v.Allowed() {
			l.warn(v.Rule, "ioctl", "allows %s: a task can type into its terminal", r.name)
			break
		}
	}
	if v := l.p.Evaluate("personality", noRandomize); v.Allowed() {
		l.warn(v.Rule, "personality", "allows more than the usual domains")
	}
}

// needed looks for calls without which nothing runs.
func (l *linter) needed() {
	for _, n := range []string{"exit_group", "rt_sigreturn", "futex"} {
		if len(l.p.rulesOf(n)) == 0 && !allows(l.p.Default) {
			l.warn(-1, n, "not allowed: hardly a program runs without it")
		}
	}
}
