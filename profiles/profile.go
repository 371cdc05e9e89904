// Package profiles owns seccomp profiles as typed data: their file format, the
// profile that a task gets by default, what is wrong with a profile (Lint) and
// what it does to one system call (Evaluate).
//
// The format is the object `linux.seccomp` of the OCI runtime-spec 1.3.0, as
// JSON: defaultAction, defaultErrnoRet, architectures, flags, listenerPath,
// listenerMetadata, and syscalls with names, action, errnoRet and args (index,
// value, valueTwo, op). Docker's extensions of it (archMap, includes, excludes,
// name) are refused: they mean nothing to a runtime. A file is at most 1 MiB
// with 4,096 rules; unknown keys, duplicate keys and trailing data are errors.
//
// What a profile means is what runc and libseccomp make of it:
//
//   - The first rule for a name that has no conditions decides, whatever other
//     rules say of that name.
//   - Else a call is held against the name's rules with conditions. All
//     conditions of a rule must hold, but when a rule has two on one argument,
//     runc takes every condition as a rule of its own: one is enough.
//   - Conditions compare all 64 bits of an argument. The kernel looks at fewer
//     for many calls (an ioctl request has 32), so a condition that excludes a
//     value must mask, or setting high bits walks past it.
//   - A name that the runtime's libseccomp does not know is skipped. Unless the
//     default errno is ENOSYS itself, runc answers ENOSYS to every call with a
//     number above the highest one that the profile names, so that a C library
//     falls back; a call below that and not named gets the default action.
//   - A call made through an architecture that is not listed kills the process.
//
// The package does not compile filters, does not look at what was installed,
// and does not judge whether a program can live with a profile.
package profiles

import (
	"encoding/json"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Action is what happens to a call.
type Action = specs.LinuxSeccompAction

// Arch is an architecture as seccomp names it: SCMP_ARCH_X86_64.
type Arch = specs.Arch

// Profile is one seccomp profile. Copies share their slices: treat them as
// constant.
type Profile struct {
	Default      Action                   `json:"defaultAction"`
	DefaultErrno *uint                    `json:"defaultErrnoRet,omitempty"`
	Arches       []Arch                   `json:"architectures,omitempty"`
	Flags        []specs.LinuxSeccompFlag `json:"flags,omitempty"`
	Listener     string                   `json:"listenerPath,omitempty"`
	Metadata     string                   `json:"listenerMetadata,omitempty"`
	Rules        []Rule                   `json:"syscalls,omitempty"`
}

// Rule gives system calls an action, for all or for some of their arguments.
type Rule struct {
	Names  []string `json:"names"`
	Action Action   `json:"action"`
	Errno  *uint    `json:"errnoRet,omitempty"`
	Args   []Arg    `json:"args,omitempty"`
}

// Arg is a condition on one argument: argument Index compares with Value by Op.
// SCMP_CMP_MASKED_EQ compares (argument & Value) with ValueTwo.
type Arg struct {
	Index    uint                       `json:"index"`
	Value    uint64                     `json:"value"`
	ValueTwo uint64                     `json:"valueTwo,omitempty"`
	Op       specs.LinuxSeccompOperator `json:"op"`
}

// Spec is the profile as the runtime's configuration carries it.
func (p Profile) Spec() *specs.LinuxSeccomp {
	s := &specs.LinuxSeccomp{
		DefaultAction: p.Default, DefaultErrnoRet: p.DefaultErrno, Architectures: p.Arches, Flags: p.Flags,
		ListenerPath: p.Listener, ListenerMetadata: p.Metadata, Syscalls: make([]specs.LinuxSyscall, len(p.Rules)),
	}
	for i, r := range p.Rules {
		args := make([]specs.LinuxSeccompArg, len(r.Args))
		for j, a := range r.Args {
			args[j] = specs.LinuxSeccompArg{Index: a.Index, Value: a.Value, ValueTwo: a.ValueTwo, Op: a.Op}
		}
		s.Syscalls[i] = specs.LinuxSyscall{Names: r.Names, Action: r.Action, ErrnoRet: r.Errno, Args: args}
	}
	return s
}

// JSON is the profile in its file format, on one line: equal profiles have
// equal bytes.
func (p Profile) JSON() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic("profiles: " + err.Error()) // strings and numbers always encode
	}
	return b
}

// Digest names the profile: the sha256 of its JSON.
func (p Profile) Digest() digest.Digest { return digest.FromBytes(p.JSON()) }
