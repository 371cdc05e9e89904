package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/admit"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// limits are what the task asked for, else the box's, else the defaults; one
// above the box is refused, never cut silently. What this host cannot bound is
// refused too, unless the operator typed NoLimits and nobody else demands a limit.
func limits(task Task, box admit.Box, h Host) (Limits, error) {
	b := box.Limits
	l := Limits{
		Memory: cmp.Or(task.Limits.Memory, b.Memory, defaults.Memory),
		CPUs:   cmp.Or(task.Limits.CPUs, b.CPUs, defaults.CPUs),
		Pids:   cmp.Or(task.Limits.Pids, b.Pids, defaults.Pids),
		Time:   cmp.Or(task.Limits.Time, b.Time),
	}
	over := func(name string, asked, cap any) error {
		return &reason.Error{Code: reason.LimitExceeded, What: "limit " + name,
			Expected: fmt.Sprintf("at most %v, as the policy's box says", cap), Found: fmt.Sprint(asked),
			Next: fmt.Sprintf("box: {limits: {%s: %v}}", name, asked)}
	}
	switch {
	case b.Memory > 0 && l.Memory > b.Memory:
		return Limits{}, over("memory", size(l.Memory), size(b.Memory))
	case b.CPUs > 0 && l.CPUs > b.CPUs:
		return Limits{}, over("cpus", l.CPUs, b.CPUs)
	case b.Pids > 0 && l.Pids > b.Pids:
		return Limits{}, over("pids", l.Pids, b.Pids)
	case b.Time > 0 && l.Time > b.Time:
		return Limits{}, over("time", l.Time, b.Time)
	case l.Memory < minMemory || l.CPUs < 0.01 || l.Pids < 1 || l.Time < 0:
		return Limits{}, &reason.Error{Code: reason.UsageWrong, What: "read the limits",
			Expected: "memory of at least 6m, cpus of at least 0.01, pids of at least 1",
			Found:    fmt.Sprintf("memory %d, cpus %v, pids %d", l.Memory, l.CPUs, l.Pids)}
	}
	return unlimited(l, task, box, h)
}

// size writes bytes as policies and task files do.
func size(n int64) string {
	for i, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if one := int64(1) << (40 - 10*i); n >= one && n%one == 0 {
			return strconv.FormatInt(n/one, 10) + unit
		}
	}
	return strconv.FormatInt(n, 10)
}

// unlimited takes away the limits that this host cannot enforce.
func unlimited(l Limits, task Task, box admit.Box, h Host) (Limits, error) {
	none := slices.Clone(h.Unlimited)
	if !h.PidsController && slices.Contains(task.Caps, "SETUID") && !slices.Contains(none, "pids") {
		none = append(none, "pids") // an rlimit counts each user's processes anew
	}
	refuse := func(expected string) error {
		return &reason.Error{Code: reason.LimitsUnenforceable, What: "limit the task", Expected: expected,
			Found: "nothing that could bound " + strings.Join(none, ", "), Next: "as root: sudo ztlaunch run ..."}
	}
	pids := slices.Contains(none, "pids")
	switch asked, b := task.Limits, box.Limits; {
	case len(none) == 0:
		return l, nil
	case !slices.Contains(task.Unsafe, NoLimits):
		return Limits{}, refuse("control groups that this user may make")
	case len(h.Unlimited) > 0 && (b.Memory > 0 || b.CPUs > 0), pids && b.Pids > 0:
		return Limits{}, refuse("the limits of the policy's box")
	case len(h.Unlimited) > 0 && (asked.Memory > 0 || asked.CPUs > 0), pids && asked.Pids > 0:
		return Limits{}, refuse("the limits that were asked for")
	}
	if len(h.Unlimited) > 0 {
		l.Memory, l.CPUs = 0, 0
	}
	if pids {
		l.Pids = 0
	}
	return l, nil
}

// minMemory is docker's floor: less, and the runtime's own init dies first.
const minMemory = 6 << 20

// cpuPeriod is the length of one scheduling period of a CPU quota.
const cpuPeriod = 100 * time.Millisecond
