//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// runFlags are the words of one `run`: docker's, with docker's meaning, and
// ours.
type runFlags struct {
	trustFlags
	fetchFlags
	layoutFlags
	env, envFiles, volumes, mounts, tmpfs, labels, models, unsafe []string
	caps, groups, hosts                                           []string
	workDir, user, name, entrypoint, network, hostname            string
	memory, result, task, as, cidfile                             string
	cpus                                                          float64
	pids                                                          int64
	interactive, terminal                                         bool
	set                                                           *pflag.FlagSet
}

// flags declares them. Those that docker has and that change nothing here are
// accepted: what they ask for is always so.
func (f *runFlags) flags() *pflag.FlagSet {
	fs := newFlags("run", false)
	f.set = fs
	fs.BoolVarP(&f.interactive, "interactive", "i", false, "keep standard input open")
	fs.BoolVarP(&f.terminal, "tty", "t", false, "give the task a terminal")
	fs.Bool("rm", true, "remove the task when it ends (always so)")
	fs.StringArrayVarP(&f.env, "env", "e", nil, "NAME=VALUE, or NAME to take it from here")
	fs.StringArrayVar(&f.envFiles, "env-file", nil, "read variables from a file")
	fs.StringArrayVarP(&f.volumes, "volume", "v", nil, "SOURCE:TARGET[:ro]; :exec where the policy's box grants it")
	fs.StringArrayVar(&f.mounts, "mount", nil, "type=bind,source=SOURCE,target=TARGET[,readonly]")
	fs.StringArrayVar(&f.tmpfs, "tmpfs", nil, "TARGET[:size=64m,mode=1777]")
	fs.StringVarP(&f.workDir, "workdir", "w", "", "working folder inside the task")
	fs.StringVarP(&f.user, "user", "u", "", "user[:group] inside the task")
	fs.StringArrayVar(&f.groups, "group-add", nil, "a further group inside the task")
	fs.StringArrayVar(&f.hosts, "add-host", nil, "NAME:ADDRESS, a line of /etc/hosts; it opens no way there")
	fs.StringVar(&f.name, "name", "", "a name for the task")
	fs.StringVar(&f.cidfile, "cidfile", "", "write the task's id to a new file")
	fs.StringVar(&f.entrypoint, "entrypoint", "", "replace the image's entry point")
	fs.StringVar(&f.network, "network", "none", "none, bridge or default: a task has only the ways out that it names")
	fs.StringVar(&f.network, "net", "none", "")
	fs.StringVarP(&f.memory, "memory", "m", "", "memory limit, for example 512m")
	fs.Float64Var(&f.cpus, "cpus", 0, "processors")
	fs.Int64Var(&f.pids, "pids-limit", 0, "most processes and threads")
	fs.StringArrayVar(&f.caps, "cap-add", nil, "a capability that the policy's box grants, for example CHOWN")
	fs.Bool("read-only", true, "mount the root read-only (always so)")
	fs.StringVarP(&f.hostname, "hostname", "h", "", "host name of the task")
	fs.StringArrayVarP(&f.labels, "label", "l", nil, "KEY=VALUE, recorded with the run")
	fs.StringArrayVar(&f.models, "model", nil, "NAME=DIR: an OpenSSF-signed model, read-only at /models/NAME")
	fs.StringVar(&f.task, "task", "", "a task file")
	fs.StringVar(&f.as, "as", "", "the name that the policy knows a folder or archive by")
	fs.StringVar(&f.result, "result", "", "write the outcome as JSON to FILE or fd:N")
	fs.StringArrayVar(&f.unsafe, "unsafe", nil, "no-limits: run where nothing can bound memory and processors; recorded")
	f.fetchFlags.declare(fs)
	f.trustFlags.declare(fs)
	f.layoutFlags.declare(fs)
	for _, r := range refusedFlags {
		if r.boolean {
			fs.BoolP(r.name, r.short, false, "")
		} else {
			fs.StringArrayP(r.name, r.short, nil, "")
		}
		fs.Lookup(r.name).Hidden = true
	}
	fs.Lookup("net").Hidden = true
	return fs
}

