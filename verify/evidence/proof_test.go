package evidence_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// A good bundle carries the log entry of another artifact's signature, made by
// the same signer: the entry is sound, and of something else.
func TestN01EntryOfAnotherArtifact(t *testing.T) {
	x := newStage(t)
	try(t, map[string]trial{
		"v1":     {x.swapped(t, options{}, x.other, all...), x.root, reason.LogMismatch},
		"v2":     {x.swapped(t, v2, x.other, all...), x.root, reason.LogMismatch},
		"key":    {x.misplaced(t, options{}), x.keys, reason.LogMismatch},
		"key-v2": {x.misplaced(t, v2), x.keys, reason.LogMismatch},
	})
}

// A signed entry timestamp is forged, over another time, or missing, while the
// bundle claims to be logged.
func TestN02ForgedPromise(t *testing.T) {
	x := newStage(t)
	forged := func(e object) { flipped(t, e["inclusionPromise"].(object), "signedEntryTimestamp") }
	later := func(e object) { e["integratedTime"] = json.Number(strconv.FormatInt(epoch.Unix()+1, 10)) }
	dropped := func(e object) { delete(e, "inclusionPromise") }
	beside := func(b object) object { // a good entry of another log does not make up for it
		forged(entry(b))
		return b
	}
	try(t, map[string]trial{
		"forged":                {edit(x.attest(t, options{}), forged), x.root, reason.LogPromiseInvalid},
		"time":                  {edit(x.attest(t, options{}), later), x.root, reason.LogPromiseInvalid},
		"unsigned":              {edit(x.attest(t, options{}), dropped), x.root, reason.TimestampAbsent},
		"v0.1":                  {set(edit(x.attest(t, options{}), dropped), "application/vnd.dev.sigstore.bundle+json;version=0.1", "mediaType"), x.root, reason.LogProofAbsent},
		"key":                   {edit(x.keyed(t, options{}), forged), x.keys, reason.LogPromiseInvalid},
		"beside-a-good-log":     {beside(x.attest(t, options{Also: []verifytest.Version{verifytest.RekorV2}, StampAt: epoch})), x.root, reason.LogPromiseInvalid},
		"key-beside-a-good-log": {beside(x.keyed(t, options{Also: []verifytest.Version{verifytest.RekorV2}})), x.keys, reason.LogPromiseInvalid},
	})
}

// A search finds an entry for the same payload, signed with another certificate:
// found is not matching.
func TestN03EntryFoundIsNotTheOne(t *testing.T) {
	x := newStage(t)
	try(t, map[string]trial{
		"v1": {x.swapped(t, options{}, x.st, all...), x.root, reason.LogMismatch},
		"v2": {x.swapped(t, v2, x.st, all...), x.root, reason.LogMismatch},
	})
}

// One entry given twice is refused, and two entries of one log are one log: only
// another log counts as a second.
func TestN04TwoEntriesOfOneLog(t *testing.T) {
	x := newStage(t)
	one, two := verifytest.RekorV1, verifytest.RekorV2
	try(t, map[string]trial{
		"twice":     {double(x.attest(t, options{})), x.root, reason.LogDuplicate},
		"twice-key": {double(x.keyed(t, options{})), x.keys, reason.LogDuplicate},
	})
	for name, c := range map[string]struct {
		also []verifytest.Version
		want int
	}{"one": {nil, 1}, "same-log-twice": {[]verifytest.Version{one}, 1}, "two-logs": {[]verifytest.Version{two}, 2}, "three-entries-of-two": {[]verifytest.Version{one, two}, 2}} {
		for kind, b := range map[string]object{"keyless": x.attest(t, options{Also: c.also}), "key": x.keyed(t, options{Also: c.also})} {
			e := parse(t, b)
			claim, err := evidence.Check(e, x.keys, []digest.Digest{image}, epoch.Add(time.Hour))
			if err != nil || len(claim.Logs()) != c.want || !claim.Logged() {
				t.Errorf("%s %s: held by %v, want %d: %v", kind, name, claim.Logs(), c.want, err)
			}
			// What the library counts, which keyless checks rest on too.
			for threshold, want := range map[int]bool{c.want: true, c.want + 1: false} {
				if got := evidence.HeldBy(e, x.keys, x.key, threshold); (got == nil) != want {
					t.Errorf("%s %s: the library finds %d logs: %v", kind, name, threshold, got)
				}
			}
		}
	}
}

