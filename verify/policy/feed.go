package policy

import (
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Feed is a deny feed, proved by whoever read it. The zero Feed denies nothing.
type Feed struct {
	Serial uint64
	Until  time.Time                // after which it says nothing any more; zero = no end
	Denied map[digest.Digest]string // digest -> why
}

// Zero reports whether there is no feed.
func (feed Feed) Zero() bool { return feed.Serial == 0 && len(feed.Denied) == 0 }

// Check refuses an artifact of which any part (manifest, index, configuration,
// layer) is denied, and a feed that is past its end. Its codes are digest-denied
// and deny-feed-stale.
func (feed Feed) Check(a artifact.Artifact, now time.Time) error {
	what := fmt.Sprintf("ask deny feed %d about %s", feed.Serial, a.Ref())
	switch {
	case feed.Zero():
		return nil
	case !feed.Until.IsZero() && now.After(feed.Until):
		return &reason.Error{Code: reason.DenyFeedStale, What: what,
			Expected: "a feed valid at " + stamp(now), Found: "valid until " + stamp(feed.Until), Next: "bring a newer deny feed"}
	}
	for _, d := range parts(a) {
		if why, denied := feed.Denied[d]; denied {
			return &reason.Error{Code: reason.DigestDenied, What: what,
				Expected: "no digest of the artifact on the list", Found: d.String() + ": " + clip(why),
				Next: "use another version; the deny feed names this one"}
		}
	}
	return nil
}

// parts are all digests that make up an artifact.
func parts(a artifact.Artifact) []digest.Digest {
	all := a.Subjects()
	if d := a.ConfigDigest(); d != "" {
		all = append(all, d)
	}
	for _, l := range a.Layers() {
		all = append(all, l.Digest, l.DiffID)
	}
	return all
}
