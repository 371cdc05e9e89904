//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/google/go-containerregistry/pkg/registry"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// speaking are the system calls by which a program can reach another one over a
// network. No packet leaves a host without socket, io_uring_setup or a descriptor
// that somebody passed on.
var speaking = map[uint64]string{unix.SYS_SOCKET: "socket", unix.SYS_SOCKETPAIR: "socketpair", unix.SYS_CONNECT: "connect", unix.SYS_BIND: "bind",
	unix.SYS_SENDTO: "sendto", unix.SYS_SENDMSG: "sendmsg", unix.SYS_SENDMMSG: "sendmmsg", unix.SYS_RECVMSG: "recvmsg",
	unix.SYS_IO_URING_SETUP: "io_uring_setup", unix.SYS_PIDFD_GETFD: "pidfd_getfd"}

// traced runs a command to its end under ptrace, with every thread and process that
// it starts, and counts the calls in speaking, by name. calls is how many of any kind
// there were.
func traced(t *testing.T, cmd *exec.Cmd) (status int, counts map[string]int, calls int, errs string) {
	t.Helper()
	runtime.LockOSThread() // the thread that started it is the tracer
	defer runtime.UnlockOSThread()
	var stderr bytes.Buffer
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out // files: nothing here waits for a pipe
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first := cmd.Process.Pid
	counts = map[string]int{}
	begun := false
	for {
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatalf("wait: %v", err)
		}
		pass := 0
		switch {
		case ws.Exited() || ws.Signaled():
			if tid == first {
				raw, err := os.ReadFile(out.Name())
				if err != nil {
					t.Fatal(err)
				}
				stderr.Write(raw)
				_ = cmd.Process.Release() // it was waited for
				return ws.ExitStatus(), counts, calls, stderr.String()
			}
			continue
		case !begun: // at the exec
			begun = true
			if err := unix.PtraceSetOptions(tid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACEFORK|unix.PTRACE_O_TRACEVFORK|
				unix.PTRACE_O_TRACEEXEC|unix.PTRACE_O_EXITKILL); err != nil {
				t.Fatalf("trace: %v", err)
			}
		case ws.StopSignal() == unix.SIGTRAP|0x80:
			if nr, entry := systemCall(t, tid); entry {
				calls++
				if name, is := speaking[nr]; is {
					counts[name]++
				}
			}
		case ws.StopSignal() == unix.SIGTRAP || ws.StopSignal() == unix.SIGSTOP: // an event, or the first stop of a thread
		default:
			pass = int(ws.StopSignal())
		}
		if err := unix.PtraceSyscall(tid, pass); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatalf("go on: %v", err)
		}
	}
}

// systemCall is the number of the call that a stopped thread is about to make
// (PTRACE_GET_SYSCALL_INFO, which is the same on every processor).
func systemCall(t *testing.T, tid int) (nr uint64, entry bool) {
	t.Helper()
	var info struct {
		op      uint8
		_       [3]uint8
		arch    uint32
		ip, sp  uint64
		nr      uint64
		args    [6]uint64
		retData uint64
	}
	_, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if e == unix.ESRCH { // killed meanwhile
		return 0, false
	}
	if e != 0 {
		t.Fatalf("look at a system call: %v", e)
	}
	return info.nr, info.op == unix.PTRACE_SYSCALL_INFO_ENTRY
}

