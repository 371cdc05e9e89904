package launch

import (
	"context"
	"errors"
	"time"

	"github.com/ztlaunch/ztlaunch/launch/monitor"
	"github.com/ztlaunch/ztlaunch/launch/rootfs"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// Watch is how often a running task's bytes are looked at again.
type Watch struct {
	Interval time.Duration        // 0 = every 30 s
	Models   map[string]tree.Tree // of Parts.Models, by name
}

// drifted ends a task whose bytes no longer match.
type drifted struct {
	drift []monitor.Drift
	cause error
}

func (d *drifted) Error() string { return d.cause.Error() }

func (d *drifted) Unwrap() error { return d.cause }

// watch looks at the task's roots on a clock until ctx ends, and ends the task
// at the first mismatch. A sealed root cannot change while its mount is the one
// that was hashed, so there the mount is proved; every other form is hashed in
// full. The channel is closed when nothing is looked at any more. What opens and
// executes files can be checked at that very moment by further watchers that end
// the task the same way.
func (r *run) watch(ctx context.Context, end context.CancelCauseFunc) <-chan struct{} {
	done := make(chan struct{})
	interval := r.parts.Watch.Interval
	if interval == 0 {
		interval = 30 * time.Second
	}
	go func() {
		defer close(done)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-r.parts.Keeper.Lost():
				end(&reason.Error{Code: reason.KeeperLost, What: "watch the task", Expected: "a living keeper", Found: "none"})
				return
			case <-tick.C:
			}
			if err := r.look(ctx); err != nil && ctx.Err() == nil {
				end(err)
				return
			}
		}
	}()
	return done
}

// look checks every root once: before the start, and on the clock.
func (r *run) look(ctx context.Context) error {
	if err := check(ctx, r.parts.Root, r.parts.Tree); err != nil {
		return err
	}
	for name, m := range r.parts.Models {
		if err := check(ctx, m, r.parts.Watch.Models[name]); err != nil {
			return err
		}
	}
	return nil
}

// check proves a sealed mount, or hashes another form in full.
func check(ctx context.Context, s *rootfs.Sealed, t tree.Tree) error {
	err := s.Prove()
	if err == nil && s.Form() != rootfs.InRAMFS {
		err = s.Rehash(ctx, t)
	}
	e, ok := reason.Of(err)
	if err == nil || ctx.Err() != nil || !ok {
		return err
	}
	return &drifted{[]monitor.Drift{{Path: e.What, Code: e.Code, Expected: e.Expected, Found: e.Found}}, err}
}

// ended says why a task was ended from here.
func ended(cause error) ([]monitor.Drift, reason.Code) {
	var d *drifted
	if errors.As(cause, &d) {
		return d.drift, reason.Drift
	}
	if e, ok := reason.Of(cause); ok {
		return nil, e.Code
	}
	return nil, reason.TaskStopped
}
