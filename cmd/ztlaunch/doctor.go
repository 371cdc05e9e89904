package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/ztlaunch/ztlaunch/launch/host"
)

// checkup is the JSON of `doctor`.
type checkup struct {
	Schema    string    `json:"schema"`
	Kernel    string    `json:"kernel"`
	Cgroups   string    `json:"cgroups"`
	Nested    string    `json:"nested,omitempty"`
	Verify    bool      `json:"verify"` // always: verification needs nothing of the host
	Launch    bool      `json:"launch"`
	Refusal   *failure  `json:"refusal,omitempty"` // why launch would be refused
	Abilities []ability `json:"abilities"`
}

type ability struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Why  string `json:"why,omitempty"`
	Fix  string `json:"fix,omitempty"`
}

// doctorVerb tries what this host can enforce. It exits 0 when tasks can be
// launched and 3 when they cannot.
func doctorVerb(_ context.Context, w world, args []string) int {
	fs := newFlags("doctor", true)
	asJSON := fs.Bool("json", false, "print JSON")
	if err := w.parse(fs, "[--json]", args); err != nil {
		return w.parsed("doctor", err)
	}
	h := host.Probe("")
	c := checkup{Schema: "ztlaunch.doctor/v1", Kernel: h.Kernel, Cgroups: string(h.Cgroups), Nested: h.Nested, Verify: true}
	for _, a := range h.Abilities {
		c.Abilities = append(c.Abilities, ability{a.Name, a.OK, a.Why, a.Fix})
	}
	err := h.Launch()
	if err == nil {
		var p programs
		if p, err = w.dirs().programs(); err == nil {
			p.close()
		}
	}
	exit := 0
	if c.Launch = err == nil; !c.Launch {
		exit = status(err)
		f := asFailure(err, exit)
		c.Refusal = &f
	}
	var werr error
	if *asJSON {
		werr = writeJSON(w.out, c)
	} else {
		werr = w.printCheckup(c, err)
	}
	if werr = outputError(werr); werr != nil {
		return w.fail("doctor", werr)
	}
	return exit
}

func (w world) printCheckup(c checkup, refused error) error {
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
		fmt.Fprintln(&b, "run:    works, root sealed in memory")
	} else {
		fmt.Fprintln(&b, "run:    refused")
		refusal(&b, "run", refused)
	}
	_, err := io.WriteString(w.out, b.String())
	return err
}