// Two signed certificate timestamps of one log are one log, whatever their times.
func TestN04TwoTimestampsOfOneLog(t *testing.T) {
	x := newStage(t)
	for name, c := range map[string]struct {
		sct  verifytest.SCT
		most int
	}{"one": {verifytest.SCTGood, 1}, "same-log-twice": {verifytest.SCTTwice, 1}, "two-logs": {verifytest.SCTTwoLogs, 2}} {
		b := x.attest(t, options{SCT: c.sct})
		try(t, map[string]trial{name: {b, x.root, ""}})
		for threshold, want := range map[int]bool{c.most: true, c.most + 1: false} {
			if err := evidence.Transparent(parse(t, b), x.root, epoch, threshold); (err == nil) != want {
				t.Errorf("%s: %d logs: %v", name, threshold, err)
			}
		}
	}
	try(t, map[string]trial{"forged": {x.attest(t, options{SCT: verifytest.SCTForged}), x.root, reason.SCTInvalid}})
}

// A checkpoint has another tree's root hash, another key hint or origin, a
// stranger's signature or none; or the proof is of another entry.
func TestN05Checkpoint(t *testing.T) {
	x := newStage(t)
	unsigned := func(c string) string { return c[:strings.Index(c, "\n\n")+2] }
	other := func(o options) func(string) string { return func(string) string { return text(x.attest(t, o)) } }
	try(t, map[string]trial{
		"proof":       {edit(x.attest(t, options{}), func(e object) { proofHash(t, e) }), x.root, reason.LogProofInvalid},
		"proof-v2":    {edit(x.attest(t, v2), func(e object) { proofHash(t, e) }), x.root, reason.LogProofInvalid},
		"proof-key":   {edit(x.keyed(t, v2), func(e object) { proofHash(t, e) }), x.keys, reason.LogProofInvalid},
		"index":       {edit(x.attest(t, options{}), func(e object) { e["inclusionProof"].(object)["logIndex"] = "0" }), x.root, reason.LogProofInvalid},
		"other-proof": {x.swapped(t, options{}, x.other, "inclusionProof"), x.root, reason.LogProofInvalid},
		"root-hash":   {checkpoint(x.attest(t, options{}), other(options{})), x.root, reason.LogCheckpointInvalid},
		"root-v2":     {checkpoint(x.attest(t, v2), other(v2)), x.root, reason.LogProofInvalid},
		"hint":        {checkpoint(x.attest(t, options{}), hint), x.root, reason.LogCheckpointInvalid},
		"hint-v2":     {checkpoint(x.attest(t, v2), hint), x.root, reason.LogCheckpointInvalid},
		"origin":      {checkpoint(x.attest(t, options{}), func(c string) string { return "x" + c }), x.root, reason.LogCheckpointInvalid},
		"origin-v2":   {checkpoint(x.attest(t, v2), func(c string) string { return "x" + c }), x.root, reason.LogCheckpointInvalid},
		"signer":      {checkpoint(x.attest(t, options{}), func(c string) string { return x.foreign(t, c) }), x.root, reason.LogCheckpointInvalid},
		"signer-v2":   {checkpoint(x.attest(t, v2), func(c string) string { return x.foreign(t, c) }), x.root, reason.LogCheckpointInvalid},
		"unsigned":    {checkpoint(x.attest(t, options{}), unsigned), x.root, reason.LogCheckpointInvalid},
		"unsigned-v2": {checkpoint(x.attest(t, v2), unsigned), x.root, reason.LogCheckpointInvalid},
	})
}

// The envelope's payload, or its signature, is not the one in the log entry, of
// either kind (dsse 0.0.1 and hashedrekord 0.0.2).
func TestN06EnvelopeDiffersFromEntry(t *testing.T) {
	x := newStage(t)
	try(t, map[string]trial{
		"payload":      {resigned(t, x.attest(t, options{}), x.other), x.root, reason.LogMismatch},
		"payload-v2":   {resigned(t, x.attest(t, v2), x.other), x.root, reason.LogMismatch},
		"signature":    {resigned(t, x.attest(t, options{}), nil), x.root, reason.LogMismatch},
		"signature-v2": {resigned(t, x.attest(t, v2), nil), x.root, reason.LogMismatch},
		"payload-key":  {edited(t, x.keyed(t, options{}), x.other), x.keys, reason.SignatureInvalid},
	})
}
