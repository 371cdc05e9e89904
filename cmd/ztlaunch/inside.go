//go:build linux

package main

import (
	"os"
	"strconv"
	"strings"

	"github.com/ztlaunch/ztlaunch/launch"
	"github.com/ztlaunch/ztlaunch/launch/host"
	"github.com/ztlaunch/ztlaunch/launch/outer"
)

// inside runs this whole command again in a user namespace of its own, where the
// process has no privilege here. done says that it did, with status; err is why it
// could not, and nothing else will do.
func (w world) inside(h host.Host, result string) (status int, done bool, err error) {
	if w.outer || h.Sysadmin {
		return 0, false, nil
	}
	files := []*os.File{os.Stdin, os.Stdout, os.Stderr}
	if n, ok := strings.CutPrefix(result, "fd:"); ok {
		if fd, err := strconv.Atoi(n); err == nil && fd > 2 && fd < 1024 {
			files = append(files, make([]*os.File, fd-len(files)+1)...)
			files[fd] = os.NewFile(uintptr(fd), result)
		}
	}
	signals, stop := launch.Signals()
	defer stop()
	status, err = outer.Run(w.self, files, signals)
	return status, err == nil, err
}
