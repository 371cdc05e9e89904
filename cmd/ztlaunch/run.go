//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/term"

	"github.com/ztlaunch/ztlaunch/launch"
	"github.com/ztlaunch/ztlaunch/launch/audit"
	"github.com/ztlaunch/ztlaunch/launch/host"
	"github.com/ztlaunch/ztlaunch/launch/keeper"
	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/profiles"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/steps"
)

// runVerb verifies, admits and launches. This file is the only place where
// verification and launch meet.
func runVerb(ctx context.Context, w world, args []string) int {
	var f runFlags
	fs := f.flags()
	if err := w.parse(fs, "[flags] REF [CMD...]", args); err != nil {
		if errors.Is(err, errHelp) {
			return 0
		}
		refusal(w.err, "run", err)
		if out, rerr := openResult("--result", f.result); rerr == nil { // as far as it was read
			o := outcome{Schema: "ztlaunch.result/v1"}
			o.fill(125, err)
			_ = out.write(o) // the refusal stands
		}
		return 125
	}
	h := host.Quick()
	status, inside, err := w.inside(h, f.result)
	if inside {
		return status
	}
	r := runner{w: w, flags: &f, host: h, unfit: err, outcome: outcome{Schema: "ztlaunch.result/v1", Unsafe: f.unsafe}}
	out, err := openResult("--result", f.result)
	if err != nil {
		refusal(w.err, "run", err)
		return 125
	}
	status, err = r.run(ctx, fs.Args())
	if err != nil {
		refusal(w.err, "run", err)
		status = runStatus(err)
	}
	r.outcome.fill(status, err)
	if err := out.write(r.outcome); err != nil {
		refusal(w.err, "run", err)
		if status == 0 {
			status = 125
		}
	}
	return status
}

// runner is one run under way.
type runner struct {
	w       world
	flags   *runFlags
	records *records
	host    host.Host
	unfit   error // why this process cannot launch
	outcome outcome
	subject artifact.Reference // of the image, once it is read
	layout  steps.Files        // what --layout and --links name
	programs

	mu      sync.Mutex
	closing []func()
}

// later runs f when the run is over, last first. Servers start while the agent
// runs, so it may be called from several goroutines.
func (r *runner) later(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = append(r.closing, f)
}

func (r *runner) close() {
	r.mu.Lock()
	closing := r.closing
	r.mu.Unlock()
	for _, f := range slices.Backward(closing) {
		f()
	}
}

// run goes from the command line to the end of the task. Nothing is started
// unless its record was written first.
func (r *runner) run(ctx context.Context, args []string) (status int, err error) {
	log, err := audit.Open(r.w.dirs().audit(), r.w.dirs().trust(), r.w.now())
	if err != nil {
		return 125, err
	}
	r.records = &records{log: log}
	defer func() {
		if lost := r.records.settle(); lost != nil && !errors.Is(err, lost) {
			status, err = 125, errors.Join(err, lost)
		}
		_ = log.Close() // every record was synced when it was written
	}()
	defer r.close()
	if len(args) > 0 && r.flags.task == "" {
		r.subject, _ = artifact.Parse(args[0]) // for the record of a refusal; read reads it again
	}
	if err := r.flags.refuse(); err != nil {
		return 125, r.deny(err, nil)
	}
	task, ref, command, err := r.read(args)
	if err != nil {
		return 125, r.deny(err, nil)
	}
	r.subject = ref
	cid, err := openCID(r.flags.cidfile)
	if err != nil {
		return 125, r.deny(err, nil)
	}
	r.later(cid.close)
	d := r.w.dirs()
	ask, err := r.flags.ask(r.w, newID(), command)
	if err == nil && task != nil {
		ask, err = task.merge(ask)
	}
	if err != nil {
		return 125, r.deny(err, nil)
	}
	if r.layout, err = r.flags.files(); err != nil {
		return 125, r.deny(err, nil)
	}
	ask.Own = d.own()
	if r.unfit != nil {
		return 125, r.deny(r.unfit, nil)
	}
	if err := r.host.Launch(); err != nil {
		return 125, r.deny(err, nil)
	}
	if r.programs, err = d.programs(r.host); err != nil {
		return 125, r.deny(err, nil)
	}
	r.later(r.programs.close)
	r.sweep(d)
	k, err := keeper.Start(d.Run, r.programs.keeper)
	if err != nil {
		return 125, r.deny(err, nil)
	}
	ground := r.lay(d, k) // given back after the keeper is done with what stands on it
	r.later(func() {
		if err := k.Close(); err != nil {
			refusal(r.w.err, "run", err)
		}
	})

	a, err := r.admit(ctx, d, ref)
	if err != nil {
		return 125, err
	}
	models, err := r.models(ctx, d, task, &ask)
	if err != nil {
		return 125, err
	}
	servers, err := r.servers(ctx, d, task, &ask)
	if err != nil {
		return 125, err
	}
	stdio, err := r.stdio()
	if err != nil {
		return 125, r.deny(err, nil)
	}
	signals, stop := launch.Signals()
	defer stop()
	b := box{runner: r, dirs: d, keeper: k, ground: ground, models: models, servers: servers, stdio: stdio, signals: signals, cid: cid}
	return b.launch(ctx, a, ask)
}

