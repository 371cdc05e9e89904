package profiles

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/runc"
	"github.com/ztlaunch/ztlaunch/launch/runc/runctest"
)

// run runs a bundle under Default in a real container, with text on its
// standard input, and gives how it ended and what it wrote.
func run(t *testing.T, id string, b *runctest.Bundle, stdin string) (runc.Exit, string) {
	t.Helper()
	path, pin := runctest.Need(t)
	r, err := runc.Find("", pin, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if err := runc.Adopt(); err != nil {
		t.Fatal(err)
	}
	file := func(name, text string) *os.File {
		f, err := os.Create(filepath.Join(b.Dir, name))
		if err == nil {
			_, err = io.WriteString(f, text)
		}
		if err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	in, out := file("in", stdin), file("out", "")
	c := runc.Container{ID: id, Bundle: b.Dir, State: filepath.Join(b.Dir, "state"), Streams: runc.Streams{Stdin: in, Stdout: out, Stderr: out}}
	b.Spec.Linux.Seccomp = Default().Spec()
	b.Write(t)
	t.Cleanup(func() {
		if err := r.Delete(context.Background(), c); err != nil {
			t.Error(err)
		}
	})
	i, err := r.Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if err := r.Start(t.Context(), c, i); err != nil {
		t.Fatal(err)
	}
	dead(t, i.PID)
	_ = i.Signal(syscall.SIGKILL) // what other threads there are
	e, err := i.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return e, string(text)
}

// The filter that the built runtime makes of Default answers as Evaluate says.
func TestInstalled(t *testing.T) {
	runctest.Need(t)
	eperm, enosys, einval, efault, ebadf, enotty := syscall.EPERM, syscall.ENOSYS, syscall.EINVAL, syscall.EFAULT, syscall.EBADF, syscall.ENOTTY
	type call struct {
		nr   uintptr
		args []uint64
		want []syscall.Errno // the kernel's own answers; none: it succeeds
	}
	calls := []call{
		{unix.SYS_GETPID, nil, nil},
		{unix.SYS_IO_URING_SETUP, []uint64{1, 0}, []syscall.Errno{eperm}},
		{unix.SYS_BPF, []uint64{0, 0, 0}, []syscall.Errno{eperm}},
		{unix.SYS_PERF_EVENT_OPEN, nil, []syscall.Errno{eperm}},
		{unix.SYS_USERFAULTFD, nil, []syscall.Errno{eperm}},
		{unix.SYS_PTRACE, []uint64{0}, []syscall.Errno{eperm}},
		{unix.SYS_PROCESS_VM_READV, nil, []syscall.Errno{eperm}},
		{unix.SYS_PROCESS_VM_WRITEV, nil, []syscall.Errno{eperm}},
		{unix.SYS_PIDFD_GETFD, nil, []syscall.Errno{eperm}},
		{unix.SYS_KCMP, nil, []syscall.Errno{eperm}},
		{unix.SYS_KEYCTL, nil, []syscall.Errno{eperm}},
		{unix.SYS_ADD_KEY, nil, []syscall.Errno{eperm}},
		{unix.SYS_REQUEST_KEY, nil, []syscall.Errno{eperm}},
		{unix.SYS_MOUNT, nil, []syscall.Errno{eperm}},
		{unix.SYS_FSOPEN, nil, []syscall.Errno{eperm}},
		{unix.SYS_OPEN_TREE, nil, []syscall.Errno{eperm}},
		{unix.SYS_UNSHARE, []uint64{unix.CLONE_NEWUSER}, []syscall.Errno{eperm}},
		{unix.SYS_SETNS, nil, []syscall.Errno{eperm}},
		{unix.SYS_OPEN_BY_HANDLE_AT, nil, []syscall.Errno{eperm}},
		{unix.SYS_NAME_TO_HANDLE_AT, nil, []syscall.Errno{eperm}},
		{unix.SYS_MEMFD_CREATE, nil, []syscall.Errno{enosys}},
		{unix.SYS_MEMFD_SECRET, nil, []syscall.Errno{eperm}},
		{unix.SYS_VMSPLICE, nil, []syscall.Errno{eperm}},
		{unix.SYS_CLONE3, []uint64{0, 0}, []syscall.Errno{enosys}},
		{unix.SYS_CLONE, []uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}, []syscall.Errno{eperm}},
		{unix.SYS_PERSONALITY, []uint64{noRandomize}, []syscall.Errno{eperm}},
		{unix.SYS_PERSONALITY, []uint64{0xffffffff}, nil},
		{unix.SYS_SOCKET, []uint64{unix.AF_ALG, unix.SOCK_SEQPACKET, 0}, []syscall.Errno{eperm}},
		{unix.SYS_SOCKET, []uint64{unix.AF_VSOCK, unix.SOCK_STREAM, 0}, []syscall.Errno{eperm}},
		{unix.SYS_SOCKET, []uint64{unix.AF_PACKET, unix.SOCK_RAW, 0}, []syscall.Errno{eperm}},
		{unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_RAW, 1}, []syscall.Errno{eperm}},
		{unix.SYS_SOCKET, []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT}, []syscall.Errno{eperm}},
		{unix.SYS_SOCKET, []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, nil},
		{unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM | unix.SOCK_CLOEXEC, 0}, nil},
		{unix.SYS_SOCKET, []uint64{unix.AF_UNIX, unix.SOCK_SEQPACKET, 0}, nil},
		{unix.SYS_IOCTL, []uint64{0, unix.TIOCSTI, 0}, []syscall.Errno{eperm}},
		{unix.SYS_IOCTL, []uint64{0, 1<<32 | unix.TIOCSTI, 0}, []syscall.Errno{eperm}},
		{unix.SYS_IOCTL, []uint64{0, unix.TIOCLINUX, 0}, []syscall.Errno{eperm}},
		{unix.SYS_IOCTL, []uint64{0, unix.TCGETS, 0}, []syscall.Errno{enotty}}, // its turn, and not a terminal
		{unix.SYS_EXECVEAT, []uint64{99, 0, 0, 0, unix.AT_EMPTY_PATH}, []syscall.Errno{eperm}},
		{unix.SYS_EXECVEAT, []uint64{99, 0, 0, 0, 0}, []syscall.Errno{efault, ebadf, einval}},
		{100000, nil, []syscall.Errno{enosys}}, // newer than any profile
	}
	var in strings.Builder
	for _, c := range calls {
		fmt.Fprintln(&in, strings.Trim(fmt.Sprint(append([]uint64{uint64(c.nr)}, c.args...)), "[]"))
	}
	e, out := run(t, "zt-profile", runctest.NewBundle(t, "zt-profile", "calls"), in.String())
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if e.Code != 0 || e.Signal != 0 || len(lines) != len(calls) {
		t.Fatalf("%+v, %d answers to %d calls:\n%s", e, len(lines), len(calls), out)
	}
	for n, c := range calls {
		ok := len(c.want) == 0 && strings.HasPrefix(lines[n], "ok ")
		for _, w := range c.want {
			ok = ok || lines[n] == fmt.Sprintf("errno %d", int(w))
		}
		if !ok {
			t.Errorf("call %d%v: %s, want %v", c.nr, c.args, lines[n], c.want)
		}
	}
}

