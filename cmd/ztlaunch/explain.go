//go:build linux

package main

import (
	"strings"

	"github.com/ztlaunch/ztlaunch/launch"
	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// explain says why a task that failed may have failed: its entry point changes
// owners or users, as many images do that expect docker's root, and it has no
// capability to.
func (b box) explain(p plan.Plan, parts launch.Parts) {
	script := ""
	if e, ok := parts.Tree.Lookup(p.Program()); ok && p.Program() != "" && e.Size <= 1<<20 {
		raw, err := readVerified(parts.Root, e)
		if err == nil && strings.HasPrefix(string(raw), "#!") {
			script = string(raw)
		}
	}
	programs, caps := p.Wants(script)
	if len(caps) == 0 {
		return
	}
	err := &reason.Error{Code: reason.CapNeeded, What: "the task failed, and it uses " + strings.Join(programs, ", "),
		Expected: "a program that changes no owner and no user", Found: "a task without " + strings.Join(caps, ", "),
		Next: "-u USER and its program, or --cap-add " + strings.Join(caps, " --cap-add ") + " with `box: {caps: [" + strings.Join(caps, ", ") + "]}` in the policy"}
	refusal(b.w.err, "run", err)
	b.outcome.hint(err)
}
