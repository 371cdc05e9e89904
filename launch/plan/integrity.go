package plan

import (
	"slices"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// integrities are how a root can be held, weakest first.
var integrities = []string{"extracted", "loop", "sealed"}

// integrity refuses a root that is held more weakly than the box demands.
func integrity(held, demanded string) error {
	if demanded == "" || slices.Index(integrities, held) >= slices.Index(integrities, demanded) && slices.Contains(integrities, demanded) {
		return nil
	}
	return &reason.Error{Code: reason.IntegrityBelowBox, What: "hold the root",
		Expected: "integrity " + demanded + " or stronger, as the policy's box says", Found: held,
		Next: "ztlaunch doctor says what this host lacks"}
}
