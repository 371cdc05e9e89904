package evidence_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

type options = verifytest.Options

// v2 is an attestation that Rekor v2 holds.
var v2 = options{Log: verifytest.RekorV2}

var epoch = verifytest.Epoch()

// workflow is the signer of most of these tests.
var workflow = verifytest.GitHub("acme/agent", ".github/workflows/release.yml", "refs/tags/v1", "push")

// decode reads JSON to change it.
func decode(t *testing.T, raw []byte) object {
	t.Helper()
	var doc object
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// entry is a bundle's log entry.
func entry(b object) object {
	return b["verificationMaterial"].(object)["tlogEntries"].([]any)[0].(object)
}

// checkpoint changes the text of the checkpoint of a bundle's log entry.
func checkpoint(b object, change func(string) string) object {
	c := entry(b)["inclusionProof"].(object)["checkpoint"].(object)
	c["envelope"] = change(c["envelope"].(string))
	return b
}

// text is the checkpoint of a bundle's log entry.
func text(b object) string {
	return entry(b)["inclusionProof"].(object)["checkpoint"].(object)["envelope"].(string)
}

// hint changes the key hint of a checkpoint's signature.
func hint(checkpoint string) string {
	at := strings.LastIndexByte(checkpoint, ' ') + 1
	first := byte('A')
	if checkpoint[at] == first {
		first = 'B'
	}
	return checkpoint[:at] + string(first) + checkpoint[at+1:]
}

// edit changes a bundle's log entry.
func edit(b object, change func(entry object)) object {
	change(entry(b))
	return b
}

// double gives a bundle's log entry twice.
func double(b object) object {
	v := b["verificationMaterial"].(object)
	v["tlogEntries"] = append(v["tlogEntries"].([]any), entry(b))
	return b
}

// flipped changes one bit of a base64 member.
func flipped(t *testing.T, doc object, member string) {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(doc[member].(string))
	if err != nil {
		t.Fatal(err)
	}
	doc[member] = flip(raw)
}

// proofHash changes one bit of an inclusion proof.
func proofHash(t *testing.T, e object) {
	t.Helper()
	p := e["inclusionProof"].(object)
	holder := object{"hash": p["hashes"].([]any)[0]}
	flipped(t, holder, "hash")
	p["hashes"] = []any{holder["hash"]}
}

// resigned replaces what is signed, or only the signature, by something that
// somebody else's key signed: the log entry no longer is of this envelope.
func resigned(t *testing.T, b object, payload []byte) object {
	t.Helper()
	d := b["dsseEnvelope"].(object)
	if payload == nil {
		var err error
		if payload, err = base64.StdEncoding.DecodeString(d["payload"].(string)); err != nil {
			t.Fatal(err)
		}
	}
	d["payload"] = payload
	d["signatures"] = []any{object{"sig": newP256(t).sign(t, pae(evidence.PayloadType, payload))}}
	return b
}

// bare replaces the certificate by a reference to its bare key.
func bare(t *testing.T, b object) object {
	t.Helper()
	return set(set(b, nil, "verificationMaterial", "certificate"), object{"hint": ""}, "verificationMaterial", "publicKey")
}

func rootOf(t *testing.T, raw []byte) trust.Root {
	t.Helper()
	r, err := trust.FromJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// stage is a Sigstore, a stranger's, and a key.
type stage struct {
	s, stranger *verifytest.Sigstore
	k           verifytest.Key
	key         trust.Key
	root        trust.Root // of s, without keys
	keys        trust.Root // with the key
	st, other   []byte     // statements about image
}

func newStage(t *testing.T) stage {
	t.Helper()
	x := stage{s: verifytest.New(t), stranger: verifytest.New(t), k: verifytest.NewKey(t), st: encode(t, statement()),
		other: encode(t, set(statement(), "https://example.com/other", "predicateType"))}
	var err error
	if x.key, err = trust.ParseKey(x.k.Public(t)); err != nil {
		t.Fatal(err)
	}
	x.root = rootOf(t, x.s.Root())
	x.keys = x.root.With(x.key)
	return x
}

// attest is signed by workflow, keyed by the key.
func (x stage) attest(t *testing.T, o options) object {
	t.Helper()
	return decode(t, x.s.Attest(t, workflow, x.st, o))
}

func (x stage) keyed(t *testing.T, o options) object {
	t.Helper()
	return decode(t, x.s.AttestKey(t, x.k, x.st, o))
}

// all are the members that make a log entry.
var all = []string{"canonicalizedBody", "inclusionProof", "inclusionPromise", "integratedTime"}

// swapped is a good bundle with members of another good bundle's log entry.
func (x stage) swapped(t *testing.T, o options, payload []byte, members ...string) object {
	t.Helper()
	b, from := x.attest(t, o), decode(t, x.s.Attest(t, workflow, payload, o))
	for _, m := range members {
		entry(b)[m] = entry(from)[m]
	}
	return b
}

// misplaced is a good bundle of the key with another's log entry.
func (x stage) misplaced(t *testing.T, o options) object {
	t.Helper()
	return set(x.keyed(t, o), decode(t, x.s.AttestKey(t, x.k, x.other, o))["verificationMaterial"], "verificationMaterial")
}

// foreign is a checkpoint's text, signed by the stranger's log.
func (x stage) foreign(t *testing.T, text string) string {
	t.Helper()
	theirs := decode(t, x.stranger.Attest(t, workflow, x.st, options{}))
	sig := entry(theirs)["inclusionProof"].(object)["checkpoint"].(object)["envelope"].(string)
	return text[:strings.Index(text, "\n\n")+2] + sig[strings.Index(sig, "\n\n")+2:]
}

// edited is the root, changed.
func (x stage) edited(t *testing.T, change func(root object)) trust.Root {
	t.Helper()
	doc := decode(t, x.s.Root())
	change(doc)
	return rootOf(t, encode(t, doc))
}

// window moves one end of the validity of the first entry of a list of a root.
func window(list, end string, by time.Duration) func(root object) {
	return func(root object) {
		at := root[list].([]any)[0].(object)
		if key, ok := at["publicKey"].(object); ok {
			at = key
		}
		at["validFor"].(object)[end] = epoch.Add(by).Format(time.RFC3339)
	}
}

// within is the root with the key, in a window around the epoch.
func (x stage) within(from, until time.Duration) trust.Root {
	return x.root.With(x.key.Within(epoch.Add(from), epoch.Add(until)))
}

// trial is a bundle, whom to believe, and why not; "" if it proves.
type trial struct {
	bundle any
	root   trust.Root
	code   reason.Code
}

// try runs trials an hour after the epoch.
func try(t *testing.T, trials map[string]trial) {
	t.Helper()
	if len(trials) == 0 {
		t.Fatal("no trial")
	}
	for name, c := range trials {
		t.Run(name, func(t *testing.T) {
			raw, ok := c.bundle.([]byte)
			if !ok {
				raw = encode(t, c.bundle)
			}
			e, err := evidence.Parse(raw)
			var claim evidence.Claim
			if err == nil {
				claim, err = evidence.Check(e, c.root, []digest.Digest{image}, epoch.Add(time.Hour))
			}
			if c.code != "" {
				refused(t, claim, err, c.code)
			} else if err != nil || claim.Zero() {
				t.Error(err)
			}
		})
	}
}
