//go:build linux

package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestManners holds run against docker's documented behaviour, in a real box.
func TestManners(t *testing.T) {
	l := newLab(t)
	ref := l.image("tools")
	l.write("vars", "# comment\nA=from file\nFROM_CALLER\nUNSET_HERE\n  B = spaced\n")
	for _, c := range []struct {
		name   string
		flags  string
		args   string
		stdin  string
		status int
		out    string // exact
		err    string // contained
	}{
		{"echo", "", "echo hello", "", 0, "hello\n", ""},
		{"docker's flags that change nothing", "--rm --read-only --network none --cap-drop ALL --security-opt no-new-privileges", "echo hi", "", 0, "hi\n", ""},
		{"own status", "", "exit 7", "", 7, "", ""},
		{"false", "", "false", "", 1, "", ""},
		{"not found", "", "no-such-program", "", 127, "", "command-not-found"},
		{"not found by path", "", "/no/such", "", 127, "", "command-not-found"},
		{"a folder", "", "/bin", "", 126, "", "command-not-executable"},
		{"not executable", "", "/etc/passwd", "", 126, "", "command-not-executable"},
		{"flags after REF belong to the command", "", "echo -e --rm", "", 0, "-e --rm\n", ""},
		{"stdin", "-i", "cat", "some text\n", 0, "some text\n", ""},
		{"no stdin without -i", "", "cat", "some text\n", 0, "", ""},
		{"unknown flag", "--interactve", "true", "", 125, "", "--interactive"},
		{"stderr by name as root", "", "stderr oops", "", 0, "", "oops"},
		{"stderr by name as a user", "-u 1000:1000", "stderr oops", "", 0, "", "oops"},
		{"unknown user", "-u nobody-here", "true", "", 125, "", "user-unknown"},
		{"entry point", "--entrypoint /bin/echo", "x y", "", 0, "x y\n", ""},
		{"no command", "--entrypoint=", "", "", 125, "", "command-absent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sub := *l
			sub.t = t
			args := append([]string{"run", "--key", "release.pub"}, strings.Fields(c.flags)...)
			args = append(append(args, ref), strings.Fields(c.args)...)
			cmd := sub.cmd(args...)
			cmd.Stdin = strings.NewReader(c.stdin)
			a := sub.finish(cmd)
			if a.status != c.status || a.out != c.out || !strings.Contains(a.err, c.err) {
				t.Errorf("status %d, want %d; out %q, want %q; err %q, want %q in it", a.status, c.status, a.out, c.out, a.err, c.err)
			}
		})
	}
	t.Run("environment", func(t *testing.T) {
		sub := *l
		sub.t = t
		a := sub.ok("run", "--key", "release.pub", "--hostname", "box", "-e", "FROM_CALLER", "-e", "NOT_SET_ANYWHERE", "-e", "EMPTY=",
			"-e", "FROM_IMAGE=no", ref, "env")
		want := "EMPTY=\nFROM_CALLER=yes\nFROM_IMAGE=no\nHOME=/root\nHOSTNAME=box\nPATH=/bin\n" // env sorts
		if a.out != want {
			t.Errorf("got\n%swant\n%s", a.out, want)
		}
		if a := sub.run("run", "--key", "release.pub", "--env-file", "vars", ref, "env"); a.status != 125 {
			t.Errorf("a name with a space in an env file: status %d", a.status)
		}
	})
}

// TestStdinHalfClose checks that the end of the caller's input reaches the task
// once, while its output stays open.
func TestStdinHalfClose(t *testing.T) {
	l := newLab(t)
	cmd := l.cmd("run", "-i", "--key", "release.pub", l.image("tools"), "cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "ping"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(out, b); err != nil || string(b) != "ping" {
		t.Fatalf("the echo: %q %v", b, err)
	}
	in.Close()
	rest, err := io.ReadAll(out)
	if err != nil || len(rest) != 0 {
		t.Errorf("after the end: %q %v", rest, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestSignals checks that signals reach the task, in order.
func TestSignals(t *testing.T) {
	l := newLab(t)
	cmd := l.cmd("run", "--key", "release.pub", l.image("tools"), "signals")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, step := range []struct {
		send syscall.Signal
		want string
	}{{0, "ready"}, {syscall.SIGUSR1, "signal 10"}, {syscall.SIGHUP, "signal 1"}, {syscall.SIGTERM, "signal 15"}} {
		if step.send != 0 {
			if err := cmd.Process.Signal(step.send); err != nil {
				t.Fatal(err)
			}
		}
		if !lines.Scan() || lines.Text() != step.want {
			t.Fatalf("after %v: %q, want %q", step.send, lines.Text(), step.want)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the task ended well, run did not: %v", err)
	}
}

// TestTerminal checks -t under a real terminal, made by script(1).
func TestTerminal(t *testing.T) {
	l := newLab(t)
	ref := l.image("tools")
	script, err := exec.LookPath("script")
	if err != nil {
		t.Fatal(err)
	}
	inner := l.cmd("run", "-i", "-t", "--key", "release.pub", ref, "tty")
	cmd := exec.Command(script, "-qec", strings.Join(inner.Args, " "), os.DevNull)
	cmd.Dir, cmd.Env = inner.Dir, inner.Env
	a := l.finish(cmd)
	if a.status != 0 || !strings.Contains(a.out, "stdin terminal") || !strings.Contains(a.out, "stderr terminal") {
		t.Errorf("status %d, out %q, err %q", a.status, a.out, a.err)
	}
	if a := l.run("run", "-i", "-t", "--key", "release.pub", ref, "true"); a.status != 125 || !strings.Contains(a.err, "terminal") {
		t.Errorf("-t without a terminal: status %d, err %q", a.status, a.err)
	}
}

// TestSignalAtStart ends a launch at many points of its start: by the signal, or
// by what the task made of it, and never with the runtime's own status.
func TestSignalAtStart(t *testing.T) {
	l := newLab(t)
	// No Go program: one that is a first process ends with 2 of its own.
	l.copy(os.Getenv("ZTLAUNCH_DEBIAN"), "debian")
	ref := "oci-layout:./debian"
	l.ok("sign", "--key", "release.key", ref)
	l.ok("run", "--key", "release.pub", ref, "true")
	for i := range 12 {
		cmd := l.cmd("run", "--key", "release.pub", ref, "sh", "-c", "trap 'exit 143' TERM; while :; do sleep 0.05; done")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(40+i*25) * time.Millisecond)
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		var err error
		for over := false; !over; { // a first process ignores what it has no handler for yet
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may be gone
			select {
			case err = <-ended:
				over = true
			case <-time.After(500 * time.Millisecond):
			}
		}
		ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !ok || err != nil && !(ws.Signaled() && ws.Signal() == syscall.SIGTERM) && ws.ExitStatus() != 143 && ws.ExitStatus() != 125 {
			t.Errorf("after %d ms: %v", 40+i*25, err)
		}
	}
}

// TestOutputLost runs a task whose output cannot be written: that is no success.
func TestOutputLost(t *testing.T) {
	l := newLab(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	ref := l.image("tools")
	cmd := l.cmd("run", "--key", "release.pub", ref, "echo", "x")
	var errs strings.Builder
	cmd.Stdout, cmd.Stderr = full, &errs
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 125 || !strings.Contains(errs.String(), "output-closed") {
		t.Errorf("%v, %s", err, errs.String())
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	cmd = l.cmd("run", "--key", "release.pub", ref, "echo", "x")
	cmd.Stdout = w
	if err := cmd.Run(); cmd.ProcessState.ExitCode() == 125 {
		t.Errorf("a reader who went away is called a fault of ours: %v", err)
	}
}
