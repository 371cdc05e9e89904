package policy

import (
	"fmt"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// ages refuses a window of age that no claim can ever be in.
func (d demand) ages(n form.Node) {
	if d.word != vulnerabilities && d.maxAge > 0 && d.minimumAge >= d.maxAge {
		n.Fail(reason.FormValue, "minimumAge below maxAge", span(d.minimumAge)+" and "+span(d.maxAge), "")
	}
}

// tooYoung holds a claim's proved time against minimumAge: somebody else has had
// that long to notice what is wrong with it.
func (d demand) tooYoung(at time.Time, source evidence.TimeSource, now time.Time) []fault {
	expected := "at least " + span(d.minimumAge) + " since a log or timestamp authority saw it"
	if source == evidence.TimeNone || at.IsZero() {
		return []fault{{reason.ClaimUndated, expected, "no proved time", "sign with a timestamp authority, or remove minimumAge"}}
	}
	passes := at.Add(d.minimumAge)
	if !now.Before(passes) {
		return nil
	}
	return []fault{{reason.ClaimTooYoung, expected, fmt.Sprintf("%s, of %s", span(max(0, now.Sub(at))), stamp(at)),
		"it passes from " + stamp(passes)}}
}
