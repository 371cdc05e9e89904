package launch

import (
	"os"

	"github.com/ztlaunch/ztlaunch/launch/keeper"
	"github.com/ztlaunch/ztlaunch/launch/rootfs"
)

// Ground is what every task stands on, whatever it is: its ids and the user
// namespace that maps them. Nothing of the task is in it, so it may be laid
// while verification is still under way.
type Ground struct {
	ids    *rootfs.IDs
	userns *os.File
}

// Lay makes the user namespace of ids and takes these over, also when it fails.
func Lay(ids *rootfs.IDs, k *keeper.Keeper) (Ground, error) {
	userns, err := lay(ids, k)
	if err != nil {
		ids.Release()
		return Ground{}, refused("make the task's user namespace", err)
	}
	return Ground{ids, userns}, nil
}

func lay(ids *rootfs.IDs, k *keeper.Keeper) (*os.File, error) {
	if lock := ids.File(); lock != nil {
		if err := k.Hold(lock); err != nil {
			return nil, err
		}
	}
	return k.Userns(ids.Maps())
}

// IDs are the task's.
func (g Ground) IDs() *rootfs.IDs { return g.ids }

// Close gives the ground back. The zero Ground has nothing.
func (g Ground) Close() {
	if g.ids == nil {
		return
	}
	g.ids.Release()
	g.userns.Close()
}
