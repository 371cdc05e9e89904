// Package plan turns an admission and a task into a Plan: the whole OCI runtime
// configuration of the box, and what the launcher has to prepare for it.
//
// The box, before any grant: the verified tree read-only; user, mount, pid, ipc,
// uts, network and cgroup namespaces of its own; no capability in any set;
// no_new_privs; a seccomp filter; proc with the usual paths masked or read-only;
// a private /dev; noexec memory for /tmp, /run, HOME and the image's volumes; no
// network but lo; memory, cpu and task limits. A task adds only what it names,
// and only what the admission's box lets it.
//
// The package is pure: no clock, file, network or randomness. Equal inputs give
// equal plans, so a plan can be kept as a golden file and read as a contract.
// It does not check that the host can do what it plans: package host reports
// that, and the launch fails closed where a step is refused.
package plan

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/ztlaunch/ztlaunch/verify/admit"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// Plan is everything that a launch will do, decided. Only Build makes one; the
// zero value is refused by the launcher.
type Plan struct {
	id        string
	user      user
	args      []string
	env       []string
	cwd       string
	hostname  string
	hosts     []Name
	terminal  bool
	console   Size
	limits    Limits
	caps      []string
	program   string // the verified file that runs, "" when a mount has it
	seccomp   *specs.LinuxSeccomp
	missing   []Missing
	scratches []ScratchMount
	binds     []Bind
	models    []Model
	servers   []string
	host      Host
	stop      string
}

// Host is what the plan must know of the host, as a plain value.
type Host struct {
	PidsController bool     // a cgroup hierarchy can limit the number of tasks
	Unlimited      []string // what nothing can bound here: "memory", "cpu", "pids"
	Integrity      string   // how the roots are held: "sealed", "loop" or "extracted"
	Arch           string   // its processor, as in GOARCH; "" does not judge images
}

// Missing is a mount point that the verified tree lacks. The launcher makes it
// in a skeleton of empty folders and files above the tree, never in it.
type Missing struct {
	Path string // absolute, inside the task
	Dir  bool
}

// ScratchMount is memory that the task may write: never executable.
type ScratchMount struct {
	Target string
	Size   int64    // bytes
	Mode   uint32   // of its root
	UID    uint32   // of its root, inside the task
	GID    uint32   // of its root, inside the task
	Copy   []string // verified paths below Target to copy in, in order
	Back   []string // verified executables to bind back read-only
}

// Bind is a host folder or file in the task, made from an open descriptor.
type Bind struct {
	Source   Source
	Target   string
	ReadOnly bool
	Exec     bool
	UID, GID uint32 // inside the task; the source's owner outside
}

// Build decides the box of one run. It returns the first refusal: a flag or
// mount that would open the box, a limit above the policy's, a user or command
// that the verified image does not have.
func Build(a admit.Admission, t tree.Tree, task Task, who Accounts, seccomp *specs.LinuxSeccomp, h Host) (Plan, error) {
	switch {
	case a.Zero() || t.Zero() || seccomp == nil:
		return Plan{}, &reason.Error{Code: reason.InternalFault, What: "plan",
			Expected: "an admission, its tree and a seccomp profile", Found: "one of them is the zero value"}
	case a.Tree() != t.Digest():
		return Plan{}, &reason.Error{Code: reason.InternalFault, What: "plan",
			Expected: "the admitted tree " + a.Tree().String(), Found: t.Digest().String()}
	}
	if is := a.Artifact().Platform(); h.Arch != "" && is.Architecture != h.Arch {
		return Plan{}, &reason.Error{Code: reason.PlatformForeign, What: "plan " + a.Artifact().Ref().String(),
			Expected: "an image for linux/" + h.Arch, Found: is.String(), Next: "--platform linux/" + h.Arch + ", if the image has it"}
	}
	image := a.Artifact().Config().Config
	asked := task.User
	if asked == "" {
		asked = image.User
	}
	u, err := who.find(asked)
	if err == nil {
		u, err = who.join(u, task.Groups)
	}
	if err != nil {
		return Plan{}, err
	}
	p := Plan{id: task.ID, user: u, hosts: task.Hosts, terminal: task.Terminal, console: task.Console, seccomp: seccomp,
		models: task.Models, servers: slices.Sorted(slices.Values(task.Servers)), host: h, stop: image.StopSignal}
	if err := integrity(h.Integrity, a.Box().Integrity); err != nil {
		return Plan{}, err
	}
	if p.limits, err = limits(task, a.Box(), h); err != nil {
		return Plan{}, err
	}
	p.hostname = cmp.Or(task.Hostname, short(task.ID))
	p.cwd = cmp.Or(task.WorkDir, image.WorkingDir, "/")
	if !path.IsAbs(p.cwd) || within(path.Clean(p.cwd), "/proc") {
		return Plan{}, &reason.Error{Code: reason.MountTarget, What: "choose the working folder",
			Expected: "an absolute path outside /proc", Found: p.cwd, Next: "-w /PATH"}
	}
	p.cwd = path.Clean(p.cwd)
	p.env = environment(task, image, p.hostname, u.Home)
	if p.args, err = arguments(task, image); err != nil {
		return Plan{}, err
	}
	if err := p.mount(task, a.Box(), t, volumes(image.Volumes)); err != nil {
		return Plan{}, err
	}
	if err := p.need(t); err != nil {
		return Plan{}, err
	}
	if p.program, err = findProgram(t, p.args[0], lookup(p.env, "PATH"), p.cwd, u, p.bound); err != nil {
		return Plan{}, err
	}
	p.caps, err = capabilities(task.Caps, a.Box())
	if err != nil {
		return Plan{}, err
	}
	return p, nil
}

