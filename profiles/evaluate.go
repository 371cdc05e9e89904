package profiles

import "github.com/opencontainers/runtime-spec/specs-go"

// Verdict is what a profile does to one call.
type Verdict struct {
	Action Action
	Errno  uint // of SCMP_ACT_ERRNO
	Rule   int  // the index of the rule that decided; -1 for the default
}

// Allowed reports whether the kernel executes the call.
func (v Verdict) Allowed() bool { return allows(v.Action) }

// allows is true of actions that let the call through, watched or not.
func allows(a Action) bool {
	return a == specs.ActAllow || a == specs.ActLog || a == specs.ActTrace || a == specs.ActNotify
}

// Evaluate is the verdict for a call by name; missing arguments are 0. It says
// what the rules ask for: whether the runtime's libseccomp knows the name, and
// runc's ENOSYS for calls newer than the profile, are the runtime's.
func (p Profile) Evaluate(name string, args ...uint64) Verdict {
	return p.evaluate(args, p.rulesOf(name))
}

// rulesOf are the indices of the rules that name the call.
func (p Profile) rulesOf(name string) []int {
	var found []int
	for i, r := range p.Rules {
		for _, n := range r.Names {
			if n == name {
				found = append(found, i)
				break
			}
		}
	}
	return found
}

func (p Profile) evaluate(args []uint64, rules []int) Verdict {
	for _, i := range rules {
		if len(p.Rules[i].Args) == 0 {
			return p.verdict(i)
		}
	}
	for _, i := range rules {
		if p.Rules[i].matches(args) {
			return p.verdict(i)
		}
	}
	return Verdict{p.Default, errno(p.Default, p.DefaultErrno), -1}
}

func (p Profile) verdict(i int) Verdict {
	r := p.Rules[i]
	return Verdict{r.Action, errno(r.Action, r.Errno), i}
}

// errno is what runc returns when a profile names none.
func errno(a Action, given *uint) uint {
	switch {
	case a != specs.ActErrno:
		return 0
	case given != nil:
		return *given
	}
	return eperm
}

const eperm, enosys = 1, 38

// matches says whether the rule's conditions hold for the arguments.
func (r Rule) matches(args []uint64) bool {
	any := r.split()
	for _, a := range r.Args {
		if a.holds(args) == any {
			return any
		}
	}
	return !any
}

// split reports whether two conditions are on one argument, so that runc makes
// a rule of each.
func (r Rule) split() bool {
	var seen [maxArgs]bool
	for _, a := range r.Args {
		if seen[a.Index] {
			return true
		}
		seen[a.Index] = true
	}
	return false
}

func (a Arg) holds(args []uint64) bool {
	var v uint64
	if a.Index < uint(len(args)) {
		v = args[a.Index]
	}
	switch a.Op {
	case specs.OpEqualTo:
		return v == a.Value
	case specs.OpNotEqual:
		return v != a.Value
	case specs.OpLessThan:
		return v < a.Value
	case specs.OpLessEqual:
		return v <= a.Value
	case specs.OpGreaterThan:
		return v > a.Value
	case specs.OpGreaterEqual:
		return v >= a.Value
	case specs.OpMaskedEqual:
		return v&a.Value == a.ValueTwo
	}
	return false
}
