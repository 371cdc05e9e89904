//go:build linux

package main

import (
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/launch"
	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/launch/rootfs"
	"github.com/ztlaunch/ztlaunch/verify"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// outcome is what --result writes: how a run went, for machines. It agrees with
// the exit status.
type outcome struct {
	Schema    string      `json:"schema"`
	Exit      int         `json:"exit"`
	Task      string      `json:"task,omitempty"`
	Started   string      `json:"started,omitempty"`
	Ended     string      `json:"ended,omitempty"`
	Cause     reason.Code `json:"cause,omitempty"` // why it was ended, when it did not end by itself
	Tier      string      `json:"integrity,omitempty"`
	Unsafe    []string    `json:"unsafe,omitempty"` // the weaker modes that were typed
	Parts     []part      `json:"parts,omitempty"`
	Drift     []drift     `json:"drift,omitempty"`
	Failure   *failure    `json:"failure,omitempty"`
	Hint      *failure    `json:"hint,omitempty"` // why the task itself may have failed
	Resources *resources  `json:"limits,omitempty"`
}

// part is one artifact of the run.
type part struct {
	Kind    string        `json:"kind"`
	Name    string        `json:"name"`
	Digest  digest.Digest `json:"digest"`
	Tree    digest.Digest `json:"tree"`
	Policy  digest.Digest `json:"policy"`
	Allowed bool          `json:"allowed"`
	Adopted bool          `json:"adopted,omitempty"`
	Signers []string      `json:"signers,omitempty"`
	Local   bool          `json:"local"` // no socket was opened
}

type drift struct {
	Path     string      `json:"path"`
	Code     reason.Code `json:"code"`
	Expected string      `json:"expected"`
	Found    string      `json:"found"`
}

type resources struct {
	Memory int64   `json:"memoryBytes"`
	CPUs   float64 `json:"cpus"`
	Pids   int64   `json:"pids"`
	Time   string  `json:"time,omitempty"`
}

func (o *outcome) decision(r verify.Report) {
	sum, _ := r.Decision.Policy()
	adopted, _ := r.Decision.Adopted()
	o.Parts = append(o.Parts, part{Kind: r.Artifact.Kind().String(), Name: r.Artifact.Ref().Name(), Digest: r.Artifact.Digest(),
		Tree: r.Tree.Digest(), Policy: sum, Allowed: r.Decision.Allowed(), Adopted: adopted, Signers: signers(r), Local: r.Local})
}

func (o *outcome) start(p plan.Plan, tier rootfs.Form) {
	l := p.Limits()
	o.Task, o.Tier = p.ID(), string(tier)
	o.Resources = &resources{Memory: l.Memory, CPUs: l.CPUs, Pids: l.Pids}
	if l.Time > 0 {
		o.Resources.Time = l.Time.String()
	}
}

func (o *outcome) end(r launch.Result) {
	o.Started, o.Ended = r.Started.UTC().Format(time.RFC3339Nano), r.Ended.UTC().Format(time.RFC3339Nano)
	if r.Cause != nil {
		o.Cause = r.Cause.Code
	}
	for _, d := range r.Drift {
		o.Drift = append(o.Drift, drift{d.Path, d.Code, d.Expected, d.Found})
	}
}

// hint adds why the task may have failed.
func (o *outcome) hint(err error) {
	f := asFailure(err, 0)
	o.Hint = &f
}

// fill adds how the command ended.
func (o *outcome) fill(exit int, err error) {
	o.Exit = exit
	if err != nil {
		f := asFailure(err, exit)
		o.Failure = &f
	}
}