// bound gives the host folder that the task mounts and that a path lies in.
func (p Plan) bound(at string) (in Bind, ok bool) {
	for _, b := range p.binds {
		if within(at, b.Target) && len(b.Target) >= len(in.Target) {
			in, ok = b, true
		}
	}
	return in, ok
}

// need lists the mount points, and the working folder, that the tree lacks. A
// point that is a symlink or of another type is refused: the image would decide
// where the mount lands.
func (p *Plan) need(t tree.Tree) error {
	type point struct {
		at  string
		dir bool
	}
	var points []point
	for _, s := range p.scratches {
		points = append(points, point{s.Target, true})
	}
	for _, b := range p.binds {
		points = append(points, point{b.Target, b.Source.Dir})
	}
	for _, m := range p.models {
		points = append(points, point{m.Target, true})
	}
	points = append(points, point{p.cwd, true})
	for i, pt := range points {
		if pt.at == "/" || p.inside(pt.at, i == len(points)-1) {
			continue
		}
		rel := strings.TrimPrefix(pt.at, "/")
		e, found := t.Lookup(rel)
		switch {
		case found && e.Type == tree.Dir && pt.dir, found && e.Type == tree.File && !pt.dir:
		case found && i == len(points)-1:
			if r, err := t.Resolve(rel); err != nil || r.Type != tree.Dir {
				return wrongPoint(pt.at, e)
			}
		case found:
			return wrongPoint(pt.at, e)
		default:
			if err := throughLink(t, rel); err != nil {
				return err
			}
			if !slices.Contains(p.missing, Missing{pt.at, pt.dir}) {
				p.missing = append(p.missing, Missing{pt.at, pt.dir})
			}
		}
	}
	slices.SortFunc(p.missing, func(a, b Missing) int { return cmp.Compare(a.Path, b.Path) })
	return nil
}

// inside says whether at lies below (or, for the working folder, at) a mount of
// the task, where the runtime can make the point itself.
func (p *Plan) inside(at string, same bool) bool {
	in := func(target string) bool { return within(at, target) && (same || at != target) }
	return slices.ContainsFunc(p.scratches, func(s ScratchMount) bool { return in(s.Target) }) ||
		slices.ContainsFunc(p.binds, func(b Bind) bool { return in(b.Target) }) ||
		slices.ContainsFunc(p.models, func(m Model) bool { return in(m.Target) })
}

// throughLink refuses a missing point whose parents lead over a symlink or a
// file of the image.
func throughLink(t tree.Tree, rel string) error {
	for dir := path.Dir(rel); dir != "."; dir = path.Dir(dir) {
		if e, ok := t.Lookup(dir); ok && e.Type != tree.Dir {
			return wrongPoint("/"+rel, e)
		}
	}
	return nil
}

func wrongPoint(at string, e tree.Entry) error {
	return &reason.Error{Code: reason.MountpointType, What: "mount at " + at,
		Expected: "an empty folder, or nothing", Found: "a " + e.Type.String() + " of the image at /" + e.Path,
		Next: "choose another target"}
}

// short is the first twelve digits of a task's id, as docker shows it.
func short(id string) string { return id[:min(12, len(id))] }

// volumes are the image's VOLUME paths in order.
func volumes(m map[string]struct{}) []string {
	var all []string
	for v := range m {
		if path.IsAbs(v) {
			all = append(all, path.Clean(v))
		}
	}
	slices.Sort(all)
	return all
}

// sorted are a map's keys in order.
func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// The parts of a plan that the launcher carries out.

// Zero reports a plan that Build did not make.
func (p Plan) Zero() bool { return p.id == "" }

// ID is the task's id.
func (p Plan) ID() string { return p.id }

// Missing are the mount points to make above the verified tree.
func (p Plan) Missing() []Missing { return p.missing }

// Scratches are the writable memory mounts.
func (p Plan) Scratches() []ScratchMount { return p.scratches }

// Binds are the host folders and files of the task.
func (p Plan) Binds() []Bind { return p.binds }

// Models are the verified model trees of the task.
func (p Plan) Models() []Model { return p.models }

// Servers are the names of the MCP servers bridged into the task.
func (p Plan) Servers() []string { return p.servers }

// Program is the path in the verified tree of the file that the task executes
// first; "" when a mount has it.
func (p Plan) Program() string { return p.program }

// Lent is the mount that the program lies in, and its path there, "" for the mount
// itself. It is told of programs that are named by a path alone: the Tree does not
// know what is in a mount.
func (p Plan) Lent() (from Bind, rel string, ok bool) {
	if p.program != "" || !strings.Contains(p.args[0], "/") {
		return Bind{}, "", false
	}
	at := p.args[0]
	if !path.IsAbs(at) {
		at = path.Join(p.cwd, at)
	}
	at = path.Clean(at)
	from, ok = p.bound(at)
	return from, strings.TrimPrefix(strings.TrimPrefix(at, from.Target), "/"), ok
}

// Limits are the limits in force.
func (p Plan) Limits() Limits { return p.limits }

// Terminal says whether the task has a pseudo-terminal.
func (p Plan) Terminal() bool { return p.terminal }

// Owner is the task's user, inside its user namespace.
func (p Plan) Owner() (uid, gid uint32) { return p.user.UID, p.user.GID }

// Hostname is the task's host name.
func (p Plan) Hostname() string { return p.hostname }

// StopSignal is the image's STOPSIGNAL, "" for SIGTERM.
func (p Plan) StopSignal() string { return p.stop }
