package main

import (
	"golang.org/x/sys/unix"
)

// native are the calls that only this architecture has, and the ways around a
// filter that only looks at 64-bit calls: the x32 numbers, and int 0x80.
var native = map[string]func() error{
	"iopl":             plain(unix.SYS_IOPL, 3),
	"ioperm":           plain(unix.SYS_IOPERM, 0x80, 1, 1),
	"modify_ldt":       plain(unix.SYS_MODIFY_LDT, 0, 0, 0),
	"x32-getpid":       plain(unix.SYS_GETPID | 0x40000000),
	"int80-getpid":     func() error { return i386(20, 0, 0) },
	"int80-socketcall": func() error { return i386(102, 0, 0) }, // EINVAL where it is reached
	"int80-keyctl":     func() error { return i386(288, 0, ^uintptr(0)) },
}

// i386 makes a 32-bit call through int 0x80.
func i386(nr, a, b uintptr) error {
	if r := int80(nr, a, b); int32(r) < 0 && int32(r) > -4096 {
		return unix.Errno(-int32(r))
	}
	return nil
}

func int80(nr, a, b uintptr) uintptr
