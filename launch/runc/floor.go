package runc

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/ztlaunch/ztlaunch/launch/program"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// A floor is the lowest acceptable version of one branch of a runtime, the
// branch being every version from its own up to the next row's.
type floor struct {
	branch, lowest string
}

// floors is what the published fixes of a runtime ask for. The last fix that all
// rows contain is CVE-2026-41579 (an image whose /dev is a symlink).
func floors(name string) []floor {
	switch name {
	case "runc":
		return []floor{{"1.3.0-rc.1", "1.3.6"}, {"1.4.0-rc.1", "1.4.3"}, {"1.5.0-rc.1", "1.5.0-rc.3"}}
	case "crun":
		return []floor{{"1.0", "1.28"}}
	}
	return nil
}

// kernelFloor: on these kernels (first bad, first good) device rules on cgroup
// v2 corrupt runc's memory before this version works around it.
var kernelFloor = struct{ from, to, lowest string }{"6.17", "7.2", "1.5.2"}

// Facts are what the floors ask about the host.
type Facts struct {
	Kernel  string // uname release, "6.18.3-amd64"
	Unified bool   // device rules go to cgroup v2
}

// Floor refuses a version of a runtime with published escapes.
//
// Codes: runtime-unknown, runtime-too-old.
func Floor(name, version string, host Facts) error {
	what := "check the version of " + name
	rows := floors(name)
	if rows == nil {
		return &reason.Error{Code: reason.RuntimeUnknown, What: what, Expected: "runc or crun", Found: name}
	}
	v, ok := parseVersion(version)
	if !ok {
		return &reason.Error{Code: reason.RuntimeUnknown, What: what, Expected: "a version", Found: strconv.Quote(version)}
	}
	var lowest []string
	good := false
	for i, f := range rows {
		lowest = append(lowest, f.lowest)
		branch, low := must(f.branch), must(f.lowest)
		next := i+1 < len(rows) && v.compare(must(rows[i+1].branch)) >= 0
		if v.compare(branch) >= 0 && !next && v.compare(low) >= 0 {
			good = true
		}
	}
	if kernel, ok := parseVersion(host.Kernel); ok && name == "runc" && host.Unified && good &&
		kernel.compare(must(kernelFloor.from)) >= 0 && kernel.compare(must(kernelFloor.to)) < 0 {
		lowest = []string{kernelFloor.lowest}
		good = v.compare(must(kernelFloor.lowest)) >= 0
	}
	if !good {
		return &reason.Error{Code: reason.RuntimeTooOld, What: what, Expected: strings.Join(lowest, ", ") + " or newer", Found: version,
			Next: "leave --runtime out: ztlaunch brings its own"}
	}
	return nil
}

// version is major, minor, patch and release candidate; a release has none, so
// it holds the highest number.
type version [4]int

const released = 1 << 30

// parseVersion reads "1.5.2", "1.28", "1.4.0-rc.3" or "1.0.0-rc6"; what a
// distribution appends does not count. A number has at most six digits.
func parseVersion(s string) (version, bool) {
	v := version{3: released}
	rest := s
	for i := range 3 {
		n, after, ok := number(rest)
		if !ok {
			return version{}, false
		}
		v[i] = n
		next, dot := strings.CutPrefix(after, ".")
		if _, _, more := number(next); !dot || !more {
			rest = after
			if i == 0 {
				return version{}, false
			}
			break
		}
		rest = next
	}
	if rc, ok := strings.CutPrefix(rest, "-rc"); ok {
		if n, _, ok := number(strings.TrimPrefix(rc, ".")); ok {
			v[3] = n
		}
	}
	return v, true
}

// number reads the digits that s begins with.
func number(s string) (n int, rest string, ok bool) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	if digits == 0 || digits > 6 {
		return 0, s, false
	}
	n, _ = strconv.Atoi(s[:digits]) // at most six digits
	return n, s[digits:], true
}

func must(s string) version {
	v, ok := parseVersion(s)
	if !ok {
		panic("runc: malformed row " + s)
	}
	return v
}

func (v version) compare(w version) int { return slices.Compare(v[:], w[:]) }

// Alternative accepts the operator's own runtime at path, held to its version
// floor and its `features`. Nothing binds the file that was hashed to the one
// that runs: the digest is for the record.
//
// Codes: runtime-absent, runtime-unreadable, runtime-unknown, runtime-too-old,
// runtime-no-seccomp.
func Alternative(ctx context.Context, path string, host Facts) (Runtime, error) {
	p, err := program.Open(path)
	if err != nil {
		return Runtime{}, err
	}
	r := Runtime{Program: p}
	if err := r.judge(ctx, host); err != nil {
		p.Close()
		return Runtime{}, err
	}
	return r, nil
}

func (r *Runtime) judge(ctx context.Context, host Facts) error {
	out, err := r.ask(ctx, "--version")
	if err != nil {
		return err
	}
	name, version, ok := parseBanner(string(out))
	if !ok {
		return &reason.Error{Code: reason.RuntimeUnknown, What: "check " + r.Path(), Expected: "runc or crun", Found: strconv.Quote(clean(string(out)))}
	}
	if err := Floor(name, version, host); err != nil {
		return err
	}
	r.version = version
	if out, err = r.ask(ctx, "features"); err != nil {
		return err
	}
	return ableTo(out)
}

// parseBanner reads the first line of --version: "runc version 1.5.2".
func parseBanner(s string) (name, version string, ok bool) {
	line, _, _ := strings.Cut(s, "\n")
	f := strings.Fields(line)
	if len(f) < 3 || f[1] != "version" {
		return "", "", false
	}
	return f[0], f[2], true
}

// ableTo reads the answer of `features` and refuses a runtime that would not
// install a seccomp filter or not make a namespace that every plan has.
func ableTo(answer []byte) error {
	const what = "read the runtime's features"
	var f features.Features
	if err := json.Unmarshal(answer, &f); err != nil {
		return &reason.Error{Code: reason.RuntimeUnknown, What: what, Err: err}
	}
	if f.Linux == nil || f.Linux.Seccomp == nil || f.Linux.Seccomp.Enabled == nil || !*f.Linux.Seccomp.Enabled {
		return &reason.Error{Code: reason.RuntimeNoSeccomp, What: what, Expected: "seccomp enabled", Found: "not enabled"}
	}
	for _, action := range []string{"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"} {
		if !slices.Contains(f.Linux.Seccomp.Actions, action) {
			return &reason.Error{Code: reason.RuntimeNoSeccomp, What: what, Expected: action, Found: fmt.Sprint(f.Linux.Seccomp.Actions)}
		}
	}
	for _, ns := range []string{"cgroup", "ipc", "mount", "network", "pid", "user", "uts"} {
		if !slices.Contains(f.Linux.Namespaces, ns) {
			return &reason.Error{Code: reason.RuntimeUnknown, What: what, Expected: ns + " namespaces", Found: fmt.Sprint(f.Linux.Namespaces)}
		}
	}
	return nil
}

// ask runs the runtime for its standard output, at most 1 MiB of it.
func (r Runtime) ask(ctx context.Context, args ...string) ([]byte, error) {
	out, err := memory("stdout")
	if err != nil {
		return nil, err
	}
	defer out.Close()
	if err := r.run(ctx, call{code: reason.RuntimeUnknown, what: "run " + r.Path() + " " + args[0], args: args, files: [3]*os.File{1: out}}); err != nil {
		return nil, err
	}
	return contents(out)
}
