//go:build linux

package main

import (
	"errors"
	"path"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/plan"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// lent refuses a program that lies in a mount and is not there, or cannot be executed,
// so that this depends on no runtime's wording. What changes there before the start
// is the kernel's to refuse.
func lent(p plan.Plan) error {
	from, rel, ok := p.Lent()
	if !ok {
		return nil
	}
	refuse := func(code reason.Code, found string) error {
		return &reason.Error{Code: code, What: "execute " + path.Join(from.Target, rel), Expected: "an executable file in the mount at " + from.Target,
			Found: found, Next: "chmod +x it in " + reason.Word(from.Source.Asked) + ", or name another"}
	}
	var st unix.Stat_t
	err := unix.Fstat(from.Source.Handle, &st)
	if rel != "" {
		var fd int
		fd, err = unix.Openat2(from.Source.Handle, rel, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
		if err == nil {
			err = unix.Fstat(fd, &st)
			unix.Close(fd)
		}
	}
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP):
		return refuse(reason.CommandNotFound, "no such file")
	case err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG:
		return refuse(reason.CommandNotExecutable, "not a regular file")
	case err == nil && st.Mode&0o111 == 0:
		return refuse(reason.CommandNotExecutable, "no execute permission")
	}
	return nil // what could not be looked at the kernel judges
}
