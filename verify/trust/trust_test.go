package trust

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	prototrustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

func TestEmbedded(t *testing.T) {
	r := Embedded()
	if r.Zero() || !r.Keyless() {
		t.Fatal("the embedded root is no Sigstore root")
	}
	if got := r.Date().Format(time.DateOnly); got != EmbeddedDate {
		t.Errorf("dated %s, want %s", got, EmbeddedDate)
	}
	m, err := r.Sigstore()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.FulcioCertificateAuthorities()) == 0 || len(m.RekorLogs()) == 0 || len(m.CTLogs()) == 0 || len(m.TimestampingAuthorities()) == 0 {
		t.Error("the embedded root lacks an authority or a log")
	}
	same, err := FromJSON(publicGood)
	if err != nil {
		t.Fatal(err)
	}
	if same.Digest() != r.Digest() {
		t.Error("the same bytes, embedded and named, have two digests")
	}
	if !same.Date().IsZero() {
		t.Error("a named root has a date that nobody gave it")
	}
}

func TestRootAbsent(t *testing.T) {
	for name, r := range map[string]Root{"zero": {}, "keys": Root{}.With(testKey(t, 1))} {
		m, err := r.Sigstore()
		if m != nil || code(err) != reason.TrustRootAbsent {
			t.Errorf("%s: %v, want %s", name, err, reason.TrustRootAbsent)
		}
	}
}

func TestWith(t *testing.T) {
	a, b := testKey(t, 1), testKey(t, 2)
	base := Root{}.With(a)
	both := base.With(b, a, Key{})
	if len(base.Keys()) != 1 || len(both.Keys()) != 2 {
		t.Fatalf("%d and %d keys, want 1 and 2", len(base.Keys()), len(both.Keys()))
	}
	keys := both.Keys()
	keys[0] = Key{}
	if both.Keys()[0].Zero() {
		t.Error("the caller can change a Root")
	}
}

func TestDigest(t *testing.T) {
	a, b := testKey(t, 1), testKey(t, 2)
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	distinct := map[string]Root{
		"zero": {}, "a": Root{}.With(a), "b": Root{}.With(b), "ab": Root{}.With(a, b),
		"a from": Root{}.With(a.Within(day, time.Time{})), "a until": Root{}.With(a.Within(time.Time{}, day)),
		"embedded": Embedded(), "embedded a": Embedded().With(a),
	}
	seen := map[string]string{}
	for name, r := range distinct {
		d := r.Digest().String()
		if err := r.Digest().Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if other, ok := seen[d]; ok {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[d] = name
	}
	if x, y := (Root{}).With(a, b).Digest(), (Root{}).With(b).With(a, b).Digest(); x != y {
		t.Error("order or repetition of keys changes the digest")
	}
}

func TestFromJSONRefuses(t *testing.T) {
	whole := string(publicGood)
	cases := map[string]struct {
		raw  string
		code reason.Code
	}{
		"empty":         {"", reason.TrustRootMalformed},
		"truncated":     {whole[:len(whole)/2], reason.TrustRootMalformed},
		"trailing":      {whole + "{}", reason.TrustRootMalformed},
		"unknown field": {strings.Replace(whole, `"tlogs"`, `"extra":1,"tlogs"`, 1), reason.TrustRootMalformed},
		"duplicate":     {strings.Replace(whole, `"tlogs"`, `"tlogs":[],"tlogs"`, 1), reason.TrustRootMalformed},
		"case variant":  {strings.Replace(whole, `"tlogs"`, `"Tlogs"`, 1), reason.TrustRootMalformed},
		"media type":    {strings.Replace(whole, "version=0.1", "version=0.9", 1), reason.TrustRootMalformed},
		"too-large":     {whole + strings.Repeat(" ", MaxRootSize), reason.TrustRootTooLarge},
		"bad certificate": {set(t, "AAAA", "certificateAuthorities", "certChain", "certificates", "rawBytes"),
			reason.TrustRootMalformed},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r, err := FromJSON([]byte(c.raw))
			if code(err) != c.code {
				t.Errorf("%v, want %s", err, c.code)
			}
			if !r.Zero() {
				t.Error("a refused root is not zero")
			}
		})
	}
}

