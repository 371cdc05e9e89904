package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long processes that were killed, and cgroups that they were
// in, may take to go.
const patience = 20 * time.Second

// hierarchy is one mounted cgroup hierarchy.
type hierarchy struct {
	path    string
	unified bool // cgroup2
}

// hierarchies are those that this process sees, from mountinfo (proc(5)).
func hierarchies() ([]hierarchy, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []hierarchy
	for line := range strings.Lines(string(b)) {
		left, right, ok := strings.Cut(line, " - ")
		f := strings.Fields(left)
		if !ok || len(f) < 5 {
			continue
		}
		typ, _, _ := strings.Cut(right, " ")
		if typ == "cgroup" || typ == "cgroup2" {
			found = append(found, hierarchy{unescape(f[4]), typ == "cgroup2"})
		}
	}
	return found, nil
}

// unescape undoes mountinfo's octal escapes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// cleanCgroup kills every process in the cgroup name and removes it from all
// hierarchies. On the good path it is empty, and this is one rmdir for each.
func cleanCgroup(name string, in []hierarchy) error {
	left := slices.DeleteFunc(slices.Clone(in), func(h hierarchy) bool { return gone(filepath.Join(h.path, name)) })
	deadline := time.Now().Add(patience)
	for pause := time.Millisecond; len(left) > 0; pause = min(2*pause, 100*time.Millisecond) {
		if err := kill(name, left); err != nil {
			return err
		}
		var err error
		left = slices.DeleteFunc(left, func(h hierarchy) bool {
			e := removeCgroup(filepath.Join(h.path, name))
			if e != nil {
				err = e
			}
			return e == nil
		})
		if err != nil && time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup: %w", err)
		}
		if err != nil {
			time.Sleep(pause)
		}
	}
	return nil
}

// gone removes an empty cgroup.
func gone(dir string) bool {
	err := unix.Rmdir(dir)
	return err == nil || errors.Is(err, unix.ENOENT)
}

// removeCgroup removes a cgroup with those below it, deepest first.
func removeCgroup(dir string) error {
	if gone(dir) {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// kill kills the processes in the cgroup name: through cgroup.kill, which no
// fork outruns, and one by one, since in some hierarchies a process may be that
// is not yet in the others.
func kill(name string, in []hierarchy) error {
	for _, h := range in {
		if h.unified {
			// Not there before Linux 5.14, or the cgroup is not.
			_ = os.WriteFile(filepath.Join(h.path, name, "cgroup.kill"), []byte("1"), 0)
		}
	}
	// What is frozen does not fork; what was killed dies when it thaws.
	freeze(name, in, true)
	defer freeze(name, in, false)
	for _, h := range in {
		if err := killAll(filepath.Join(h.path, name)); err != nil {
			return err
		}
	}
	return nil
}

// freeze stops or resumes the cgroup where that can be done. It is a help
// against forks: the caller looks again until nothing is left.
func freeze(name string, in []hierarchy, on bool) {
	v1, v2 := "THAWED", "0"
	if on {
		v1, v2 = "FROZEN", "1"
	}
	for _, h := range in {
		dir := filepath.Join(h.path, name)
		if h.unified {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte(v2), 0)
		} else {
			_ = os.WriteFile(filepath.Join(dir, "freezer.state"), []byte(v1), 0)
		}
	}
}

// killAll kills the processes listed in a cgroup and those below it.
func killAll(dir string) error {
	pids, err := processes(dir)
	if err != nil || len(pids) == 0 {
		return err
	}
	held := make(map[int]int, len(pids))
	defer func() {
		for _, fd := range held {
			unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			held[pid] = fd
		}
	}
	// An id that is listed now, and whose process was held before, is its.
	again, err := processes(dir)
	if err != nil {
		return err
	}
	for _, pid := range again {
		if fd, ok := held[pid]; ok {
			if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
	}
	return nil
}

// processes are those in a cgroup and the cgroups below it; none if it is gone.
func processes(dir string) ([]int, error) {
	var pids []int
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(b) {
		if pid, err := strconv.Atoi(string(bytes.TrimSpace(line))); err == nil && pid > 1 {
			pids = append(pids, pid)
		}
	}
	entries, _ := os.ReadDir(dir) // none if it went meanwhile
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		below, err := processes(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		pids = append(pids, below...)
	}
	return pids, nil
}
