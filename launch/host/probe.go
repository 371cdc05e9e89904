package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Probe is Quick with everything tried. Files and mount points that it needs are
// made in a new folder under scratch ("" is the default one) and removed. It
// takes some tens of milliseconds.
func Probe(scratch string) Host {
	h := Quick()
	dir, err := os.MkdirTemp(scratch, "ztlaunch-probe-")
	if err != nil {
		h.Abilities = []Ability{{Name: "scratch", Why: err.Error(), Fix: "make " + scratch + " writable"}}
		return h
	}
	defer os.RemoveAll(dir)
	for _, p := range []struct {
		name string
		try  func(dir string) (string, error)
		fix  string
	}{
		{"privilege", h.privilege, "sudo ztlaunch ..., on the host itself"},
		{"cgroups", h.cgroups, "mount the cgroup hierarchies: systemd does, or apt-get install cgroupfs-mount"},
		{"limits", h.limits, "sudo ztlaunch ...; boot with cgroup_enable=memory"},
		{"userns", userns, "sysctl user.max_user_namespaces=15000 kernel.apparmor_restrict_unprivileged_userns=0"},
		{"idmap", idmap, "a kernel from 6.3 on"},
		{"ramfs-sealed", ramfsSealed, "run as root on the host itself"},
		{"erofs-sealed", erofsSealed, "a kernel from 6.12 on with CONFIG_EROFS_FS_BACKED_BY_FILE; modprobe erofs"},
		{"loop", loop, "modprobe loop"},
		{"overlay", overlay, "modprobe overlay"},
		{"seal-proof", sealProof, "a kernel from 6.8 on"},
		{"seccomp", seccomp, "a kernel with CONFIG_SECCOMP_FILTER"},
		{"landlock", landlock, "boot with landlock in lsm="},
		{"fanotify", fanotify, "a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS, as root"},
		{"memfd-noexec", memfdNoexec, "a kernel from 6.3 on"},
		{"pidfd", pidfd, "a kernel from 5.10 on"},
		{"openat2", openat2, "a kernel from 5.6 on"},
		{"bpf-raw-tracepoint", func(string) (string, error) { return load(progRawTracepoint, 0, "") }, "run as root on the host itself"},
		{"bpf-cgroup-device", func(string) (string, error) { return load(progCgroupDevice, 0, "") }, "run as root on the host itself"},
		{"bpf-exec-guard", func(string) (string, error) {
			return load(progTracing, attachRawTracepoint, "btf_trace_sched_process_exec")
		},
			"a kernel with CONFIG_DEBUG_INFO_BTF, as root on the host itself"},
		{"bpf-lsm", func(string) (string, error) { return load(progLSM, attachLSM, "bpf_lsm_file_open") },
			"boot with bpf in lsm="},
	} {
		why, err := p.try(dir)
		a := Ability{Name: p.name, OK: err == nil, Why: why}
		if err != nil {
			a.Why, a.Fix = err.Error(), p.fix
			if errors.Is(err, unix.EPERM) && !h.Sysadmin { // whatever the kernel can
				a.Fix = "CAP_SYS_ADMIN: run as root, or give it to this container"
			}
		}
		h.Abilities = append(h.Abilities, a)
	}
	return h
}

func (h Host) privilege(string) (string, error) {
	if err := h.Launch(); err != nil {
		return "", err
	}
	if !h.Initial {
		return "CAP_SYS_ADMIN in a user namespace of " + strconv.FormatUint(h.IDs, 10) + " ids", nil
	}
	return "CAP_SYS_ADMIN in the first user namespace", nil
}

// cgroups makes and removes a cgroup in every hierarchy, as a launch does.
func (h Host) cgroups(string) (string, error) {
	if len(h.Hierarchies) == 0 {
		return "", errors.New("no cgroup hierarchy is mounted")
	}
	name := filepath.Join("ztlaunch", "probe-"+strconv.Itoa(os.Getpid()))
	for _, c := range h.Hierarchies {
		at := filepath.Join(c.Path, name)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return "", err
		}
		if err := unix.Rmdir(at); err != nil {
			return "", &os.PathError{Op: "rmdir", Path: at, Err: err}
		}
	}
	return fmt.Sprintf("%s, %d hierarchies", h.Cgroups, len(h.Hierarchies)), nil
}

func (h Host) limits(string) (string, error) {
	if missing := h.Unlimited("cpu", "memory", "pids"); len(missing) > 0 {
		return "", errors.New("no cgroup to bound " + strings.Join(missing, ", "))
	}
	return "cpu, memory, pids", nil
}

func userns(string) (string, error) {
	f, err := newUserns()
	if err != nil {
		return "", err
	}
	return "made with 65536 ids", f.Close()
}

// newUserns makes a user namespace that maps ids the way a task's is: with a
// child that is stopped at its first instruction and killed there.
func newUserns() (*os.File, error) {
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 2_000_000_000, Size: 65536}}
	if namespace("user") != firstUser { // which has its ids from 0 on
		ids[0].HostID = 0
	}
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	child, err := os.StartProcess("/proc/self/exe", []string{"ztlaunch-userns"}, &os.ProcAttr{Env: []string{}, Sys: &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, Ptrace: true, Pdeathsig: unix.SIGKILL,
	}})
	if err != nil {
		return nil, err
	}
	f, err := os.Open("/proc/" + strconv.Itoa(child.Pid) + "/ns/user")
	err = errors.Join(err, child.Kill())
	for {
		var status unix.WaitStatus
		_, werr := unix.Wait4(child.Pid, &status, unix.WALL, nil)
		if errors.Is(werr, unix.EINTR) || werr == nil && status.Stopped() {
			continue
		}
		err = errors.Join(err, werr)
		break
	}
	_ = child.Release()
	if err != nil && f != nil {
		f.Close()
		f = nil
	}
	return f, err
}
