//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ztlaunch/ztlaunch/launch"
	"github.com/ztlaunch/ztlaunch/launch/keeper"
	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// serverGrace is how long a server may take to end after its input did.
const serverGrace = 2 * time.Second

// servers verifies each MCP server that the task file names. Each session of the
// agent gets one in a box of its own.
func (r *runner) servers(ctx context.Context, d dirs, task *taskFile, ask *plan.Task) (map[string]launch.Server, error) {
	if task == nil {
		return nil, nil
	}
	all := map[string]admitted{}
	for _, name := range slices.Sorted(maps.Keys(task.servers)) {
		ref, err := parseRef(task.servers[name], "")
		if err != nil {
			return nil, r.deny(err, nil)
		}
		if ref.Kind() != artifact.Image {
			return nil, r.deny(wrong("read the server "+name, "an image", ""), nil)
		}
		if all[name], err = r.admit(ctx, d, ref.As(artifact.MCP)); err != nil {
			return nil, err
		}
	}
	open := map[string]launch.Server{}
	for name, a := range all {
		open[name] = func(context.Context) (io.ReadWriteCloser, error) { return r.startServer(ctx, d, a) }
		ask.Servers = append(ask.Servers, name)
	}
	return open, nil
}

// server is one MCP server's box, seen from outside.
type server struct {
	io.Reader
	io.Writer
	in, out *os.File
	cancel  context.CancelCauseFunc
	ended   chan error
	closed  atomic.Bool // nobody will ask it any more
}

// startServer launches one server. Its box has no mounts, no environment of the
// caller's and no way out but its standard streams.
func (r *runner) startServer(ctx context.Context, d dirs, a admitted) (*server, error) {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, r.deny(&reason.Error{Code: reason.LaunchFailed, What: "make a server's streams", Err: err}, &a)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, r.deny(&reason.Error{Code: reason.LaunchFailed, What: "make a server's streams", Err: err}, &a)
	}
	k, err := keeper.Start(d.Run, r.programs.keeper)
	if err != nil {
		return nil, r.deny(err, &a)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s := &server{Reader: out, Writer: in, in: in, out: out, cancel: cancel, ended: make(chan error, 1)}
	own := &runner{w: r.w, flags: r.flags, records: r.records, subject: r.subject, host: r.host, programs: r.programs}
	b := box{runner: own, dirs: d, keeper: k, ground: own.lay(d, k), stdio: launch.Stdio{In: theirIn, Out: theirOut, Err: os.Stderr}}
	go func() {
		status, err := b.contained(ctx, a, plan.Task{ID: newID(), Unsafe: r.flags.unsafe})
		if err == nil && !s.closed.Load() {
			name := a.admission.Artifact().Ref().String()
			err = &reason.Error{Code: reason.McpServerEnded, What: "serve " + name, Expected: "a server that lives as long as its session",
				Found: "status " + strconv.Itoa(status), Next: "ztlaunch run -i " + reason.Word(name) + " shows what it says"}
		}
		err = errors.Join(err, k.Close())
		own.close()
		theirOut.Close()
		theirIn.Close()
		s.ended <- err
	}()
	r.later(func() { s.stop(r.w) })
	return s, nil
}

// contained is launch for a goroutine of its own, where a fault would end the whole
// program in its own way.
func (b box) contained(ctx context.Context, a admitted, ask plan.Task) (status int, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = &reason.Error{Code: reason.InternalFault, What: "launch the server", Found: fmt.Sprint(fault)}
		}
	}()
	return b.launch(ctx, a, ask)
}

// Close ends the server's input; stop sees to the rest.
func (s *server) Close() error {
	s.closed.Store(true)
	return s.in.Close()
}

// stop waits for the server to end, and ends it when it does not. It is part of
// the run's own end, so that no server outlives its agent.
func (s *server) stop(w world) {
	s.closed.Store(true)
	s.in.Close()
	var err error
	select {
	case err = <-s.ended:
	case <-time.After(serverGrace):
		s.cancel(&reason.Error{Code: reason.TaskStopped, What: "run the server", Expected: "an end after its input ended"})
		err = <-s.ended
	}
	s.out.Close()
	if err != nil {
		refusal(w.err, "run", err)
	}
}
