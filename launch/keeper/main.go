package keeper

import (
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/userns"
)

// lineFD is the keeper's end of the socket. Descriptors above it are only held.
const lineFD = 3

// Main is the keeper's process: it waits for the launcher to be done or to die,
// and cleans up in the second case. args are those after the program's name. It
// returns the exit status: 0 when nothing is left, 1 when something is, 2 when
// it was not started by Start.
//
// It reads nothing of the environment.
func Main(args []string) int {
	var st unix.Stat_t
	if len(args) != 1 || !filepath.IsAbs(args[0]) || unix.Fstat(lineFD, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return 2
	}
	dir := args[0]
	// It has a session of its own; a manager that stops all processes of a
	// service must not stop this one before its work is done.
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGPIPE, unix.SIGUSR1, unix.SIGUSR2)
	if over, err := listen(lineFD); err != nil || over {
		if err != nil {
			return 2
		}
		return 0
	}
	entries, err := readRecord(dir)
	if err := errors.Join(err, clean(dir, entries)); err != nil {
		_ = os.WriteFile(filepath.Join(dir, "failed"), []byte(err.Error()+"\n"), 0o600)
		return 1
	}
	return 0
}

// listen receives until the launcher says that all is clean (true) or its end
// is closed (false). Descriptors that come along stay open in this process.
func listen(fd int) (over bool, err error) {
	var b [requestMax]byte
	rights := make([]byte, unix.CmsgSpace(4))
	for {
		n, _, _, _, err := unix.Recvmsg(fd, b[:], rights, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return false, err
		case n == 0:
			return false, nil
		case b[0] == done:
			return true, nil
		case b[0] == space:
			if err := give(fd, b[1:n]); err != nil {
				return false, err
			}
		}
	}
}

// give answers a request for a user namespace.
func give(fd int, request []byte) error {
	var m maps
	err := json.Unmarshal(request, &m)
	var f *os.File
	if err == nil {
		f, err = userns.New(m.UIDs, m.GIDs, quicken)
	}
	if err != nil {
		text := append([]byte{fault}, err.Error()...)
		return unix.Sendmsg(fd, text[:min(len(text), requestMax)], nil, nil, unix.MSG_NOSIGNAL)
	}
	defer f.Close()
	return unix.Sendmsg(fd, []byte{space}, unix.UnixRights(int(f.Fd())), nil, unix.MSG_NOSIGNAL)
}
