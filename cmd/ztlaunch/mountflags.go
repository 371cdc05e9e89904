//go:build linux

package main

import (
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// volume reads -v SOURCE:TARGET[:OPTIONS]. A missing source is an error: a launch
// makes nothing outside its box.
func volume(v string) (plan.Mount, error) {
	parts := strings.Split(v, ":")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return plan.Mount{}, flagError("-v", v, "SOURCE:TARGET[:ro]")
	}
	if !strings.ContainsRune(parts[0], '/') && parts[0] != "." && parts[0] != ".." {
		return plan.Mount{}, flagError("-v", v, "a path as the source; named volumes do not exist here, so write ./"+parts[0])
	}
	m := plan.Mount{Class: plan.Work, Target: path.Clean(parts[1])}
	if len(parts) == 3 {
		for o := range strings.SplitSeq(parts[2], ",") {
			switch o {
			case "ro":
				m.Class = plan.Input
			case "rw", "z", "Z", "private", "rprivate", "cached", "delegated", "consistent":
			case "exec":
				m.Exec = true
			default:
				return plan.Mount{}, flagError("-v", v, "an option of ro, rw or exec, not "+o)
			}
		}
	}
	var err error
	m.Source, err = openSource(parts[0])
	return m, err
}

// mountFlag reads --mount type=bind|tmpfs,source=,target=,readonly. A missing
// source is an error, as in docker.
func mountFlag(v string) (plan.Mount, error) {
	m := plan.Mount{Class: plan.Work}
	kind, source := "volume", ""
	for field := range strings.SplitSeq(v, ",") {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "type":
			kind = value
		case "source", "src":
			source = value
		case "target", "dst", "destination":
			m.Target = path.Clean(value)
		case "readonly", "ro":
			if on, err := strconv.ParseBool(value); value == "" || (err == nil && on) {
				m.Class = plan.Input
			} else if err != nil {
				return plan.Mount{}, flagError("--mount", v, "readonly, or readonly=true")
			}
		case "tmpfs-size":
			n, err := byteSize(value)
			if err != nil {
				return plan.Mount{}, err
			}
			m.Size = n
		case "tmpfs-mode":
			n, err := strconv.ParseUint(value, 8, 12)
			if err != nil {
				return plan.Mount{}, flagError("--mount", v, "tmpfs-mode in octal")
			}
			m.Mode = uint32(n)
		case "bind-propagation", "bind-recursive", "consistency":
		case "exec":
			m.Exec = true
		default:
			return plan.Mount{}, flagError("--mount", v, "type, source, target or readonly, not "+key)
		}
	}
	switch {
	case m.Target == "":
		return plan.Mount{}, flagError("--mount", v, "a target")
	case kind == "tmpfs":
		m.Class = plan.Scratch
		return m, nil
	case kind != "bind":
		return plan.Mount{}, flagError("--mount", v, "type=bind or type=tmpfs, not "+kind)
	}
	var err error
	m.Source, err = openSource(source)
	return m, err
}

// tmpfsFlag reads --tmpfs TARGET[:OPTIONS].
func tmpfsFlag(v string) (plan.Mount, error) {
	target, options, _ := strings.Cut(v, ":")
	m := plan.Mount{Class: plan.Scratch, Target: path.Clean(target)}
	for o := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "size":
			n, err := byteSize(value)
			if err != nil {
				return plan.Mount{}, err
			}
			m.Size = n
		case "mode":
			n, err := strconv.ParseUint(value, 8, 12)
			if err != nil {
				return plan.Mount{}, flagError("--tmpfs", v, "mode in octal")
			}
			m.Mode = uint32(n)
		case "", "rw", "noexec", "nosuid", "nodev":
		default: // exec too: nothing is executed from memory
			return plan.Mount{}, flagError("--tmpfs", v, "size or mode, not "+key)
		}
	}
	return m, nil
}

// homes are the home folders of this host's people: whoever the caller's environment
// names, root, and the accounts of passwd(5) that are neither a service's nor nobody's.
func homes() []string {
	var all []string
	if home, err := os.UserHomeDir(); err == nil {
		all = append(all, home)
	}
	raw, _ := os.ReadFile("/etc/passwd") // a host without one has no other people
	for line := range strings.Lines(string(raw)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) != 7 || !path.IsAbs(f[5]) {
			continue
		}
		if uid, err := strconv.ParseUint(f[2], 10, 32); err == nil && (uid == 0 || uid >= 1000 && uid < 65534) {
			all = append(all, f[5])
		}
	}
	return all
}

// openSource opens a mount's source once. The mount is made from this very
// descriptor: what the path means later does not matter. The descriptor lives
// as long as the process.
func openSource(asked string) (plan.Source, error) {
	unusable := func(err error) (plan.Source, error) {
		return plan.Source{}, &reason.Error{Code: reason.MountSource, What: "open the mount source " + strconv.Quote(asked),
			Expected: "an existing folder or file", Err: err, Next: "make it first, or mount another"}
	}
	if asked == "" {
		return unusable(os.ErrInvalid)
	}
	fd, err := unix.Open(asked, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return unusable(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return unusable(err)
	}
	real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil || !filepath.IsAbs(real) {
		return unusable(err)
	}
	kind := st.Mode & unix.S_IFMT
	return plan.Source{Asked: asked, Real: real, Handle: fd, Dir: kind == unix.S_IFDIR,
		Socket: kind != unix.S_IFDIR && kind != unix.S_IFREG, UID: st.Uid, GID: st.Gid, Homes: homes()}, nil
}
