// Package host says what this host can enforce: by trying it (Probe), or, where
// a launch cannot wait, by reading the few small files that it needs (Quick).
//
// An Ability is one thing that ztlaunch uses, tried the way ztlaunch uses it:
// mounted, loaded, marked, and undone at once. That a kernel lists a feature is
// never taken for the feature. Probing needs a private scratch folder and leaves
// nothing in it.
//
// The package holds no opinion on what a run must have, but for the one that no
// form does without (Launch). It does not know the OCI runtime, and does not
// foresee limits that others share: a launch that fails for want of memory or
// ids says so itself.
package host

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Host is what is known of this host.
type Host struct {
	Kernel      string      // release, "6.18.3-amd64"
	Cgroups     Mode        // which kinds of hierarchy are mounted
	Hierarchies []Hierarchy // as mounted
	Sysadmin    bool        // CAP_SYS_ADMIN is effective
	Initial     bool        // in the first user namespace
	Root        bool        // uid 0 here is uid 0 of the namespace above, so that no rlimit counts its processes
	IDs         uint64      // uids and gids of this user namespace, from 0 on without a gap
	Nested      string      // what shows that this is a container; "" if nothing does
	Abilities   []Ability   // from Probe; nil from Quick
}

// Ability is one thing that was tried.
type Ability struct {
	Name string // "erofs-sealed"
	OK   bool
	Why  string // what was seen: a version, or the error
	Fix  string // the command or change that would help; "" when OK or when nothing does
}

// Mode is the layout of control groups.
type Mode string

// The layouts. Hybrid has controllers on v1 and a cgroup2 hierarchy without.
const (
	V1     Mode = "v1"
	V2     Mode = "v2"
	Hybrid Mode = "hybrid"
	None   Mode = "none"
)

// Hierarchy is one mounted cgroup hierarchy.
type Hierarchy struct {
	Path        string
	Unified     bool     // cgroup2
	Controllers []string // of cgroup2: those of its root, when Path can be read
}

// Quick reads what a launch needs: under a millisecond, nothing tried. What
// cannot be read is told as absent.
func Quick() Host {
	var h Host
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		h.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	if b, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		h.Hierarchies = parseHierarchies(string(b))
	}
	for i := range h.Hierarchies {
		if c := &h.Hierarchies[i]; c.Unified {
			b, _ := os.ReadFile(filepath.Join(c.Path, "cgroup.controllers"))
			c.Controllers = strings.Fields(string(b))
		}
	}
	h.Cgroups = mode(h.Hierarchies)
	if b, err := os.ReadFile("/proc/thread-self/status"); err == nil {
		h.Sysadmin = hasCapability(string(b), unix.CAP_SYS_ADMIN)
	}
	h.Initial = namespace("user") == firstUser
	h.Root = rootAbove()
	h.IDs = min(mapped("uid"), mapped("gid"))
	h.Nested = nested()
	return h
}

// Controller reports whether some hierarchy can bound this resource: "memory",
// "cpu", "pids".
func (h Host) Controller(name string) bool {
	return slices.ContainsFunc(h.Hierarchies, func(c Hierarchy) bool { return slices.Contains(c.Controllers, name) })
}

// Unified reports whether controllers, and so device rules, are on cgroup2.
func (h Host) Unified() bool { return h.Cgroups == V2 }

// Ability gives what was found of one ability.
func (h Host) Ability(name string) (Ability, bool) {
	i := slices.IndexFunc(h.Abilities, func(a Ability) bool { return a.Name == name })
	if i < 0 {
		return Ability{}, false
	}
	return h.Abilities[i], true
}

// Unlimited names those of the controllers that no cgroup of this process's can
// bound: there is no hierarchy for it, or none in which it may make a cgroup, which
// is tried. It leaves the cgroup /ztlaunch, which every launch shares.
func (h Host) Unlimited(controllers ...string) []string {
	var none []string
	for _, controller := range controllers {
		if !slices.ContainsFunc(h.Hierarchies, func(c Hierarchy) bool {
			return slices.Contains(c.Controllers, controller) && ours(c.Path)
		}) {
			none = append(none, controller)
		}
	}
	return none
}

