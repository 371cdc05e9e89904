// Goagent is a small agent that runs FROM scratch. Without words it does its task:
// it reads every .txt file in /work/in, has each counted by an MCP server if
// /run/ztlaunch/mcp.json lists one, reads the header of a model under /models if
// there is one, and writes /work/out/report.json.
//
//	goagent [task] [-work DIR] [-models DIR] [-mcp FILE]
//
// It is also the hostile tenant: each probe makes one attempt and prints one JSON
// line that says whether the kernel let it.
//
//	goagent probe net HOST:PORT | file PATH | write PATH | exec PATH | drop DIR | memfd
//	goagent probe syscall NAME | syscalls | self
//
// And it is the handful of programs that an image of one file lacks, under its own
// name or through a link: true, false, exit N, echo, cat, env, args, sleep SECONDS,
// stderr TEXT (by way of /dev/stderr), tty, signals.
//
// It exits with 0 when it did what it was asked, for a probe when the attempt
// succeeded; 1 when not; 2 for words that it does not know.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

func main() {
	runtime.LockOSThread() // an attempt is made on the first thread, whose death its parent sees
	words := os.Args[1:]
	if name := filepath.Base(os.Args[0]); tools[name] != nil {
		words = append([]string{name}, words...)
	}
	os.Exit(run(words, os.Stdin, os.Stdout, os.Stderr))
}

// tools are the small programs. Each returns its exit code.
var tools = map[string]func(args []string, in io.Reader, out, errs io.Writer) int{
	"true":    func([]string, io.Reader, io.Writer, io.Writer) int { return 0 },
	"false":   func([]string, io.Reader, io.Writer, io.Writer) int { return 1 },
	"exit":    exit,
	"echo":    echo,
	"cat":     cat,
	"env":     env,
	"args":    args,
	"sleep":   sleep,
	"stderr":  stderr,
	"tty":     tty,
	"signals": signals,
}

func run(words []string, in io.Reader, out, errs io.Writer) int {
	if len(words) == 0 || words[0] == "task" || words[0][0] == '-' {
		if len(words) > 0 && words[0] == "task" {
			words = words[1:]
		}
		if err := task(words, out); err != nil {
			fmt.Fprintln(errs, "goagent:", err)
			return 1
		}
		return 0
	}
	switch {
	case words[0] == "probe" && len(words) > 1:
		return probe(words[1:], out, errs)
	case words[0] == attempt && len(words) == 2:
		return attemptSyscall(words[1], out)
	case tools[words[0]] != nil:
		return tools[words[0]](words[1:], in, out, errs)
	}
	known := []string{"task", "probe"}
	for name := range tools {
		known = append(known, name)
	}
	slices.Sort(known)
	fmt.Fprintf(errs, "goagent: unknown word %q; known: %v\n", words[0], known)
	return 2
}