// The 32-bit and x32 doors kill the thread that tries them.
func TestDoors(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("x86 only")
	}
	runctest.Need(t)
	const getpid32, x32 = 20, 0x40000000
	for _, c := range []struct {
		id, in string
		args   []string
	}{
		{"zt-int80", "", []string{"int80", fmt.Sprint(getpid32)}},
		{"zt-x32", fmt.Sprintln(x32 + unix.SYS_GETPID), []string{"calls"}},
	} {
		t.Run(c.id, func(t *testing.T) {
			_, out := run(t, c.id, runctest.NewBundle(t, c.id, c.args...), c.in)
			if strings.HasPrefix(out, "ok") {
				t.Errorf("the call was made: %s", out)
			}
		})
	}
}

// dead waits until the main thread of a process has ended. The process is not
// over then if a filter killed only this thread.
func dead(t *testing.T, pid int) {
	t.Helper()
	for {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		if strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X") {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// A real interpreter with threads, children, sockets and a database lives with
// Default.
func TestPython(t *testing.T) {
	runctest.Need(t)
	out, err := exec.Command("python3", "-c", "import sys; print(sys.base_prefix)").Output()
	if err != nil {
		t.Skip("ZTLAUNCH_E2E: no python3")
	}
	prefix := strings.TrimSpace(string(out))
	python := filepath.Join(prefix, "bin", "python3")
	b := runctest.NewBundle(t, "zt-python")
	for _, d := range []string{"usr", "lib", "lib64", "bin", prefix} {
		d = filepath.Join("/", d)
		if st, err := os.Stat(d); err != nil || !st.IsDir() {
			continue
		}
		if err := os.MkdirAll(filepath.Join(b.Spec.Root.Path, d), 0o755); err != nil {
			t.Fatal(err)
		}
		b.Spec.Mounts = append(b.Spec.Mounts, specs.Mount{Destination: d, Source: d, Type: "bind", Options: []string{"rbind", "ro"}})
	}
	b.Spec.Process.Env = []string{"PATH=/usr/bin:/bin"}
	b.Spec.Process.Args = []string{python, "-c", `
import asyncio, json, os, random, socket, subprocess, tempfile, threading, time
seen = []
threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(4)]
[x.start() for x in threads]; [x.join() for x in threads]
assert len(seen) == 4
assert subprocess.run(["/bin/sh", "-c", "exit 3"]).returncode == 3
a, b = socket.socketpair(); a.send(b"x"); assert b.recv(1) == b"x"
s = socket.socket(); s.bind(("0.0.0.0", 0)); s.listen()
with tempfile.TemporaryFile(dir="/tmp") as f:
    f.write(os.urandom(1000)); f.flush(); os.fsync(f.fileno())
async def main():
    p = await asyncio.create_subprocess_exec("/bin/echo", "hi", stdout=subprocess.PIPE)
    assert (await p.communicate())[0] == b"hi\n"
asyncio.run(main())
try:
    import sqlite3
    d = sqlite3.connect("/tmp/x.db"); d.execute("create table t(x)"); d.commit()
except ImportError:
    pass
print("lived")
`}
	e, said := run(t, "zt-python", b, "")
	if e.Code != 0 || e.Signal != 0 || said != "lived\n" {
		t.Errorf("%+v\n%s", e, said)
	}
}
