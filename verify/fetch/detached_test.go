package fetch

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestDetachedBounds takes a thousand bundles of one file and no more.
func TestDetachedBounds(t *testing.T) {
	dir := t.TempDir()
	rewrite(t, dir, "most", strings.Repeat("{}\n", maxReferrers))
	rewrite(t, dir, "more", strings.Repeat("{}\n", maxReferrers+1))
	if all, err := Detached(filepath.Join(dir, "most")); err != nil || len(all) != maxReferrers {
		t.Errorf("%d, %v", len(all), err)
	}
	_, err := Detached(filepath.Join(dir, "more"))
	wantCode(t, err, reason.EvidenceTooMany)
}

// TestAppended keeps what is there, byte for byte, and adds one line.
func TestAppended(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "m.intoto.jsonl")
	for _, c := range []struct{ had, want string }{
		{"{\"a\": 1}", "{\"a\": 1}\n{\"b\":2}\n"},
		{"{\"a\": 1}\n\n{\"c\":3}\n", "{\"a\": 1}\n{\"c\":3}\n{\"b\":2}\n"},
		{"{\n \"a\": 1\n}\n", "{\"a\":1}\n{\"b\":2}\n"},
	} {
		rewrite(t, dir, "m.intoto.jsonl", c.had)
		if got, err := Appended(at, []byte(`{"b":2}`)); err != nil || string(got) != c.want {
			t.Errorf("%q: %q, %v", c.had, got, err)
		}
	}
	if got, err := Appended(filepath.Join(dir, "new"), []byte("{\n\"b\":2}")); err != nil || string(got) != "{\"b\":2}\n" {
		t.Errorf("%q, %v", got, err)
	}
	for _, had := range []string{"", "{}\n{", "text"} {
		rewrite(t, dir, "m.intoto.jsonl", had)
		_, err := Appended(at, []byte(`{"b":2}`))
		wantCode(t, err, reason.EvidenceUnreadable)
	}
	rewrite(t, dir, "m.intoto.jsonl", strings.Repeat("{}\n", maxReferrers))
	_, err := Appended(at, []byte(`{"b":2}`))
	wantCode(t, err, reason.EvidenceTooMany)
	rewrite(t, dir, "m.intoto.jsonl", "{}\n")
	_, err = Appended(at, bytes.Join([][]byte{[]byte(`{"b":"`), []byte(`"}`)}, bytes.Repeat([]byte("b"), MaxEvidence)))
	wantCode(t, err, reason.EvidenceTooLarge)
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("absent", at); err != nil {
		t.Fatal(err)
	}
	if _, err := Detached(at); err == nil {
		t.Error("a link to nothing is no evidence")
	}
	rewrite(t, dir, "private.json", `{"auths": "secret"}`)
	if err := errors.Join(os.Remove(at), os.Symlink("private.json", at)); err != nil {
		t.Fatal(err)
	}
	_, err = Appended(at, []byte(`{"b":2}`)) // what it leads to would lie open to everybody
	wantCode(t, err, reason.EvidenceUnreadable)
}

// FuzzAppended reads back what was there and what was added, or refuses.
func FuzzAppended(f *testing.F) {
	for _, had := range []string{"{\"a\":1}", "{\"a\":1}\n\n {\"b\":2}\r\n", "{\n\"a\":1}\n", "[1]\n", "{}{}", ""} {
		f.Add([]byte(had))
	}
	at := filepath.Join(f.TempDir(), "m.intoto.jsonl")
	f.Fuzz(func(t *testing.T, had []byte) {
		if err := os.WriteFile(at, had, 0o600); err != nil {
			t.Fatal(err)
		}
		before, err := Detached(at)
		if err != nil {
			return
		}
		all, err := Appended(at, []byte(`{"added":true}`))
		if err != nil {
			return
		}
		if err := os.WriteFile(at, all, 0o600); err != nil {
			t.Fatal(err)
		}
		after, err := Detached(at)
		if err != nil || len(after) != len(before)+1 || string(after[len(before)].Raw) != `{"added":true}` {
			t.Fatalf("%q became %q: %v", had, all, err)
		}
	})
}
