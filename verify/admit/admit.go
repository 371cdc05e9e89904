// Package admit is the only door from verification to launch: an allowed
// Decision becomes an Admission, and nothing else does.
//
// An Admission is bound to one artifact, one tree and one purpose, carries who
// proved what under which policy and root of trust, and ends: at the caller's
// maximum age, or earlier, when something that the decision rests on runs out.
// It lives in the process that verified; there is no way to read one from a file.
// What is written to disk is a Lock, which is data until it is compared with a
// new decision.
//
// An Admission for the purpose pin has a box without egress, executable mounts,
// devices, private addresses and capabilities, whatever the policy's box says.
//
// The package is pure. It does not check that the tree is the artifact's, nor
// that anybody still holds to what was decided: Holds and Revoked are there to be
// asked again.
package admit

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// Box is the ceiling of what the run may be given.
type Box = policy.Box

// Admission means: this artifact may be launched, for one purpose, until a
// time. The zero value is refused by everything that launches.
type Admission struct {
	decision policy.Decision
	until    time.Time
}

// Admit makes an Admission of an allowed decision. a and t are what will be
// launched: they must be what was decided about, and so must the purpose. The
// admission ends maxAge after the decision at the latest; maxAge must be
// positive. Its codes are admission-denied, admission-mismatch and
// admission-expired.
func Admit(d policy.Decision, a artifact.Artifact, t tree.Tree, purpose policy.Purpose, now time.Time, maxAge time.Duration) (Admission, error) {
	what := "admit " + a.Ref().String()
	mismatch := func(expected, found string) error {
		return &reason.Error{Code: reason.AdmissionMismatch, What: what, Expected: expected, Found: found}
	}
	switch about := d.Artifact(); {
	case d.Zero():
		return Admission{}, mismatch("a decision", "none")
	case a.Zero() || t.Zero():
		return Admission{}, mismatch("an artifact and its tree", "none")
	case maxAge <= 0:
		return Admission{}, mismatch("a maximum age", maxAge.String())
	case !d.Allowed():
		return Admission{}, &reason.Error{Code: reason.AdmissionDenied, What: what, Expected: "an allowed decision", Found: failures(d)}
	case about.Kind() != a.Kind() || about.Ref() != a.Ref():
		return Admission{}, mismatch(about.Ref().String(), a.Ref().String())
	case about.Digest() != a.Digest() || about.Index() != a.Index() || about.ConfigDigest() != a.ConfigDigest():
		return Admission{}, mismatch(about.Digest().String(), a.Digest().String())
	case d.Tree() != t.Digest():
		return Admission{}, mismatch("the tree "+d.Tree().String(), t.Digest().String())
	case d.Purpose() != purpose:
		return Admission{}, mismatch("the purpose "+string(d.Purpose()), string(purpose))
	}
	out := Admission{decision: d, until: d.Time().Add(maxAge)}
	if end := d.Until(); !end.IsZero() && end.Before(out.until) {
		out.until = end
	}
	return out, out.Holds(now)
}

func failures(d policy.Decision) string {
	var codes []string
	for _, f := range d.Findings() {
		if !f.Pass && !f.Skipped && !slices.Contains(codes, string(f.Code)) {
			codes = append(codes, string(f.Code))
		}
	}
	if codes == nil {
		return "a decision without any check that passed"
	}
	return strings.Join(codes, ", ")
}

// Zero reports whether the admission was made by anything but Admit.
func (a Admission) Zero() bool { return a.decision.Zero() }

// Holds refuses an admission that has ended, or lies in the future by more than
// five minutes: the clock was turned back.
func (a Admission) Holds(now time.Time) error {
	const skew = 5 * time.Minute
	if a.Zero() {
		return &reason.Error{Code: reason.AdmissionMismatch, What: "hold an admission", Expected: "an admission", Found: "none"}
	}
	if now.After(a.until) || now.Add(skew).Before(a.decision.Time()) {
		return &reason.Error{Code: reason.AdmissionExpired, What: "admit " + a.Artifact().Ref().String(),
			Expected: stamp(a.decision.Time()) + " to " + stamp(a.until), Found: stamp(now), Next: "ztlaunch verify " + a.Artifact().Ref().String()}
	}
	return nil
}

// Revoked asks a deny feed about an admitted artifact, as policy.Decision.Denied
// does; deny-feed-rolled-back when the feed is older than the one that the decision
// saw.
func Revoked(a Admission, feed policy.Feed, now time.Time) error {
	if a.Zero() {
		return a.Holds(now)
	}
	if seen := a.decision.Feed().Serial; feed.Serial < seen {
		return &reason.Error{Code: reason.FeedRolledBack, What: "ask the deny feed about " + a.Artifact().Ref().String(),
			Expected: fmt.Sprintf("serial %d or later", seen), Found: fmt.Sprint(feed.Serial), Next: "bring the newer deny feed back"}
	}
	return a.decision.Denied(feed, now)
}

// Artifact is what may be launched.
func (a Admission) Artifact() artifact.Artifact { return a.decision.Artifact() }

// Tree is the digest of the tree that may be launched.
func (a Admission) Tree() digest.Digest { return a.decision.Tree() }

// Purpose is what it may be launched for.
func (a Admission) Purpose() policy.Purpose { return a.decision.Purpose() }

// At is when it was decided.
func (a Admission) At() time.Time { return a.decision.Time() }

// Until is when the admission ends.
func (a Admission) Until() time.Time { return a.until }

// Proved are the claims that met the policy's demands.
func (a Admission) Proved() []policy.Proved { return a.decision.Proved() }

// Vouched counts the files that an SBOM vouches for.
func (a Admission) Vouched() policy.Vouched { return a.decision.Vouched() }

// Pin is the proved surface of a server, or nil.
func (a Admission) Pin() json.RawMessage { return a.decision.Pin() }

// Adopted reports whether the operator vouched for exactly these bytes.
func (a Admission) Adopted() bool { yes, _ := a.decision.Adopted(); return yes }

// PolicyDigest is the digest of the policy that decided.
func (a Admission) PolicyDigest() digest.Digest { sum, _ := a.decision.Policy(); return sum }

// RootDigest is the digest of the root of trust that claims were proved with.
func (a Admission) RootDigest() digest.Digest { return a.decision.Root() }

// Decision is what was decided, with every finding.
func (a Admission) Decision() policy.Decision { return a.decision }

// Box is the ceiling of what the run may be given, for its purpose.
func (a Admission) Box() Box {
	b := a.decision.Box()
	if a.Purpose() == policy.Pin {
		b.Egress, b.Exec, b.Devices, b.PrivateAddresses, b.Caps = []string{}, policy.Exec{}, nil, nil, nil
	}
	return b
}

// Signers are the distinct signers, each in one line, sorted.
func (a Admission) Signers() []string {
	var out []string
	for _, p := range a.Proved() {
		out = append(out, p.Signer.String())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Describe is the admission in a few lines, for people.
func (a Admission) Describe() []string {
	if a.Zero() {
		return []string{"nothing is admitted"}
	}
	out := []string{fmt.Sprintf("%s %s at %s for %s until %s", a.Artifact().Kind(), a.Artifact().Ref(), a.Artifact().Digest(), a.Purpose(), stamp(a.until))}
	for _, p := range a.Proved() {
		out = append(out, fmt.Sprintf("%s: %s of %s", p.Identity, p.Predicate, p.Subject))
	}
	return out
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
