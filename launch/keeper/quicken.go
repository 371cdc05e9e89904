package keeper

import (
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// quicken makes the kernel quick at moving processes between control groups for the
// next 50 ms or so. The runtime is about to move its init into the task's, for which
// the kernel takes one lock for writing, and who takes it after nobody did for some
// 15 ms waits for an RCU grace period first: 6 to 10 ms, a quarter of a warm launch,
// and idle. So it is taken here, beside the preparation and again and again. What is
// moved is a child that is dead and not yet waited for: such a one is in no group any
// more, so nothing and nobody changes place. Where it cannot be done a launch is only
// slower.
func quicken(dead int) {
	in, err := hierarchies()
	if err != nil || len(in) == 0 {
		return
	}
	list, err := os.OpenFile(filepath.Join(in[0].path, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer list.Close()
	for range 10 {
		if _, err := list.WriteString(strconv.Itoa(dead)); err != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}
