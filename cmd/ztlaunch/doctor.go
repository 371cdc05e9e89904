//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/ztlaunch/ztlaunch/launch/host"
	"github.com/ztlaunch/ztlaunch/launch/rootfs"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// checkup is the JSON of `doctor`.
type checkup struct {
	header
	Kernel    string     `json:"kernel"`
	Cgroups   string     `json:"cgroups"`
	Nested    string     `json:"nested,omitempty"`
	Verify    bool       `json:"verify"` // always: verification needs nothing of the host
	Launch    bool       `json:"launch"`
	Integrity string     `json:"integrity,omitempty"` // how roots would be held: the strongest form, tried
	Refusal   *failure   `json:"refusal,omitempty"`   // why launch would be refused
	Abilities []ability  `json:"abilities"`
	Trust     *rootShown `json:"trust,omitempty"`        // the Sigstore root in force
	Distrust  *failure   `json:"trustRefusal,omitempty"` // why there is none that counts
}

type ability struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Why  string `json:"why,omitempty"`
	Fix  string `json:"fix,omitempty"`
}

// doctorVerb tries what this host can enforce, and looks at the Sigstore root in
// force. It exits 0 when tasks can be launched and 3 when they cannot; a root that
// cannot be read has its own status.
func doctorVerb(ctx context.Context, w world, args []string) int {
	fs := newFlags("doctor", true)
	if err := w.parse(fs, "[--json]", args); err != nil {
		return w.parsed("doctor", err)
	}
	if fs.NArg() > 0 {
		return w.fail("doctor", wrong("read the command", "no word behind it, found "+fs.Arg(0), "ztlaunch doctor"))
	}
	did, inside, unfit := w.inside(host.Quick(), "")
	if inside {
		return did
	}
	h := host.Probe("")
	c := checkup{header: header{"ztlaunch.doctor/v1", 0}, Kernel: h.Kernel, Cgroups: string(h.Cgroups), Nested: h.Nested, Verify: true}
	for _, a := range h.Abilities {
		c.Abilities = append(c.Abilities, ability{a.Name, a.OK, a.Why, a.Fix})
	}
	err := cmp.Or(unfit, h.Launch())
	if err == nil {
		var p programs
		if p, err = w.dirs().programs(h); err == nil {
			p.close()
		}
	}
	if err == nil && !h.Initial {
		err = bounded(h)
	}
	if err == nil {
		c.Integrity, err = strongest(ctx)
	}
	if c.Launch = err == nil; !c.Launch {
		c.Exit = status(err)
		f := asFailure(err, c.Exit)
		c.Refusal = &f
	}
	in, bad := w.dirs().rootInForce()
	if bad != nil {
		c.Exit = reason.Worst(c.Exit, status(bad))
		f := asFailure(bad, c.Exit)
		c.Distrust = &f
	} else {
		shown := in.shown(w.now())
		c.Trust = &shown
	}
	return reason.Worst(c.Exit, w.done("doctor", c, c.text(err, bad)))
}

// bounded refuses a host on which a task's limits would not hold.
func bounded(h host.Host) error {
	if missing := h.Unlimited("memory", "cpu"); len(missing) > 0 {
		return &reason.Error{Code: reason.LimitsUnenforceable, What: "limit a task", Expected: "control groups that this user may make",
			Found: "nothing that could bound " + strings.Join(missing, ", "), Next: "as root: sudo ztlaunch run ..."}
	}
	return nil
}

// strongest is the form that roots would have.
func strongest(ctx context.Context) (string, error) {
	if onlyForm != "" {
		return onlyForm, nil
	}
	form, err := rootfs.Strongest(ctx)
	return string(form), err
}

// forms says what each form is to a person.
var forms = map[rootfs.Form]string{
	rootfs.InRAMFS:   "roots sealed in memory",
	rootfs.InLoop:    "roots sealed in memory behind a loop device, hashed again while they run",
	rootfs.Extracted: "roots extracted into memory for each task, hashed again while they run",
}

func (c checkup) text(refused, bad error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "kernel %s, cgroups %s\n", c.Kernel, c.Cgroups)
	for _, a := range c.Abilities {
		mark := "yes"
		if !a.OK {
			mark = "NO "
		}
		fmt.Fprintf(&b, "  %s %-18s %s\n", mark, a.Name, clean(a.Why))
		if a.Fix != "" {
			fmt.Fprintf(&b, "      fix: %s\n", a.Fix)
		}
	}
	fmt.Fprintln(&b, "verify: works")
	if refused == nil {
		fmt.Fprintln(&b, "run:    works, "+forms[rootfs.Form(c.Integrity)])
	} else {
		fmt.Fprintln(&b, "run:    refused")
		refusal(&b, "run", refused)
	}
	if bad == nil {
		fmt.Fprintf(&b, "trust:  Sigstore root (%s) %s\n", c.Trust.By, c.Trust.age())
	} else {
		fmt.Fprintln(&b, "trust:  refused")
		refusal(&b, "doctor", bad)
	}
	return b.String()
}
