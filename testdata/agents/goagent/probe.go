package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// result is one attempt: what was tried, and what the kernel said.
type result struct {
	Probe   string `json:"probe"`
	Target  string `json:"target,omitempty"`
	Outcome string `json:"outcome"` // allowed or refused
	OK      bool   `json:"ok"`      // allowed
	Errno   string `json:"errno,omitempty"`
	Number  int    `json:"number,omitempty"`
	Signal  string `json:"signal,omitempty"` // what killed the attempt
	Error   string `json:"error,omitempty"`
}

const (
	allowed = "allowed"
	refused = "refused"
)

// answer turns an attempt's error into its result. Any error is a refusal.
func answer(probe, target string, err error) result {
	r := result{Probe: probe, Target: target, Outcome: allowed}
	if err == nil {
		return r
	}
	r.Outcome, r.Error = refused, err.Error()
	var errno syscall.Errno
	if errors.As(err, &errno) {
		r.Errno, r.Number = unix.ErrnoName(errno), int(errno)
	}
	return r
}

// probe makes one attempt, prints its line and returns 0 if it was allowed.
func probe(words []string, out, errs io.Writer) int {
	kind, target := words[0], ""
	if len(words) == 2 {
		target = words[1]
	}
	attempts := map[string]func(string) error{
		"net": dial, "file": readFile, "write": writeFile, "exec": execFile, "drop": drop,
	}
	switch {
	case kind == "self" && len(words) == 1:
		return print(out, self())
	case kind == "syscalls" && len(words) == 1:
		for _, name := range names() {
			print(out, trySyscall(name).settle())
		}
		return 0
	case kind == "syscall" && syscalls[target] != nil:
		return printResult(out, trySyscall(target))
	case kind == "memfd" && len(words) == 1:
		return printResult(out, answer(kind, "", memfd()))
	case attempts[kind] != nil && target != "":
		return printResult(out, answer(kind, target, attempts[kind](target)))
	}
	fmt.Fprintf(errs, "goagent: probe %s: want net, file, write, exec or drop and a target; memfd, self or syscalls; or syscall and one of %s\n",
		strings.Join(words, " "), strings.Join(names(), " "))
	return 2
}

// settle sets what follows from the outcome.
func (r result) settle() result {
	r.OK = r.Outcome == allowed
	return r
}

func print(out io.Writer, v any) int {
	line, err := json.Marshal(v)
	if err != nil {
		return 1
	}
	if _, err := fmt.Fprintln(out, string(line)); err != nil {
		return 1
	}
	return 0
}

func printResult(out io.Writer, r result) int {
	if code := print(out, r.settle()); code != 0 || r.Outcome == allowed {
		return code
	}
	return 1
}

func dial(address string) error {
	c, err := net.DialTimeout("tcp", address, 3*time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

// readFile reads one byte, or one name of a folder.
func readFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		_, err := f.Readdirnames(1)
		return eof(err)
	}
	_, err = f.Read(make([]byte, 1))
	return eof(err)
}

func eof(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// writeFile appends one byte, making the file if there is none.
func writeFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write([]byte("x")); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// execFile starts a program; how it ends does not matter.
func execFile(path string) error {
	c := exec.Command(path, "true")
	if err := c.Start(); err != nil {
		return err
	}
	var ended *exec.ExitError
	if err := c.Wait(); err != nil && !errors.As(err, &ended) {
		return err
	}
	return nil
}

// drop copies this program into a folder and starts the copy.
func drop(dir string) error {
	body, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "dropped")
	if err := os.WriteFile(file, body, 0o755); err != nil {
		return err
	}
	return errors.Join(execFile(file), os.Remove(file))
}

// memfd starts a copy of this program that lies in no file system.
func memfd() error {
	body, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("dropped", 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "memfd")
	defer f.Close()
	if _, err := f.Write(body); err != nil {
		return err
	}
	return execFile(fmt.Sprintf("/proc/self/fd/%d", fd))
}

func names() []string {
	all := make([]string, 0, len(syscalls))
	for name := range syscalls {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
