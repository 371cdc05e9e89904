// Package launch is the story of a run: prepare, start, watch, record, tear
// down. It takes a Plan, which only an admission can lead to, and carries it out
// under the OCI runtime.
//
// The order is fixed. A name is recorded with the keeper before the thing that
// bears it exists. Everything is mounted on one thread with a mount namespace of
// its own, and the runtime is started from that thread. Between create and
// start, when the root is in place and nothing of the task has run, the sealed
// root's mount is proved once more and the listeners of granted servers are
// opened inside the task's network namespace. The task's standard streams are
// pipes or a terminal that the launcher made; no descriptor of the caller's
// reaches the box.
//
// The package knows admissions, not verification, and prints nothing. It does
// not decide what may run, nor what a mount may show: package plan did.
package launch

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/keeper"
	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/launch/rootfs"
	"github.com/ztlaunch/ztlaunch/launch/runc"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// Parts are what a run needs besides its plan. All of them were made by the
// stage that owns them.
type Parts struct {
	Root    *rootfs.Sealed            // the admitted tree, mounted
	Tree    tree.Tree                 // the same as a value
	Models  map[string]*rootfs.Sealed // by the plan's model names
	Servers map[string]Server         // by the plan's server names
	Runtime runc.Runtime
	Keeper  *keeper.Keeper
	Ground  Ground
	Stdio   Stdio
	Signals <-chan os.Signal
	Watch   Watch

	// Recorded gives one value: nil once it is on the disk that this task is about
	// to be launched. Nothing of the task exists before; nil waits for nothing.
	Recorded <-chan error
}

// Run carries out a plan and returns when the task is over. What is left of it then
// goes with the keeper (keeper.Clean). An error means that the task did not start,
// and that all is clean.
func Run(ctx context.Context, p plan.Plan, parts Parts) (Result, error) {
	if p.Zero() {
		return Result{}, &reason.Error{Code: reason.InternalFault, What: "launch", Expected: "a plan", Found: "the zero value"}
	}
	// The encoder learns the types of a configuration, which takes longer than to
	// write one, while mounts are made.
	go func() { _, _ = json.Marshal(specs.Spec{}) }()
	t, err := startThread()
	if err != nil {
		return Result{}, refused("make a mount namespace", err)
	}
	defer t.stop()
	r := run{plan: p, parts: parts, thread: t, dir: parts.Keeper.Dir()}
	defer r.close()
	if err := r.create(ctx); err != nil {
		return Result{}, errors.Join(err, parts.Keeper.Clean())
	}
	result, err := r.carry(ctx)
	if err != nil {
		err = errors.Join(err, parts.Keeper.Clean())
	}
	return result, err
}

// run is one launch under way.
type run struct {
	plan    plan.Plan
	parts   Parts
	thread  *thread
	dir     string     // the task's folder
	at      plan.Paths // where the task's mounts are placed
	box     runc.Container
	init    runc.Init
	streams streams
	root    *os.File  // the task's, as the task sees it
	watched []watched // what is looked at in it
	closing []func()
}

// later runs f when the launch is over, last first.
func (r *run) later(f func()) { r.closing = append(r.closing, f) }

func (r *run) close() {
	for i := len(r.closing) - 1; i >= 0; i-- {
		r.closing[i]()
	}
}

