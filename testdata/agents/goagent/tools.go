package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

func exit(args []string, _ io.Reader, _, errs io.Writer) int {
	if len(args) == 1 {
		if code, err := strconv.Atoi(args[0]); err == nil {
			return code
		}
	}
	fmt.Fprintln(errs, "exit: want a number")
	return 2
}

func echo(args []string, _ io.Reader, out, _ io.Writer) int {
	fmt.Fprintln(out, strings.Join(args, " "))
	return 0
}

// cat copies standard input, or the named files.
func cat(args []string, in io.Reader, out, errs io.Writer) int {
	if len(args) == 0 {
		if _, err := io.Copy(out, in); err != nil {
			fmt.Fprintln(errs, "cat:", err)
			return 1
		}
	}
	for _, name := range args {
		body, err := os.ReadFile(name)
		if err != nil {
			fmt.Fprintln(errs, "cat:", err)
			return 1
		}
		if _, err := out.Write(body); err != nil {
			fmt.Fprintln(errs, "cat:", err)
			return 1
		}
	}
	return 0
}

// env prints the environment sorted, or the values of the named variables: one
// line each, "NAME=value" or "NAME unset".
func env(args []string, _ io.Reader, out, _ io.Writer) int {
	if len(args) == 0 {
		all := os.Environ()
		slices.Sort(all)
		for _, v := range all {
			fmt.Fprintln(out, v)
		}
	}
	for _, name := range args {
		if value, set := os.LookupEnv(name); set {
			fmt.Fprintf(out, "%s=%s\n", name, value)
		} else {
			fmt.Fprintf(out, "%s unset\n", name)
		}
	}
	return 0
}

// args prints each word quoted on its own line.
func args(args []string, _ io.Reader, out, _ io.Writer) int {
	for _, a := range args {
		fmt.Fprintf(out, "%q\n", a)
	}
	return 0
}

func sleep(args []string, _ io.Reader, _, errs io.Writer) int {
	if len(args) == 1 {
		if seconds, err := strconv.ParseFloat(args[0], 64); err == nil {
			time.Sleep(time.Duration(seconds * float64(time.Second)))
			return 0
		}
	}
	fmt.Fprintln(errs, "sleep: want seconds")
	return 2
}

// stderr opens /dev/stderr by name, as `echo > /dev/stderr` in a shell does.
func stderr(args []string, _ io.Reader, _, errs io.Writer) int {
	f, err := os.OpenFile("/dev/stderr", os.O_WRONLY, 0)
	if err != nil {
		fmt.Fprintln(errs, "stderr:", err)
		return 1
	}
	fmt.Fprintln(f, strings.Join(args, " "))
	if err := f.Close(); err != nil {
		return 1
	}
	return 0
}

// tty says for each standard descriptor whether it is a terminal, and its size.
func tty(_ []string, _ io.Reader, out, _ io.Writer) int {
	for fd, name := range []string{"stdin", "stdout", "stderr"} {
		if !term.IsTerminal(fd) {
			fmt.Fprintf(out, "%s not a terminal\n", name)
			continue
		}
		w, h, err := term.GetSize(fd)
		if err != nil {
			fmt.Fprintf(out, "%s terminal, size: %v\n", name, err)
			continue
		}
		fmt.Fprintf(out, "%s terminal %dx%d\n", name, w, h)
	}
	return 0
}

// signals prints "ready", then the number of each signal that arrives; SIGTERM and
// SIGINT end it with 0.
func signals(_ []string, _ io.Reader, out, _ io.Writer) int {
	arrived := make(chan os.Signal, 16)
	signal.Notify(arrived, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
	fmt.Fprintln(out, "ready")
	for s := range arrived {
		n, ok := s.(syscall.Signal)
		if !ok {
			continue
		}
		fmt.Fprintf(out, "signal %d\n", int(n))
		if n == syscall.SIGTERM || n == syscall.SIGINT {
			return 0
		}
	}
	return 1
}
