//go:build unix

package model

import "golang.org/x/sys/unix"

// fifo makes what is no regular file and never ends.
func fifo(path string) error { return unix.Mkfifo(path, 0o600) }
