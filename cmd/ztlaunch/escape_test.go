//go:build linux

package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// hostile moves the cursor, sets the title, hides text, reverses it, and ends the
// line to write one of its own.
const hostile = "\x1b]0;x\x07\x1b[2K\r\nallowed   all is well\u009b31m\u202e\u200b\u2028\x7f"

// harmless demands that text has as many lines as its harmless twin, and nothing
// that a terminal acts on.
func harmless(t *testing.T, got, twin string) {
	t.Helper()
	if strings.Count(got, "\n") != strings.Count(twin, "\n") {
		t.Errorf("%d lines, harmless text has %d:\n%q", strings.Count(got, "\n"), strings.Count(twin, "\n"), got)
	}
	if i := strings.IndexFunc(got, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
		t.Errorf("%q at %d of %q", got[i:], i, got)
	}
}

// TestN51EscapesInTree: the verb tree shows what nobody proved: predicate types, names,
// media types, and why an envelope cannot be read.
func TestN51EscapesInTree(t *testing.T) {
	sum := digest.FromString("x")
	show := func(text string) string {
		l := listing{Name: "registry.example/a", Root: sum, Manifest: sum}
		typed := verifytest.NewKey(t).Attest(t, verifytest.Statement(t, "https://x/"+text, map[string]any{text: text}, sum.Encoded()))
		l.Attached = append(l.Attached,
			describe(fetch.Attachment{Subject: sum, Where: "referrers-api", MediaType: text, Raw: typed}),
			describe(fetch.Attachment{Subject: sum, Where: "referrers-api", MediaType: text}),
			describe(fetch.Attachment{Subject: sum, Where: "referrers-api", MediaType: text, Raw: []byte(`{"` + text + `"`)}))
		e := &reason.Error{Code: reason.EnvelopeMalformed, What: "read " + text, Expected: text, Found: text, Next: text}
		l.Problems = append(l.Problems, asFailure(e, 1))
		return l.text()
	}
	harmless(t, show(hostile), show("harmless"))
}

// TestN51EscapesInRefusals: a refusal repeats what others wrote in each of its
// lines, and stays four lines.
func TestN51EscapesInRefusals(t *testing.T) {
	show := func(text string) string {
		var b bytes.Buffer
		refusal(&b, "verify", errors.Join(
			&reason.Error{Code: reason.AttestationMalformed, What: text, Expected: text, Found: text, Next: text},
			&reason.Error{Code: reason.ProvenanceRef, What: text, Found: text, Err: errors.New(text)},
			errors.New(text)))
		return b.String()
	}
	got := show(hostile)
	harmless(t, got, show("harmless"))
	if !strings.Contains(got, ": "+string(reason.AttestationMalformed)+": ") {
		t.Errorf("no code in %q", got)
	}
}