// create brings the box to the point where the runtime's init waits inside it.
func (r *run) create(ctx context.Context) error {
	if err := r.parts.Keeper.Will(keeper.Cgroup(r.plan.Cgroup())); err != nil {
		return err
	}
	var err error
	if r.at, err = prepare(r.plan, r.parts, r.thread, r.dir); err != nil {
		return err
	}
	if r.parts.Ground.ids.Caller() { // maybe without a cgroup
		all, err := keeper.Userns(r.parts.Ground.userns)
		if err == nil { // held, so that its number stays its own
			err = r.parts.Keeper.Hold(r.parts.Ground.userns)
		}
		if err == nil {
			err = r.parts.Keeper.Will(all)
		}
		if err != nil {
			return err
		}
	}
	bundle := filepath.Join(r.dir, "bundle")
	config, err := json.Marshal(r.plan.Spec(r.at))
	if err == nil {
		err = os.Mkdir(bundle, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600)
	}
	if err != nil {
		return refused("write the runtime's configuration", err)
	}
	uid, gid := r.plan.Owner()
	ids := r.parts.Ground.ids
	r.streams, err = openStreams(r.plan, r.parts.Stdio, r.dir, int(ids.UID(uid)), int(ids.GID(gid)))
	if err != nil {
		return refused("make the task's standard streams", err)
	}
	r.later(r.streams.close)
	if err := runc.Adopt(); err != nil {
		return refused("become the task's parent", err)
	}
	r.box = runc.Container{ID: r.plan.ID(), Bundle: bundle, State: filepath.Join(r.dir, "state"), Life: r.parts.Keeper.Line()}
	r.box.Streams = r.streams.box()
	if r.parts.Recorded != nil {
		if err := <-r.parts.Recorded; err != nil {
			return err
		}
	}
	err = r.thread.do(func() (err error) {
		r.init, err = r.parts.Runtime.Create(ctx, r.box)
		return err
	})
	if err != nil {
		return err
	}
	r.later(func() { r.init.Close() })
	init, err := keeper.Init(r.init.PID)
	if err == nil {
		err = r.parts.Keeper.Will(init)
	}
	if err != nil {
		return err
	}
	return r.streams.created()
}

// carry starts the task and sees it through.
func (r *run) carry(ctx context.Context) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := r.serve(); err != nil {
		return Result{}, err
	}
	if err := r.look(ctx); err != nil {
		return Result{}, err
	}
	if err := r.parts.Runtime.Start(ctx, r.box, r.init); err != nil {
		return Result{}, err
	}
	result := Result{Started: time.Now()}
	r.streams.started()
	over := make(chan struct{})
	go forward(r.parts.Signals, r.init, r.streams.resize, over)
	if limit := r.plan.Limits().Time; limit > 0 {
		timer := time.AfterFunc(limit, func() {
			cancel(&reason.Error{Code: reason.TaskTimeLimit, What: "run task " + r.plan.ID()[:12],
				Expected: "an end within " + limit.String(), Found: "it still ran", Next: "limits: {time: TIME} in the task file, below the policy's box"})
		})
		defer timer.Stop()
	}
	watched := r.watch(ctx, cancel)
	exit, err := r.init.Wait(ctx)
	if err != nil { // ended from here: a limit, a drift, or the caller
		_ = r.init.Signal(unix.SIGKILL) // gone already, or Wait tells
		result.Drift, result.Cause = ended(context.Cause(ctx))
		exit, err = r.init.Wait(context.WithoutCancel(ctx))
	}
	result.Ended = time.Now()
	close(over)
	cancel(nil)
	<-watched
	if err != nil {
		return result, refused("wait for the task", err)
	}
	result.Lost = r.streams.drain()
	result.Status, result.Signal = exit.Status(), exit.Signal
	if result.Cause == nil && r.outOfMemory() {
		limit := strconv.FormatInt(r.plan.Limits().Memory>>20, 10) + " MiB"
		result.Cause = &reason.Error{Code: reason.TaskOutOfMemory, What: "run task " + r.plan.ID()[:12],
			Expected: "at most " + limit + " of memory", Found: "more", Next: "--memory SIZE, or limits: {memory: SIZE} in a task file"}
	}
	return result, nil
}

// refused is a step of the launch that the host did not allow.
func refused(what string, err error) error {
	if _, ok := reason.Of(err); ok {
		return err
	}
	return &reason.Error{Code: reason.LaunchFailed, What: what, Expected: "a host that allows it", Err: err,
		Next: "ztlaunch doctor"}
}

// fdPath names an open descriptor for another process of this user.
func fdPath(f *os.File) string {
	return "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(int(f.Fd()))
}
