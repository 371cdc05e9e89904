// Probe is the task of tests: a static program that does what its first
// argument says and tells what happened.
//
//	exit N             end with N
//	sleep              wait to be killed
//	cat                copy standard input to standard output
//	fds                print the open descriptors
//	env                print the environment
//	calls              for each line "NR [ARG...]" of standard input make that system
//	                   call, print "ok N" or "errno N"
//	int80 NR           make a system call without arguments through the 32-bit door
//	fork N             start N sleeping children in new sessions, say "ready", wait
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// The main goroutine stays on the main thread: a filter that kills a thread
// leaves the process there to be looked at.
func init() { runtime.LockOSThread() }

func main() {
	args := os.Args[1:]
	if len(args) == 0 {
		args = []string{"exit", "0"}
	}
	switch args[0] {
	case "exit":
		n, _ := strconv.Atoi(args[1])
		os.Exit(n)
	case "sleep":
		time.Sleep(time.Hour)
	case "cat":
		io.Copy(os.Stdout, os.Stdin)
	case "fds":
		fds()
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "calls":
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			call(strings.Fields(lines.Text()))
		}
	case "int80":
		n, _ := strconv.Atoi(args[1])
		fmt.Println("ok", int80(uint32(n)))
	case "fork":
		n, _ := strconv.Atoi(args[1])
		for range n {
			p, err := os.StartProcess("/proc/self/exe", []string{"probe", "sleep"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{Setsid: true}})
			if err != nil {
				fmt.Println("fork:", err)
				os.Exit(1)
			}
			p.Release()
		}
		fmt.Println("ready")
		time.Sleep(time.Hour)
	default:
		fmt.Println("probe: what is", args[0])
		os.Exit(99)
	}
}

func fds() {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	names, _ := d.Readdirnames(-1)
	for _, n := range names {
		to, err := os.Readlink("/proc/self/fd/" + n)
		if err != nil || n == strconv.Itoa(int(d.Fd())) || strings.HasPrefix(to, "anon_inode:") {
			continue // the listing's own, and the Go runtime's poller
		}
		fmt.Println(n, to)
	}
}

// call makes a system call with up to six arguments; one that is not a number
// is passed as a pointer to its bytes with a zero after them.
func call(args []string) {
	var a [7]uintptr
	var keep [][]byte
	for i, s := range args {
		n, err := strconv.ParseUint(s, 0, 64)
		if err != nil {
			b := append([]byte(s), make([]byte, 64)...)
			keep = append(keep, b)
			a[i] = uintptr(unsafe.Pointer(&b[0]))
			continue
		}
		a[i] = uintptr(n)
	}
	r, _, errno := syscall.RawSyscall6(a[0], a[1], a[2], a[3], a[4], a[5], a[6])
	if errno != 0 {
		fmt.Println("errno", int(errno))
		return
	}
	fmt.Println("ok", r)
	_ = keep
}