// refusedFlag is a docker flag that opens the box.
type refusedFlag struct {
	name, short string
	boolean     bool
	why, next   string
	harmless    []string // values that ask for what is always so
}

var refusedFlags = []refusedFlag{
	{name: "privileged", boolean: true, why: "a privileged task is root on the host",
		next: "drop it, and name the mounts, devices or addresses that the task needs"},
	{name: "pid", why: "it shows the task other processes", next: "drop it"},
	{name: "ipc", why: "it shares memory with other tasks", next: "drop it", harmless: []string{"private", "none"}},
	{name: "uts", why: "it shares the host's name", next: "drop it"},
	{name: "userns", why: "it makes root in the task root on the host", next: "drop it"},
	{name: "cgroupns", why: "it shows the host's control groups", next: "drop it", harmless: []string{"private"}},
	{name: "cgroup-parent", why: "it moves the task out of its limits", next: "drop it"},
	{name: "cap-drop", why: "", harmless: nil},
	{name: "device", why: "a task sees no host device", next: "drop it; no line of a policy allows it"},
	{name: "gpus", why: "a task sees no host device", next: "drop it; no line of a policy allows it"},
	{name: "security-opt", why: "it weakens the seccomp filter or the masked paths",
		next: "drop it; no line of a policy allows it", harmless: []string{"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"}},
	{name: "publish", short: "p", why: "a task has no network to publish from", next: "talk to it over its standard input and output"},
	{name: "publish-all", short: "P", boolean: true, why: "a task has no network to publish from", next: "drop it"},
	{name: "dns", why: "a task has no resolver", next: "drop it"},
	{name: "volumes-from", why: "it takes mounts that this task does not name", next: "name each mount with -v"},
	{name: "sysctl", why: "it changes kernel settings", next: "drop it"},
	{name: "ulimit", why: "limits come from the box", next: "use --memory, --cpus and --pids-limit"},
	{name: "runtime", why: "the runtime is pinned by hash", next: "drop it"},
	{name: "use-api-socket", boolean: true, why: "it gives the task the runtime's control socket", next: "drop it"},
	{name: "restart", why: "no daemon is there to restart a task", next: "restart it from your service manager"},
	{name: "init", boolean: true, why: "a task's own program is its first process", next: "drop it"},
	{name: "detach", short: "d", boolean: true, why: "this version runs tasks in the foreground only", next: "drop it, or use your service manager"},
}

// refuse names the first flag that would open the box.
func (f *runFlags) refuse() error {
	for _, r := range refusedFlags {
		set := f.set.Lookup(r.name)
		if !set.Changed || r.why == "" {
			continue
		}
		asked := []string{set.Value.String()}
		if r.boolean {
			if asked[0] == "false" {
				continue
			}
		} else {
			asked, _ = f.set.GetStringArray(r.name)
		}
		for _, v := range asked {
			if !slices.Contains(r.harmless, v) {
				return &reason.Error{Code: reason.FlagRefused, What: strings.TrimSuffix("--"+r.name+" "+v, " true"),
					Expected: "a flag that keeps the box closed", Found: r.why, Next: r.next}
			}
		}
	}
	for i, c := range f.caps {
		f.caps[i] = strings.TrimPrefix(strings.ToUpper(c), "CAP_")
		if !slices.Contains(policy.Capabilities, f.caps[i]) {
			return &reason.Error{Code: reason.FlagRefused, What: "--cap-add " + c, Expected: "one of " + strings.Join(policy.Capabilities, ", "),
				Found: "one that reaches beyond the task", Next: "run the program as a user that needs none"}
		}
	}
	if !slices.Contains([]string{"none", "bridge", "default"}, f.network) {
		return &reason.Error{Code: reason.FlagRefused, What: "--network " + f.network, Expected: "--network none, bridge or default, which are one here",
			Found: "a network that the task did not name the destinations of",
			Next:  "drop it; no line of a policy allows it. MCP servers that a task file names are reached without: servers: {NAME: IMAGE}"}
	}
	for _, name := range []string{"rm", "read-only"} {
		if v := f.set.Lookup(name); v.Changed && v.Value.String() == "false" && name == "read-only" {
			return &reason.Error{Code: reason.FlagRefused, What: "--read-only=false", Expected: "a read-only root",
				Found: "a request for a writable one", Next: "--tmpfs TARGET, or -v FOLDER:TARGET for what has to stay"}
		}
	}
	return nil
}

