package rootfs

import (
	"os"

	"github.com/ztlaunch/ztlaunch/launch/userns"
)

// TaskMap maps a task's 65,536 ids to the block that starts at base.
func TaskMap(base uint32) []userns.Map { return []userns.Map{{Outside: base, Count: BlockSize}} }

// OwnerMap maps exactly one id: the owner on disk appears to the task whose block
// starts at base as its own id task, and what the task writes belongs to owner.
func OwnerMap(owner, base, task uint32) []userns.Map {
	return []userns.Map{{Inside: owner, Outside: base + task, Count: 1}}
}

// newUserns makes a user namespace for a probe.
func newUserns(uids, gids []userns.Map) (*os.File, error) {
	f, err := userns.New(uids, gids, nil)
	if err != nil {
		return nil, unsupported("make user namespace", err)
	}
	return f, nil
}
