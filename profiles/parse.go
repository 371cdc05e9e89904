package profiles

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// MaxSize is the largest file, in bytes.
const MaxSize = 1 << 20

const (
	maxRules = 4096
	maxNames = 4096 // of one rule
	maxArgs  = 6    // a Linux call has no more
	maxErrno = 4095 // the kernel's MAX_ERRNO
	maxDepth = 8
)

var (
	actions = []Action{specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActErrno,
		specs.ActTrace, specs.ActAllow, specs.ActLog, specs.ActNotify}
	operators = []specs.LinuxSeccompOperator{specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo,
		specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual}
	flags = []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog,
		specs.LinuxSeccompFlagSpecAllow, specs.LinuxSeccompFlagWaitKillableRecv}
)

// isArch accepts SCMP_ARCH_ and up to 32 capitals, digits and "_".
func isArch(s string) bool {
	rest, ok := strings.CutPrefix(s, "SCMP_ARCH_")
	return ok && rest != "" && len(rest) <= 32 && strings.Trim(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// isName accepts up to 64 small letters, digits and "_", no digit first.
func isName(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == "" && (s[0] < '0' || s[0] > '9')
}

// Parse reads a profile. Errors read `seccomp profile: syscalls[3]: ...`.
func Parse(raw []byte) (Profile, error) {
	p, err := parse(raw)
	if err != nil {
		return Profile{}, fmt.Errorf("seccomp profile: %w", err)
	}
	return p, nil
}

func parse(raw []byte) (Profile, error) {
	if len(raw) > MaxSize {
		return Profile{}, fmt.Errorf("%d bytes, at most %d", len(raw), MaxSize)
	}
	if err := distinct(raw); err != nil {
		return Profile{}, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var p Profile
	if err := dec.Decode(&p); err != nil {
		return Profile{}, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return Profile{}, errors.New("data after the profile")
	}
	if err := p.check(); err != nil {
		return Profile{}, err
	}
	return p, nil
}

// check holds values to what the runtime-spec knows.
func (p Profile) check() error {
	if !slices.Contains(actions, p.Default) {
		return fmt.Errorf("defaultAction %q", p.Default)
	}
	if p.DefaultErrno != nil && *p.DefaultErrno > maxErrno {
		return fmt.Errorf("defaultErrnoRet %d, at most %d", *p.DefaultErrno, maxErrno)
	}
	for _, a := range p.Arches {
		if !isArch(string(a)) {
			return fmt.Errorf("architecture %q", a)
		}
	}
	for _, f := range p.Flags {
		if !slices.Contains(flags, f) {
			return fmt.Errorf("flag %q", f)
		}
	}
	if len(p.Rules) > maxRules {
		return fmt.Errorf("%d syscalls entries, at most %d", len(p.Rules), maxRules)
	}
	for i, r := range p.Rules {
		if err := r.check(); err != nil {
			return fmt.Errorf("syscalls[%d]: %w", i, err)
		}
	}
	return nil
}

func (r Rule) check() error {
	if !slices.Contains(actions, r.Action) {
		return fmt.Errorf("action %q", r.Action)
	}
	if r.Errno != nil && *r.Errno > maxErrno {
		return fmt.Errorf("errnoRet %d, at most %d", *r.Errno, maxErrno)
	}
	if len(r.Names) > maxNames {
		return fmt.Errorf("%d names, at most %d", len(r.Names), maxNames)
	}
	for _, n := range r.Names {
		if !isName(n) {
			return fmt.Errorf("name %q", n)
		}
	}
	if len(r.Args) > maxArgs {
		return fmt.Errorf("%d args, at most %d", len(r.Args), maxArgs)
	}
	for _, a := range r.Args {
		if a.Index >= maxArgs {
			return fmt.Errorf("argument %d, a call has %d", a.Index, maxArgs)
		}
		if !slices.Contains(operators, a.Op) {
			return fmt.Errorf("op %q", a.Op)
		}
	}
	return nil
}

// keys are all keys of the format: no two objects of it share a name for
// different things.
var keys = []string{"defaultAction", "defaultErrnoRet", "architectures", "flags", "listenerPath", "listenerMetadata", "syscalls",
	"names", "action", "errnoRet", "args", "index", "value", "valueTwo", "op"}

// distinct refuses what encoding/json lets pass: a key that appears twice in
// one object or differs from the format's in case, null, and deep nesting.
func distinct(raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	type level struct {
		keys  map[string]bool // nil in an array
		value bool            // the next token of the object is a value
	}
	var open []level
	for {
		t, err := dec.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if t == nil {
			return errors.New("null")
		}
		if len(open) > 0 {
			top := &open[len(open)-1]
			if key, ok := t.(string); ok && top.keys != nil && !top.value {
				if !slices.Contains(keys, key) {
					return fmt.Errorf("unknown key %q", key)
				}
				if top.keys[key] {
					return fmt.Errorf("key %q appears twice", key)
				}
				top.keys[key], top.value = true, true
				continue
			}
			top.value = false
		}
		switch t {
		case json.Delim('{'):
			open = append(open, level{keys: map[string]bool{}})
		case json.Delim('['):
			open = append(open, level{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) > maxDepth {
			return fmt.Errorf("nested more than %d deep", maxDepth)
		}
	}
}
