package plan

import (
	"path"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// closed lists host folders whose content opens the box whatever the mount
// options: neither they, nor anything inside, nor a folder that holds one of
// them may be a source.
var closed = []string{"/proc", "/sys", "/dev", "/run", "/var/run", "/boot", "/var/lib/docker",
	"/var/lib/containers", "/var/lib/containerd", "/var/lib/ztlaunch", "/etc/ssh", "/etc/ztlaunch"}

// programs are host folders of programs: what a task wrote there, the host would run.
var programs = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}

// sockets are the control sockets of runtimes and desktops, by base name.
var sockets = []string{"docker.sock", "podman.sock", "containerd.sock", "crio.sock", "buildkitd.sock", "system_bus_socket"}

// admitSource refuses a host path that would open the box, own being the
// launcher's folders. It judges where the descriptor really is, not what the
// operator wrote.
func admitSource(m Mount, own []string) error {
	real := path.Clean(m.Source.Real)
	refuse := func(why string) error {
		return &reason.Error{Code: reason.MountRefused, What: "mount " + m.Source.Asked + " at " + m.Target,
			Expected: "a folder or file of the task's own", Found: why,
			Next: "mount the one folder that the task needs, for example -v ./work:/work"}
	}
	switch {
	case m.Source.Socket:
		return refuse("a socket: whoever serves it acts outside the box")
	case slices.Contains(sockets, path.Base(real)):
		return refuse("a runtime's control path")
	case real == "/":
		return refuse("the host's root")
	}
	for _, c := range slices.Concat(closed, own) {
		if within(real, c) || within(c, real) {
			return refuse(real + ", which holds or is part of the host's " + c)
		}
	}
	for _, c := range programs {
		if m.Class == Work && within(real, c) {
			return refuse(real + ", a part of the host's " + c + ": what is written there, the host runs; as an input (:ro) it can be mounted")
		}
	}
	homes := append([]string{"/home"}, m.Source.Homes...)
	if rest, ok := strings.CutPrefix(real, "/home/"); ok { // also of people that no list here knows
		name, _, _ := strings.Cut(rest, "/")
		homes = append(homes, "/home/"+name)
	}
	for _, home := range homes {
		home = path.Clean(home)
		switch rel := strings.TrimPrefix(real, home+"/"); {
		case home == "/" || home == ".":
		case within(home, real):
			return refuse("a home folder, which holds keys and credentials")
		case within(real, home) && strings.HasPrefix(rel, "."):
			return refuse("a dot folder of a home folder, where keys and credentials lie")
		}
	}
	return nil
}

// ownTargets are paths that the box provides itself.
var ownTargets = []string{"/", "/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/ztlaunch"}

// admitTarget refuses a target that would hide or replace a part of the box.
func admitTarget(m Mount) error {
	refuse := func(found string) error {
		return &reason.Error{Code: reason.MountTarget, What: "mount at " + m.Target,
			Expected: "an absolute path that the box does not provide itself", Found: found,
			Next: "choose another target, for example /work"}
	}
	if !path.IsAbs(m.Target) || path.Clean(m.Target) != m.Target || strings.ContainsAny(m.Target, "\x00\n") {
		return refuse(m.Target)
	}
	for _, own := range ownTargets {
		if m.Target == own || own != "/" && (within(m.Target, own) || within(own, m.Target)) {
			return refuse(own + " belongs to the box")
		}
	}
	return nil
}

// within says whether the clean absolute path p is dir or lies inside it.
func within(p, dir string) bool {
	return dir == "/" || p == dir || strings.HasPrefix(p, dir+"/")
}