// ours says whether a launch may make its cgroup in the hierarchy at path.
func ours(path string) bool {
	at := filepath.Join(path, "ztlaunch")
	if err := unix.Mkdir(at, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return false
	}
	return unix.Faccessat(unix.AT_FDCWD, at, unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil
}

// rootAbove says whether uid 0 is one that the namespace above calls 0 too, as in
// the first one.
func rootAbove() bool {
	b, err := os.ReadFile("/proc/thread-self/uid_map")
	if err != nil {
		return true // nothing that would let a limit be taken for one
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "0" {
			return f[1] == "0"
		}
	}
	return false
}

// mapped counts the ids of a kind that the own user namespace has from 0 on.
func mapped(kind string) uint64 {
	b, err := os.ReadFile("/proc/thread-self/" + kind + "_map")
	if err != nil {
		return 0
	}
	var lines [][2]uint64
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return 0
		}
		first, err1 := strconv.ParseUint(f[0], 10, 64)
		count, err2 := strconv.ParseUint(f[2], 10, 64)
		if err1 != nil || err2 != nil {
			return 0
		}
		lines = append(lines, [2]uint64{first, count})
	}
	slices.SortFunc(lines, func(a, b [2]uint64) int { return cmp.Compare(a[0], b[0]) })
	next := uint64(0)
	for _, l := range lines {
		if l[0] != next {
			break
		}
		next += l[1]
	}
	return next
}

// taskIDs is how many ids a task has.
const taskIDs = 1 << 16

// Launch refuses a process that cannot launch as it is: without CAP_SYS_ADMIN, or in
// a user namespace with fewer ids than a task has. In one with enough of them roots
// are extracted, and package outer makes such a one where the host lets it.
//
// Code: host-cannot-launch.
func (h Host) Launch() error {
	e := &reason.Error{Code: reason.HostCannotLaunch, What: "launch on this host", Expected: "CAP_SYS_ADMIN in the first user namespace"}
	where := ""
	if h.Nested != "" {
		where = ", in a container (" + h.Nested + ")"
	}
	switch {
	case h.Sysadmin && (h.Initial || h.IDs >= taskIDs):
		return nil
	case !h.Initial && h.Sysadmin:
		e.Expected = "65536 uids and gids in this user namespace"
		e.Found = strconv.FormatUint(h.IDs, 10) + where
		e.Next = "run ztlaunch on the host itself; ztlaunch verify works here"
	case !h.Initial:
		e.Found = "another user namespace" + where
		e.Next = "run ztlaunch on the host itself; ztlaunch verify works here"
	case h.Nested != "":
		e.Found = "no CAP_SYS_ADMIN" + where
		e.Next = "run ztlaunch on the host itself, or give this container CAP_SYS_ADMIN; ztlaunch verify works here"
	default:
		e.Found = "no CAP_SYS_ADMIN"
		e.Next = "sudo ztlaunch run ...; ztlaunch verify works without"
	}
	return e
}

// The inode numbers of the first namespaces, fixed by the kernel
// (include/linux/proc_ns.h).
const (
	firstUser = "user:[4026531837]"
	firstPID  = "pid:[4026531836]"
)

// namespace is the calling thread's namespace of a kind: "user:[4026531837]".
func namespace(kind string) string {
	s, _ := os.Readlink("/proc/thread-self/ns/" + kind)
	return s
}

// hasCapability reads a bit of CapEff in /proc/PID/status.
func hasCapability(status string, capability uint) bool {
	for line := range strings.Lines(status) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err == nil && set>>capability&1 == 1
		}
	}
	return false
}

// nested looks for the marks that container engines leave.
func nested() string {
	for _, f := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(f); err == nil {
			return f
		}
	}
	if b, err := os.ReadFile("/proc/1/environ"); err == nil {
		for v := range strings.SplitSeq(string(b), "\x00") {
			if strings.HasPrefix(v, "container=") {
				return v
			}
		}
	}
	if pid := namespace("pid"); pid != "" && pid != firstPID {
		return "a pid namespace of its own"
	}
	return ""
}

// parseHierarchies finds the cgroup mounts in mountinfo (proc(5)).
func parseHierarchies(mountinfo string) []Hierarchy {
	var found []Hierarchy
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 {
			continue
		}
		h := Hierarchy{Path: unescape(l[4]), Unified: r[0] == "cgroup2"}
		switch r[0] {
		case "cgroup2":
		case "cgroup":
			for o := range strings.SplitSeq(r[2], ",") {
				switch {
				case o == "rw" || o == "ro" || strings.HasPrefix(o, "name=") || strings.Contains(o, "="):
				case o == "xattr" || o == "noprefix" || o == "clone_children" || o == "none":
				default:
					h.Controllers = append(h.Controllers, o)
				}
			}
		default:
			continue
		}
		found = append(found, h)
	}
	return found
}

// unescape undoes mountinfo's octal escapes.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func mode(in []Hierarchy) Mode {
	v1, v2 := false, false
	for _, h := range in {
		v1, v2 = v1 || !h.Unified, v2 || h.Unified
	}
	switch {
	case v1 && v2:
		return Hybrid
	case v1:
		return V1
	case v2:
		return V2
	}
	return None
}