// TestNoSocket verifies in a network namespace that has no interface that is up, not
// even the loopback one, and counts: under a root that was named, under one that was
// installed, and with a key, the program makes not one call that could speak to
// anybody. The same command does, and is seen to, when it is given a registry.
func TestNoSocket(t *testing.T) {
	l := newLab(t)
	sigstore := verifytest.New(t)
	who := l.keyless("agent", sigstore)
	l.write("root.json", string(sigstore.Root()))
	l.write("policy.yaml", l.ok("policy", "init", "--trusted-root", "root.json", "oci-layout:./agent").out)
	ref := l.image("tools")
	signer := []string{"--certificate-identity", who.SAN, "--certificate-oidc-issuer", who.Issuer}

	silent := func(what string, want int, args ...string) {
		t.Helper()
		cmd := l.cmd(args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
		status, counts, calls, errs := traced(t, cmd)
		if status != want {
			t.Errorf("%s: status %d, want %d: %s", what, status, want, errs)
		}
		if len(counts) > 0 {
			t.Errorf("%s: %v", what, counts)
		}
		if calls < 100 {
			t.Errorf("%s: only %d system calls were seen", what, calls)
		}
		t.Logf("%s: %d system calls, none that speaks", what, calls)
	}
	silent("a named root", 0, append([]string{"verify", "--trusted-root", "root.json"}, append(signer, "oci-layout:./agent")...)...)
	silent("a named root and a policy", 0, "verify", "--trusted-root", "root.json", "--policy", "policy.yaml", "--json", "oci-layout:./agent")
	silent("the embedded root", 1, append([]string{"verify"}, append(signer, "oci-layout:./agent")...)...)
	silent("a key", 0, "verify", "--key", "release.pub", ref)
	silent("adding a root", 0, "trust", "add", "--replace", "root.json")
	silent("the installed root", 0, append([]string{"verify", "--audit"}, append(signer, "oci-layout:./agent")...)...)
	silent("showing it", 0, "trust", "show")
	silent("its difference", 0, "trust", "diff", "root.json")
	silent("a first policy", 0, "policy", "init", "oci-layout:./agent")

	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	at := strings.TrimPrefix(server.URL, "http://") + "/acme/agent:1"
	l.ok("copy", "oci-layout:./agent", at)
	status, counts, _, errs := traced(t, l.cmd(append([]string{"verify"}, append(signer, at)...)...))
	if status != 0 || counts["socket"] == 0 || counts["connect"] == 0 {
		t.Errorf("from a registry: status %d, %v: %s", status, counts, errs)
	}
	// And without a network it is told, not guessed.
	cmd := l.cmd(append([]string{"verify", "--pull", "always"}, append(signer, at)...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	status, counts, _, errs = traced(t, cmd)
	if status != 3 || counts["socket"] == 0 || !strings.Contains(errs, "registry-unreachable") {
		t.Errorf("from a registry, without a network: status %d, %v: %s", status, counts, errs)
	}
	// A child of a traced program is seen as well.
	status, counts, _, errs = traced(t, exec.Command("/bin/sh", "-c", fmt.Sprintf("%s --root %s verify --key %s %s; true", filepath.Join(l.bin, "ztlaunch"),
		filepath.Join(l.dir, "other"), filepath.Join(l.dir, "release.pub"), at)))
	if status != 0 || counts["connect"] == 0 {
		t.Errorf("through a shell: status %d, %v: %s", status, counts, errs)
	}
}

// TestDoctorTrust has doctor say how old the root in force is, and refuse one that
// was changed; what the host can launch is another question.
func TestDoctorTrust(t *testing.T) {
	l := newLab(t)
	l.write("root.json", string(verifytest.New(t).Root()))
	if a := l.ok("doctor"); !strings.Contains(a.out, "trust:  Sigstore root (embedded) of 20") || !strings.Contains(a.out, " days old") {
		t.Errorf("no age: %s", a.out)
	}
	l.ok("trust", "add", "--replace", "root.json")
	if a := l.ok("doctor"); !strings.Contains(a.out, "trust:  Sigstore root (file) of unknown date") {
		t.Errorf("no installed root: %s", a.out)
	}
	if err := os.WriteFile(filepath.Join(l.root, "state", "trust", "roots", "record.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := l.run("doctor", "--json")
	if a.status != 3 || !strings.Contains(a.out, "trust-record-malformed") || !strings.Contains(a.out, `"launch": true`) {
		t.Errorf("status %d: %s%s", a.status, a.out, a.err)
	}
}
