package profiles

import (
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Native is the architecture of this host; "" where no default profile exists.
func Native() Arch {
	switch runtime.GOARCH {
	case "amd64":
		return specs.ArchX86_64
	case "arm64":
		return specs.ArchAARCH64
	}
	return ""
}

// Default is the profile that a task runs under unless it brings its own, for
// this host's architecture and no other: what moby's default profile gives a
// container without capabilities, minus what agents never need (see never),
// with socket, ioctl, clone, execveat, personality and the calls that give a file
// its mode held to their arguments.
//
// Calls that C libraries and language runtimes probe for and can do without
// (clone3, memfd_create, openat2) answer ENOSYS, so that callers fall back; the others
// answer EPERM. On an architecture for which nothing was generated it is the
// zero profile, which no runtime accepts.
func Default() Profile { return defaultFor(Native()) }

func defaultFor(arch Arch) Profile {
	listed := mobyNames(arch)
	if listed == "" {
		return Profile{}
	}
	names := make([]string, 0, 400)
	for n := range strings.FieldsSeq(listed) {
		if never(n) == "" && !conditional(n) {
			names = append(names, n)
		}
	}
	denied := uint(eperm)
	p := Profile{Default: specs.ActErrno, DefaultErrno: &denied, Arches: []Arch{arch},
		Rules: make([]Rule, 0, 64)}
	p.Rules = append(p.Rules, Rule{Names: names, Action: specs.ActAllow})
	p.Rules = append(p.Rules, sockets()...)
	p.Rules = append(p.Rules, personalities()...)
	p.Rules = append(p.Rules, ioctls()...)
	p.Rules = append(p.Rules, modes(listed)...)
	absent := uint(enosys)
	p.Rules = append(p.Rules,
		allow("clone", masked(0, namespaces, 0)),
		allow("execveat", masked(4, unix.AT_EMPTY_PATH, 0)), // a path, not a bare descriptor
		Rule{Names: []string{"clone3", "memfd_create", "openat2"}, Action: specs.ActErrno, Errno: &absent})
	return p
}

// conditional are the names that Default allows by argument or answers in its
// own way: moby's unconditional rules must not decide them.
func conditional(name string) bool {
	switch name {
	case "socket", "socketpair", "personality", "ioctl", "execveat", "clone", "clone3", "memfd_create", "openat2":
		return true
	}
	_, mode := modeArgs[name]
	return mode
}

// modeArgs are the calls that give a file its mode, and which argument is it.
var modeArgs = map[string]uint{"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "creat": 1, "mknod": 1, "mknodat": 2,
	"open": 2, "openat": 3}

// modes allows them but for a mode with a set-ID bit. What a task writes into a
// work mount belongs to the folder's owner: such a program would run as that
// owner for anybody on the host, where no_new_privs and nosuid of the box do not
// reach. open reads its mode only where it creates a file; where it does not, the
// argument may be anything. openat2 has the mode behind a pointer, which no
// filter can read, so it is absent.
func modes(listed string) []Rule {
	const creates = unix.O_CREAT | 0o20000000 // O_TMPFILE without O_DIRECTORY, which differs by architecture
	var rules []Rule
	for _, name := range slices.Sorted(maps.Keys(modeArgs)) {
		if !slices.Contains(strings.Fields(listed), name) {
			continue // an architecture without the older calls
		}
		at := modeArgs[name]
		rules = append(rules, allow(name, masked(at, unix.S_ISUID|unix.S_ISGID, 0)))
		if strings.HasPrefix(name, "open") {
			rules = append(rules, allow(name, masked(at-1, creates, 0)))
		}
	}
	return rules
}

// namespaces are the clone flags that make a namespace. CLONE_NEWTIME shares
// its bit with the exit signal of clone, and needs clone3 or unshare.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID |
	unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP

// sockets allows local and internet stream and datagram sockets, and netlink
// for asking about routes and interfaces. SOCK_CLOEXEC and SOCK_NONBLOCK are
// above the type's four bits.
func sockets() []Rule {
	const typeMask = 0xf
	rules := []Rule{
		allow("socket", equal(0, unix.AF_UNIX)),
		allow("socketpair", equal(0, unix.AF_UNIX)),
		allow("socket", equal(0, unix.AF_NETLINK), equal(2, unix.NETLINK_ROUTE)),
	}
	for _, family := range []uint64{unix.AF_INET, unix.AF_INET6} {
		for _, typ := range []uint64{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
			rules = append(rules, allow("socket", equal(0, family), masked(1, typeMask, typ)))
		}
	}
	return rules
}

// personalities are moby's: Linux and its 32-bit and uname26 variants, and the
// query.
func personalities() []Rule {
	var rules []Rule
	for _, v := range []uint64{0x0, 0x8, 0x20000, 0x20008, 0xffffffff} {
		rules = append(rules, allow("personality", equal(0, v)))
	}
	return rules
}

// ioctls allows every request but the two that put input into a terminal's
// queue, so that a task cannot type for whoever uses it next.
func ioctls() []Rule {
	var rules []Rule
	for _, a := range except(1, 32, unix.TIOCSTI, unix.TIOCLINUX) {
		rules = append(rules, allow("ioctl", a))
	}
	return rules
}

// except gives conditions of which one holds exactly when none of the values
// equals the low bits of the argument. A single "not equal" cannot say that: it
// would look at bits that the kernel ignores. The values form a binary trie;
// where a path leaves it, one condition takes all that lies beyond.
func except(index uint, bits int, values ...uint64) []Arg {
	var args []Arg
	var walk func(bit int, prefix, mask uint64, under []uint64)
	walk = func(bit int, prefix, mask uint64, under []uint64) {
		if len(under) == 0 {
			args = append(args, masked(index, mask, prefix))
			return
		}
		if bit < 0 {
			return
		}
		b := uint64(1) << bit
		for _, side := range []uint64{0, b} {
			var rest []uint64
			for _, v := range under {
				if v&b == side {
					rest = append(rest, v)
				}
			}
			walk(bit-1, prefix|side, mask|b, rest)
		}
	}
	walk(bits-1, 0, 0, values)
	return args
}

func allow(name string, args ...Arg) Rule {
	return Rule{Names: []string{name}, Action: specs.ActAllow, Args: args}
}

func equal(index uint, v uint64) Arg { return Arg{Index: index, Value: v, Op: specs.OpEqualTo} }

func masked(index uint, mask, v uint64) Arg {
	return Arg{Index: index, Value: mask, ValueTwo: v, Op: specs.OpMaskedEqual}
}
