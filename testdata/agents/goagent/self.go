package main

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// box is what a task can see of the box that it is in, from /proc/self.
type box struct {
	PID        int               `json:"pid"`
	UID        int               `json:"uid"`
	GID        int               `json:"gid"`
	Groups     []int             `json:"groups"`
	UIDMap     [][]string        `json:"uid_map"`
	GIDMap     [][]string        `json:"gid_map"`
	Caps       map[string]string `json:"caps"` // CapInh, CapPrm, CapEff, CapBnd, CapAmb, in hex
	NoNewPrivs string            `json:"no_new_privs"`
	Seccomp    string            `json:"seccomp"`
	Filters    string            `json:"seccomp_filters"`
	Hostname   string            `json:"hostname"`
	Workdir    string            `json:"workdir"`
	Args       []string          `json:"args"`
	Env        []string          `json:"env"` // names only: values may be secrets
	Interfaces []string          `json:"interfaces"`
	Namespaces map[string]string `json:"namespaces"`
	Cgroup     []string          `json:"cgroup"`
	Files      map[string]string `json:"files"` // open descriptors
	Limits     map[string]string `json:"limits"`
	Mounts     []mount           `json:"mounts"`
}

type mount struct {
	Target  string   `json:"target"`
	Root    string   `json:"root"`
	Type    string   `json:"type"`
	Source  string   `json:"source"`
	Device  string   `json:"device"`
	Options []string `json:"options"` // of the mount, then of its superblock
}

// self reads it all; what cannot be read stays empty.
func self() box {
	b := box{
		PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid(), Args: os.Args,
		UIDMap: table("/proc/self/uid_map"), GIDMap: table("/proc/self/gid_map"),
		Caps: map[string]string{}, Namespaces: links("/proc/self/ns"), Files: links("/proc/self/fd"),
		Limits: map[string]string{}, Cgroup: lines("/proc/self/cgroup"),
	}
	b.Groups, _ = os.Getgroups()
	b.Hostname, _ = os.Hostname()
	b.Workdir, _ = os.Getwd()
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		b.Env = append(b.Env, name)
	}
	slices.Sort(b.Env)
	for _, line := range lines("/proc/self/status") {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case strings.HasPrefix(name, "Cap"):
			b.Caps[name] = value
		case name == "NoNewPrivs":
			b.NoNewPrivs = value
		case name == "Seccomp":
			b.Seccomp = value
		case name == "Seccomp_filters":
			b.Filters = value
		}
	}
	if all, err := net.Interfaces(); err == nil {
		for _, i := range all {
			b.Interfaces = append(b.Interfaces, i.Name)
		}
	}
	for name, resource := range map[string]int{"nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "core": unix.RLIMIT_CORE, "as": unix.RLIMIT_AS} {
		var l unix.Rlimit
		if unix.Getrlimit(resource, &l) == nil {
			b.Limits[name] = limit(l.Cur) + ":" + limit(l.Max)
		}
	}
	for _, line := range lines("/proc/self/mountinfo") {
		if m, ok := parseMount(line); ok {
			b.Mounts = append(b.Mounts, m)
		}
	}
	return b
}

// parseMount reads a line of mountinfo (proc(5)): fixed fields, optional ones up to
// a hyphen, then type, source and the superblock's options.
func parseMount(line string) (mount, bool) {
	left, right, ok := strings.Cut(line, " - ")
	l, r := strings.Fields(left), strings.Fields(right)
	if !ok || len(l) < 6 || len(r) < 3 {
		return mount{}, false
	}
	options := append(strings.Split(l[5], ","), strings.Split(r[2], ",")...)
	return mount{Target: l[4], Root: l[3], Type: r[0], Source: r[1], Device: l[2], Options: options}, true
}

func limit(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

func lines(file string) []string {
	body, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
}

func table(file string) [][]string {
	var rows [][]string
	for _, line := range lines(file) {
		rows = append(rows, strings.Fields(line))
	}
	return rows
}

func links(dir string) map[string]string {
	found := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return found
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			found[e.Name()] = target
		}
	}
	return found
}
