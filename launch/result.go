package launch

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/launch/monitor"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Result is how a run ended.
type Result struct {
	Status  int             // as docker reports it: the program's own, or 128 and the signal's number
	Signal  unix.Signal     // that ended the program, or 0
	Cause   *reason.Error   // why the launcher or the kernel ended it; nil when it ended by itself
	Started time.Time       // when the program was let go
	Ended   time.Time       // when its first process was gone
	Lost    error           // why not all of its output was passed on, or nil
	Drift   []monitor.Drift // files that no longer matched
}