// TestN12RootWindow: the validity of an authority or log, of each kind, is left out
// or turned around: none is read as "always".
func TestN12RootWindow(t *testing.T) {
	for name, raw := range map[string]string{
		"no-start-ca":    without(t, "certificateAuthorities", "validFor"),
		"no-start-tsa":   without(t, "timestampAuthorities", "validFor"),
		"no-start-tlog":  without(t, "tlogs", "publicKey", "validFor"),
		"no-start-ct":    without(t, "ctlogs", "publicKey", "validFor"),
		"only-end-ca":    without(t, "certificateAuthorities", "validFor", "start"),
		"backwards-ca":   set(t, "1990-01-01T00:00:00Z", "certificateAuthorities", "validFor", "end"),
		"backwards-tsa":  set(t, "1990-01-01T00:00:00Z", "timestampAuthorities", "validFor", "end"),
		"backwards-tlog": set(t, "1990-01-01T00:00:00Z", "tlogs", "publicKey", "validFor", "end"),
		"backwards-ct":   set(t, "1990-01-01T00:00:00Z", "ctlogs", "publicKey", "validFor", "end"),
		"log-twice":      twice(t),
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := FromJSON([]byte(raw)); code(err) != reason.TrustRootWindow || !r.Zero() {
				t.Errorf("%v, want %s", err, reason.TrustRootWindow)
			}
		})
	}
}

// FuzzFromJSON: a root that is read can be used, and has the same parts in the form
// that Sigstore's own library writes. The bytes differ: what is kept and named by its
// digest is the file as it was.
func FuzzFromJSON(f *testing.F) {
	f.Add(publicGood)
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := FromJSON(raw)
		if err != nil {
			if code(err) == "" {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		if _, err := r.Sigstore(); err != nil {
			t.Fatalf("accepted, then refused: %v", err)
		}
		var pb prototrustroot.TrustedRoot
		if err := protojson.Unmarshal(raw, &pb); err != nil {
			t.Fatalf("accepted what the library refuses: %v", err)
		}
		again, err := protojson.Marshal(&pb)
		if err != nil {
			t.Fatal(err)
		}
		back, err := FromJSON(again)
		if err != nil {
			t.Fatalf("%v:\n%s", err, again)
		}
		was, err := r.Parts()
		is, bad := back.Parts()
		if err != nil || bad != nil || !reflect.DeepEqual(was, is) {
			t.Fatalf("%+v (%v), and written again %+v (%v)", was, err, is, bad)
		}
	})
}

func code(err error) reason.Code {
	if e, ok := reason.Of(err); ok {
		return e.Code
	}
	return ""
}

// edit decodes the embedded root, walks to the field, taking the first element
// of every list on its way, and lets f change the object that holds it.
func edit(t *testing.T, f func(object map[string]any, key string), path ...string) string {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(publicGood, &doc); err != nil {
		t.Fatal(err)
	}
	object := doc
	for _, key := range path[:len(path)-1] {
		switch v := object[key].(type) {
		case map[string]any:
			object = v
		case []any:
			object = v[0].(map[string]any)
		default:
			t.Fatalf("no %s in the embedded root", key)
		}
	}
	f(object, path[len(path)-1])
	raw, err := json.Marshal(doc)
	if err != nil || bytes.Equal(raw, publicGood) {
		t.Fatal("nothing edited", err)
	}
	return string(raw)
}

func without(t *testing.T, path ...string) string {
	return edit(t, func(object map[string]any, key string) { delete(object, key) }, path...)
}

func set(t *testing.T, value string, path ...string) string {
	return edit(t, func(object map[string]any, key string) { object[key] = value }, path...)
}

func twice(t *testing.T) string {
	return edit(t, func(object map[string]any, key string) {
		all := object[key].([]any)
		object[key] = append(all, all[0])
	}, "tlogs")
}