// task turns the flags into what the plan is asked for.
func (f *runFlags) ask(w world, id string, command []string) (plan.Task, error) {
	t := plan.Task{ID: id, Name: f.name, Labels: f.labels, Command: command, WorkDir: f.workDir, User: f.user,
		Groups: f.groups, Hostname: f.hostname, Terminal: f.terminal, Unsafe: f.unsafe, Typed: true}
	if f.name != "" && !plainName(f.name) {
		return plan.Task{}, wrong("read --name "+f.name, "letters, digits, dot, dash and underscore, 64 at most, that begin with a letter or digit", "--name agent")
	}
	if f.hostname != "" && (!plainName(f.hostname) || strings.Contains(f.hostname, "_") || strings.Contains(f.hostname, "..")) {
		return plan.Task{}, wrong("read --hostname", "letters, digits, dot and dash, 64 at most, that begin with a letter or digit", "--hostname agent")
	}
	for _, word := range f.unsafe {
		if word != plan.NoLimits {
			return plan.Task{}, wrong("read --unsafe "+word, plan.NoLimits, "drop it")
		}
	}
	if f.set.Changed("entrypoint") {
		t.Entrypoint = &f.entrypoint
	}
	var err error
	if t.Hosts, err = hostNames(f.hosts); err != nil {
		return plan.Task{}, err
	}
	if t.Env, err = w.environment(f.envFiles, f.env); err != nil {
		return plan.Task{}, err
	}
	if f.memory != "" {
		if t.Limits.Memory, err = byteSize(f.memory); err != nil {
			return plan.Task{}, err
		}
	}
	if f.set.Changed("memory") && t.Limits.Memory <= 0 || f.set.Changed("cpus") && f.cpus <= 0 || f.set.Changed("pids-limit") && f.pids <= 0 {
		return plan.Task{}, wrong("read the limits", "--memory, --cpus and --pids-limit above 0: a task always has limits", "drop the flag for the default")
	}
	t.Caps = f.caps
	t.Limits.CPUs, t.Limits.Pids = f.cpus, f.pids
	for _, v := range f.volumes {
		m, err := volume(v)
		if err != nil {
			return plan.Task{}, err
		}
		t.Mounts = append(t.Mounts, m)
	}
	for _, v := range f.mounts {
		m, err := mountFlag(v)
		if err != nil {
			return plan.Task{}, err
		}
		t.Mounts = append(t.Mounts, m)
	}
	for _, v := range f.tmpfs {
		m, err := tmpfsFlag(v)
		if err != nil {
			return plan.Task{}, err
		}
		t.Mounts = append(t.Mounts, m)
	}
	return t, nil
}

// modelFlag reads NAME=DIR.
func modelFlag(v string) (name, dir string, err error) {
	name, dir, ok := strings.Cut(v, "=")
	if !ok || !plainName(name) || dir == "" {
		return "", "", wrong("read --model "+v, "NAME=DIR with a name of letters, digits, dot, dash and underscore", "--model main=./models/small")
	}
	return name, dir, nil
}

// flagError joins what went wrong in a compound flag with how to write it.
func flagError(flag, value, expected string) error {
	return wrong(fmt.Sprintf("read %s %s", flag, value), expected, "ztlaunch run --help")
}
