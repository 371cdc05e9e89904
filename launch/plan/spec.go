package plan

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Paths are where the launcher prepared what the plan names. All of them exist
// only in the launcher's private mount namespace.
type Paths struct {
	Root      string   // the mounted, verified root
	Back      string   // the same mounted a second time, for what is bound back into scratch memory
	Userns    string   // a file of procfs or nsfs that names the user namespace
	Files     string   // a folder with hosts, hostname, resolv.conf, mtab and mcp.json
	Scratches []string // one for each of Scratches
	Binds     []string // one for each of Binds
	Models    []string // one for each of Models
}

// Cgroup is the task's cgroup in every hierarchy, below the mount point.
func (p Plan) Cgroup() string { return "/ztlaunch/" + p.id }

// Spec is the OCI runtime configuration (runtime-spec 1.2.0) of the box.
func (p Plan) Spec(at Paths) *specs.Spec {
	s := &specs.Spec{
		Version:  "1.2.0",
		Hostname: p.hostname,
		Root:     &specs.Root{Path: at.Root, Readonly: true},
		Process: &specs.Process{
			Terminal:        p.terminal,
			User:            specs.User{UID: p.user.UID, GID: p.user.GID, AdditionalGids: p.user.Groups},
			Args:            p.args,
			Env:             p.env,
			Cwd:             p.cwd,
			Capabilities:    capSets(p.caps),
			NoNewPrivileges: true,
		},
		Mounts: p.mounts(at),
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.UserNamespace, Path: at.Userns},
				{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.CgroupNamespace},
			},
			Resources:     p.resources(),
			Seccomp:       p.seccomp,
			Sysctl:        map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"},
			MaskedPaths:   maskedPaths(),
			ReadonlyPaths: readonlyPaths(),
		},
	}
	if len(p.host.Unlimited) == 0 {
		s.Linux.CgroupsPath = p.Cgroup()
	}
	if p.terminal && p.console != (Size{}) {
		s.Process.ConsoleSize = &specs.Box{Height: uint(p.console.Rows), Width: uint(p.console.Columns)}
	}
	if !p.host.PidsController && p.limits.Pids > 0 {
		n := uint64(p.limits.Pids)
		s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NPROC", Hard: n, Soft: n}}
	}
	return s
}

func (p Plan) resources() *specs.LinuxResources {
	memory, shares := p.limits.Memory, uint64(cpuPeriod.Microseconds())
	quota := int64(p.limits.CPUs * float64(cpuPeriod.Microseconds()))
	r := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}}
	if len(p.host.Unlimited) > 0 {
		return r
	}
	r.Memory = &specs.LinuxMemory{Limit: &memory}
	r.CPU = &specs.LinuxCPU{Quota: &quota, Period: &shares}
	if p.host.PidsController {
		pids := p.limits.Pids
		r.Pids = &specs.LinuxPids{Limit: &pids}
	}
	return r
}

func (p Plan) mounts(at Paths) []specs.Mount {
	tmpfs := func(target, mode string, size int64) specs.Mount {
		return specs.Mount{Destination: target, Type: "tmpfs", Source: "tmpfs",
			Options: []string{"nosuid", "nodev", "noexec", "mode=" + mode, "size=" + strconv.FormatInt(size, 10)}}
	}
	ms := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "nodev", "noexec"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs",
			Options: []string{"nosuid", "noexec", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		tmpfs("/dev/shm", "1777", 64<<20),
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "nodev", "noexec"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "nodev", "noexec", "ro"}},
	}
	var asked []group
	bind := func(source, target string, options ...string) specs.Mount {
		return specs.Mount{Destination: target, Type: "bind", Source: source,
			Options: append([]string{"bind", "nosuid", "nodev", "rprivate"}, options...)}
	}
	for i, s := range p.scratches {
		g := group{s.Target, []specs.Mount{bind(at.Scratches[i], s.Target, "rw", "noexec")}}
		for _, back := range s.Back {
			g.mounts = append(g.mounts, bind(path.Join(at.Back, back), "/"+back, "ro"))
		}
		asked = append(asked, g)
	}
	for i, m := range p.models {
		asked = append(asked, group{m.Target, []specs.Mount{bind(at.Models[i], m.Target, "ro", "noexec")}})
	}
	for i, b := range p.binds {
		mode, exec := "rw", "noexec"
		if b.ReadOnly {
			mode = "ro"
		}
		if b.Exec {
			exec = "exec"
		}
		asked = append(asked, group{b.Target, []specs.Mount{bind(at.Binds[i], b.Target, mode, exec)}})
	}
	ms = append(ms, outermostFirst(asked)...)
	for _, f := range []string{"hosts", "hostname", "resolv.conf"} {
		ms = append(ms, bind(path.Join(at.Files, f), "/etc/"+f, "ro", "noexec"))
	}
	if len(p.servers) > 0 {
		ms = append(ms, bind(path.Join(at.Files, "mcp.json"), "/run/ztlaunch/mcp.json", "ro", "noexec"))
	}
	return ms
}

// group is one target with what is mounted at and below it.
type group struct {
	target string
	mounts []specs.Mount
}

// outermostFirst orders mounts so that none hides another.
func outermostFirst(groups []group) []specs.Mount {
	slices.SortStableFunc(groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(strings.Count(a.target, "/"), strings.Count(b.target, "/")), cmp.Compare(a.target, b.target))
	})
	var ms []specs.Mount
	for _, g := range groups {
		ms = append(ms, g.mounts...)
	}
	return ms
}

// maskedPaths are docker's, plus what a task of this box never needs.
func maskedPaths() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/proc/kallsyms",
		"/proc/kmsg", "/proc/kpagecount", "/proc/kpageflags", "/proc/kpagecgroup", "/proc/mdstat", "/proc/modules",
		"/sys/firmware", "/sys/fs", "/sys/kernel", "/sys/module", "/sys/devices/virtual/powercap",
	}
}

// readonlyPaths are docker's.
func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// Hosts is the task's /etc/hosts. Each name in names has a loopback address of
// its own: the only destinations there are, and looked up before what was typed.
func (p Plan) Hosts(names map[string]string) []byte {
	b := []byte("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	b = fmt.Appendf(b, "127.0.0.1\t%s\n", p.hostname)
	for _, n := range sorted(names) {
		b = fmt.Appendf(b, "%s\t%s\n", names[n], n)
	}
	for _, h := range p.hosts {
		b = fmt.Appendf(b, "%s\t%s\n", h.Addr, h.Name)
	}
	return b
}
