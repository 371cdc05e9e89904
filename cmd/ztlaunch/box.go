//go:build linux

package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/ztlaunch/ztlaunch/launch"
	"github.com/ztlaunch/ztlaunch/launch/audit"
	"github.com/ztlaunch/ztlaunch/launch/keeper"
	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/launch/rootfs"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// sealAge is how old the last full hash of a kept seal may be before it is
// hashed again.
const sealAge = time.Hour

// box launches one admitted image.
type box struct {
	*runner
	dirs    dirs
	keeper  *keeper.Keeper
	ground  func(uid, gid uint32) (launch.Ground, error)
	models  map[string]admitted
	servers map[string]launch.Server
	stdio   launch.Stdio
	signals <-chan os.Signal
	cid     *cidFile // nil for servers, and without --cidfile
}

// launch seals or extracts the root, plans the box and runs it to its end.
func (b box) launch(ctx context.Context, a admitted, ask plan.Task) (int, error) {
	parts := launch.Parts{Tree: a.tree, Models: map[string]*rootfs.Sealed{}, Servers: b.servers, Runtime: b.programs.runtime,
		Keeper: b.keeper, Stdio: b.stdio, Signals: b.signals,
		Watch: launch.Watch{Interval: interval(), Models: map[string]tree.Tree{}}}
	seals, err := rootfs.OpenSeals(b.dirs.seals(), 0)
	if err != nil {
		return 125, b.deny(err, &a)
	}
	if onlyForm != "" {
		seals = seals.In(rootfs.Form(onlyForm))
	}
	for _, each := range append(slices.Collect(maps.Values(b.models)), a) {
		if err := each.tree.Wait(); err != nil {
			return 125, b.deny(err, &each)
		}
	}
	root, err := b.hold(ctx, seals, a)
	if err != nil {
		return 125, b.deny(err, &a)
	}
	all := []held{root}
	models := map[string]held{}
	for name, m := range b.models {
		if models[name], err = b.hold(ctx, seals, m); err != nil {
			return 125, b.deny(err, &m)
		}
		all = append(all, models[name])
		parts.Watch.Models[name] = m.tree
	}
	who, err := accounts(root, a.tree)
	if err != nil {
		return 125, b.deny(err, &a)
	}
	tier := weakest(all)
	p, err := plan.Build(a.admission, a.tree, ask, who, seccomp().Spec(),
		b.abilities(tier))
	if err != nil {
		return 125, b.deny(err, &a)
	}
	if err := lent(p); err != nil {
		return 125, b.deny(err, &a)
	}
	if parts.Ground, err = b.ground(p.Owner()); err != nil {
		return 125, b.deny(err, &a)
	}
	if parts.Root, err = root.mounted(ctx, parts.Ground.IDs()); err != nil {
		return 125, b.deny(err, &a)
	}
	for name, m := range models {
		if parts.Models[name], err = m.mounted(ctx, parts.Ground.IDs()); err != nil {
			return 125, b.deny(err, &m.admitted)
		}
	}
	if err := b.cid.write(p.ID()); err != nil {
		return 125, b.deny(err, &a)
	}
	rec := b.record(audit.Launch, p.ID(), &a)
	rec.Tier, rec.Unsafe = string(tier), ask.Unsafe
	b.records.begin(rec)
	parts.Recorded = b.records.settled()
	b.outcome.start(p, tier)
	result, err := launch.Run(ctx, p, parts)
	if err != nil {
		b.cid.drop()
		if lost := b.records.settle(); lost != nil {
			return 125, lost
		}
		return 125, b.deny(err, &a)
	}
	b.outcome.end(result)
	b.ended(p.ID(), a, result)
	if err := b.keeper.Clean(); err != nil {
		return 125, b.deny(err, &a)
	}
	if result.Status != 0 && result.Cause == nil {
		b.explain(p, parts)
	}
	if result.Lost != nil {
		lost := &reason.Error{Code: reason.OutputClosed, What: "pass the task's output on", Found: "not all of it arrived", Err: result.Lost}
		return 125, errors.Join(b.records.settle(), lost)
	}
	return result.Status, b.records.settle()
}

// ended begins to record how the task ended.
func (b box) ended(id string, a admitted, result launch.Result) {
	rec := b.record(audit.Exit, id, &a)
	rec.Status, rec.Cause = result.Status, "exited"
	if why := result.Cause; why != nil {
		rec.Cause, rec.Codes, rec.Expected, rec.Found = string(why.Code), []reason.Code{why.Code}, why.Expected, why.Found
	}
	for _, d := range result.Drift {
		found := b.record(audit.Drift, id, &a)
		found.Path, found.Codes, found.Expected, found.Found = d.Path, []reason.Code{d.Code}, d.Expected, d.Found
		b.records.begin(found)
	}
	if result.Cause != nil {
		refusal(b.w.err, "run", result.Cause)
	}
	b.records.begin(rec)
}

// abilities is what the plan must know of this host.
func (b box) abilities(tier rootfs.Form) plan.Host {
	h := plan.Host{Arch: runtime.GOARCH, PidsController: b.host.Controller("pids"), Integrity: string(tier)}
	if !b.host.Initial {
		h.Unlimited = b.host.Unlimited("memory", "cpu")
		h.PidsController = h.PidsController && len(h.Unlimited) == 0
		if !h.PidsController && b.host.Root {
			h.Unlimited = append(h.Unlimited, "pids") // no rlimit bounds root's processes
		}
	}
	return h
}
