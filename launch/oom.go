package launch

import (
	"os"
	"strconv"
	"strings"
)

// outOfMemory says whether the kernel killed something of the task for want of
// memory. It is asked while the task's cgroup is still there.
func (r *run) outOfMemory() bool {
	for _, file := range []string{
		"/sys/fs/cgroup" + r.plan.Cgroup() + "/memory.events",             // cgroup v2
		"/sys/fs/cgroup/memory" + r.plan.Cgroup() + "/memory.oom_control", // cgroup v1 and hybrid
	} {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(raw)) {
			if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
				kills, err := strconv.Atoi(n)
				return err == nil && kills > 0
			}
		}
	}
	return false
}