// sweep cleans up after launches that were killed together with their keepers,
// beside this one.
func (r *runner) sweep(d dirs) {
	swept := make(chan error, 1)
	go func() { swept <- keeper.Sweep(d.Run) }()
	r.later(func() {
		if err := <-swept; err != nil {
			refusal(r.w.err, "run", err)
		}
	})
}

// read takes REF and the command from the words, or the task file.
func (r *runner) read(args []string) (*taskFile, artifact.Reference, []string, error) {
	var task *taskFile
	if r.flags.task != "" {
		if len(args) > 0 {
			return nil, artifact.Reference{}, nil, wrong("read the command", "either REF or --task FILE", "drop "+args[0])
		}
		t, err := readTask(r.flags.task)
		if err != nil {
			return nil, artifact.Reference{}, nil, err
		}
		task, args = &t, []string{t.image}
	}
	if len(args) == 0 {
		return nil, artifact.Reference{}, nil, wrong("read the command", "a reference to run", "ztlaunch run REF [CMD...]")
	}
	ref, err := parseRef(args[0], r.flags.as)
	if err != nil {
		return nil, artifact.Reference{}, nil, err
	}
	if ref.Kind() != artifact.Image {
		return nil, artifact.Reference{}, nil, wrong("run "+args[0], "an image", "--model NAME=DIR lends a model to an image")
	}
	return task, ref, args[1:], nil
}

// models verifies each model that the flags and the task file name, and seals
// it.
func (r *runner) models(ctx context.Context, d dirs, task *taskFile, ask *plan.Task) (map[string]admitted, error) {
	asked := map[string]artifact.Reference{}
	add := func(name, dir, policyName string) error {
		ref, err := parseRef("model:"+strings.TrimPrefix(dir, "model:"), policyName)
		if _, twice := asked[name]; twice && err == nil {
			err = wrong("read the models", "each name once, found "+name+" twice", "rename one")
		}
		asked[name] = ref
		return err
	}
	for _, v := range r.flags.models {
		name, dir, err := modelFlag(v)
		if err == nil {
			err = add(name, slashed(dir), "")
		}
		if err != nil {
			return nil, r.deny(err, nil)
		}
	}
	if task != nil {
		for name, dir := range task.models {
			at, policyName := task.model(dir)
			if err := add(name, at, policyName); err != nil {
				return nil, r.deny(err, nil)
			}
		}
	}
	all := map[string]admitted{}
	for name, ref := range asked {
		a, err := r.admit(ctx, d, ref)
		if err != nil {
			return nil, err
		}
		all[name] = a
		ask.Models = append(ask.Models, plan.Model{Name: name, Target: "/models/" + name})
	}
	return all, nil
}

// stdio is the caller's side of the task's streams.
func (r *runner) stdio() (launch.Stdio, error) {
	s := launch.Stdio{Out: os.Stdout, Err: os.Stderr}
	if r.flags.interactive {
		s.In = r.w.in
	}
	if r.flags.terminal && s.In != nil && !term.IsTerminal(int(s.In.Fd())) {
		return s, wrong("give the task a terminal", "a terminal on standard input with -i -t", "drop -t")
	}
	return s, nil
}

// newID is a task's id.
func newID() string {
	b := make([]byte, 32)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// seccomp is the profile of every task.
func seccomp() profiles.Profile { return profiles.Default() }
