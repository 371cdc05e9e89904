package launch

import (
	"os"

	"github.com/ztlaunch/ztlaunch/launch/rootfs"
)

// Ground is what every task stands on, whatever it is: a block of host ids and
// the user namespace that maps it. Nothing of the task is in it, so it may be
// laid while verification is still under way.
type Ground struct {
	ids    *rootfs.IDs
	userns *os.File
}

// Lay takes a block of ids that touches none of covered, its lock being a file
// in the folder dir, and makes the user namespace.
func Lay(dir string, covered []rootfs.Range) (Ground, error) {
	ids, err := rootfs.TakeIDs(dir, rootfs.DefaultIDs(), covered)
	if err != nil {
		return Ground{}, err
	}
	userns, err := rootfs.NewUserns(rootfs.TaskMap(ids.Base), rootfs.TaskMap(ids.Base))
	if err != nil {
		_ = ids.Release() // the lock goes with the process at the latest
		return Ground{}, refused("make the task's user namespace", err)
	}
	return Ground{ids, userns}, nil
}

// Close gives the ground back. The zero Ground has nothing.
func (g Ground) Close() {
	if g.ids == nil {
		return
	}
	_ = g.ids.Release() // the lock goes with the process at the latest
	g.userns.Close()
}
