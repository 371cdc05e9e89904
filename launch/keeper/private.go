package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// nobody is what other users' ids look like in a user namespace without them.
const nobody = 65534

// private refuses a folder that somebody else could have written, or could put
// another in the place of: what is recorded there is removed with our rights,
// and the runtime is told from there what to do. The folder is this user's alone;
// each one above is this user's or root's, and others write to none of them
// unless it is sticky. In a user namespace that lacks root, root is not told from
// others: there only the folder itself says anything.
func private(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s is not a folder of this user alone", dir)
	}
	lacksRoot, err := inner()
	for up := dir; err == nil && up != "/"; {
		up = filepath.Dir(up)
		if err = unix.Stat(up, &st); err != nil {
			break
		}
		ours := int(st.Uid) == os.Geteuid() || st.Uid == 0 || lacksRoot && st.Uid == nobody
		if !ours || st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0 {
			err = fmt.Errorf("%s can be changed by others", up)
		}
	}
	return err
}

// inner reports whether this is another than the first user namespace.
func inner() (bool, error) {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false, err
	}
	f := strings.Fields(string(b))
	return len(f) != 3 || f[0] != "0" || f[1] != "0" || f[2] != "4294967295", nil
}

// open makes RUN/tasks where it is missing, and refuses one that is not private.
func open(run string) (tasks string, err error) {
	tasks = filepath.Join(run, "tasks")
	if err := os.MkdirAll(tasks, 0o700); err != nil {
		return "", err
	}
	return tasks, private(tasks)
}
