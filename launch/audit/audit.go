// Package audit owns the host's audit chain: one record for every decision,
// launch, denial, drift, exit and adoption, each bound to the one before it.
//
// # The log
//
// The log is DIR/host.jsonl, one record a line, append only:
//
//	{"seq":N,"time":"T","prev":"P","kind":"K","body":{...},"hash":"H","mac":"M"}
//
// without spaces, members in this order, strings escaped as encoding/json does
// without its HTML rules, at most 64 KiB with the newline. N counts from 1 and
// never skips. T is RFC 3339 in UTC with six decimals. P is the H of record
// N-1, and 64 zeros for record 1. H is the lowercase hex SHA-256 of the text
// "ztlaunch/audit-record/v1\n" followed by the line up to and without
// `,"hash"`. M is the lowercase hex HMAC-SHA256, under the host's key, of
// "ztlaunch/audit-mac/v1\n" followed by the 32 bytes of H. Anybody can check
// the chain; whoever has the key can also tell a genuine record from one that
// was made elsewhere, so a chain that is rebuilt from its first record up does
// not pass.
//
// Record 1 has the kind "install". A body holds only the members that Record
// names; there is no member for the environment, arguments or output of a task.
//
// # The key and the head
//
// HEADDIR/audit-key holds 32 random bytes as hex, mode 0600, made at the first
// use. HEADDIR/audit-head says how far the log has come, so that a cut tail
// shows: two slots of 4096 bytes, each a line
//
//	{"seq":N,"hash":"H","size":S,"mac":"M"}
//
// and zeros, where S is the size of the log after record N and M the HMAC of
// "ztlaunch/audit-head/v1\n" and the line up to `,"mac"`. Record N goes to slot
// N mod 2: the older slot is the one that is overwritten, and a crash within it
// leaves the newer. This is atomic like a rename, and three times cheaper.
//
// Under an exclusive flock on DIR, an append reads the head and the end of the
// log, writes the record and syncs it, then writes its slot and syncs that.
// Only then has it happened; who appends acts after that.
//
//   - A log exactly one genuine record ahead of the head is what a crash
//     between the two writes leaves. It is accepted and the head is moved: the
//     record has the host's MAC and continues the head's own record, so nobody
//     else made it, and nothing was acted on in its name.
//   - Bytes after the head's record without a newline are a torn write. They
//     are cut off and the cut is recorded (kind "repair"): they belonged to an
//     append that never returned.
//   - Everything else is refused: no code path mends it.
//
// # What this does not do
//
// It does not stop who can write both folders and read the key: such a one can
// write any log. Nor does it notice that log, head and key were put back
// together to an earlier state, or all deleted: for that the head (Report.Head)
// must be kept somewhere else. It bounds free text and blanks what has the
// shape of a credential, as a second line: the first is that callers have no
// member to put one in.
package audit

import (
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Kind names the event.
type Kind string

// The events. Install and Repair are written by this package alone.
const (
	Install  Kind = "install"  // the chain starts
	Repair   Kind = "repair"   // a torn write was cut off
	Decision Kind = "decision" // a policy was evaluated
	Denial   Kind = "denial"   // something was refused
	Adopt    Kind = "adopt"    // the operator vouched for a digest
	Policy   Kind = "policy"   // the operator's policy is about to be written
	Lock     Kind = "lock"     // a tag is about to be locked to another digest: from Expected to Found
	Trust    Kind = "trust"    // another Sigstore root is about to be put in force: from Expected to Found
	Launch   Kind = "launch"   // a task is about to start
	Drift    Kind = "drift"    // a byte no longer matches
	Exit     Kind = "exit"     // a task ended
)

// appendable says whether callers may write records of this kind.
func (k Kind) appendable() bool {
	switch k {
	case Decision, Denial, Adopt, Policy, Lock, Trust, Launch, Drift, Exit:
		return true
	default: // Install and Repair too
		return false
	}
}

// Part is one artifact that an event is about.
type Part struct {
	Role     string          `json:"role"`               // "image", "model main", "server files"
	Name     string          `json:"name,omitempty"`     // the normalised name
	Digest   digest.Digest   `json:"digest,omitempty"`   // what runs
	Tree     digest.Digest   `json:"tree,omitempty"`     // its files
	Signers  []string        `json:"signers,omitempty"`  // proved
	Evidence []digest.Digest `json:"evidence,omitempty"` // envelopes relied on
}

// Record is one event. Time and Kind are required, everything else is as the
// event has it. Text longer than 4096 bytes, lists longer than 256 and
// what makes a record longer than 64 KiB are clipped, and the record says so.
type Record struct {
	Time     time.Time
	Kind     Kind
	Task     string        // task id
	Actor    string        // who ran ztlaunch: "uid 1000"
	Verb     string        // "run", "verify", "adopt"
	Purpose  string        // of the admission
	Parts    []Part        // the artifacts
	Policy   digest.Digest // the policy's
	Trust    digest.Digest // the trust root's
	Plan     digest.Digest // the OCI spec's
	Profile  digest.Digest // the seccomp profile's
	Codes    []reason.Code // why not
	Rule     string        // the rule that decided: "images[0].require[1]"
	Path     string        // the file that drifted
	Expected string
	Found    string
	Tier     string   // the integrity tier in force
	Unsafe   []string // weaker words the operator typed
	Cause    string   // why a task ended: "exited", "drift", "out-of-memory"
	Status   int      // its exit status; written for Exit only
	Note     string   // the operator's --reason
}
