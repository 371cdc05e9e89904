package launch

import (
	"context"
	"errors"
	"time"

	"github.com/ztlaunch/ztlaunch/launch/monitor"
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
// at the first mismatch. The channel is closed when nothing is looked at any more. What opens and
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

// ended says why a task was ended from here.
func ended(cause error) ([]monitor.Drift, *reason.Error) {
	var d *drifted
	if errors.As(cause, &d) {
		first := d.drift[0]
		return d.drift, &reason.Error{Code: reason.Drift, What: "check " + first.Path + " (" + string(first.Code) + ")",
			Expected: first.Expected, Found: first.Found}
	}
	if e, ok := reason.Of(cause); ok {
		return nil, e
	}
	return nil, &reason.Error{Code: reason.TaskStopped, What: "run the task", Expected: "an end of its own", Found: "the launcher was told to end it", Err: cause}
}
