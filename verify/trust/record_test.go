package trust

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

func sample() Record {
	at := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	v := func(n int64) Version { return Version{n, digest.FromString(fmt.Sprint(n))} }
	return Record{Root: digest.FromBytes(publicGood), Source: "https://registry.example/tuf", Date: at, Installed: at, Signed: true,
		TUF: &Metadata{digest.FromString("anchor"), v(15), v(300), v(200), v(16)}}
}

func encoded(t testing.TB, r Record) []byte {
	t.Helper()
	raw, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestInstalled believes the recorded bytes, dated as the record says, and no others.
func TestInstalled(t *testing.T) {
	rec, err := ParseRecord(encoded(t, sample()))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Installed(publicGood, rec)
	if err != nil || !r.Date().Equal(rec.Date) || r.File() != rec.Root {
		t.Fatalf("%v, dated %v", err, r.Date())
	}
	if r.Digest() != Embedded().Digest() {
		t.Error("the same bytes, embedded and installed, have two digests")
	}
	if _, err := r.Sigstore(); err != nil {
		t.Error(err)
	}
	changed := bytes.Replace(publicGood, []byte("2021"), []byte("2020"), 1)
	if r, err := Installed(changed, rec); code(err) != reason.TrustRootChanged || !r.Zero() {
		t.Errorf("other bytes: %v", err)
	}
}

// TestInstalledLazily has an installed root parsed by nobody who does not need it.
func TestInstalledLazily(t *testing.T) {
	broken := []byte("no JSON")
	r, err := Installed(broken, Record{Root: digest.FromBytes(broken)})
	if err != nil {
		t.Fatalf("parsed at once: %v", err)
	}
	if _, err := r.Sigstore(); code(err) != reason.TrustRootMalformed {
		t.Errorf("%v, want %s", err, reason.TrustRootMalformed)
	}
	if _, err := r.Parts(); code(err) != reason.TrustRootMalformed {
		t.Errorf("%v, want %s", err, reason.TrustRootMalformed)
	}
}

func TestParseRecordRefuses(t *testing.T) {
	whole := string(encoded(t, sample()))
	edit := func(old, new string) string {
		if !strings.Contains(whole, old) {
			t.Fatalf("no %s in %s", old, whole)
		}
		return strings.Replace(whole, old, new, 1)
	}
	for name, raw := range map[string]string{
		"empty":       "",
		"trailing":    whole + "{}",
		"unknown":     edit(`"source"`, `"extra": 1, "source"`),
		"double":      edit(`"source"`, `"signed": true, "source"`),
		"case":        edit(`"source"`, `"Source"`),
		"schema":      edit("record/v1", "record/v2"),
		"no-root":     edit(string(sample().Root), ""),
		"path":        edit(string(sample().Root), "sha256:../../x"),
		"no-version":  edit(`"version": 15`, `"version": 0`),
		"no-anchor":   edit(string(sample().TUF.Anchor), ""),
		"not-fetched": edit(`"tuf"`, `"tuf": null, "tuff"`),
		"no-date":     edit(`"date"`, `"date": "0001-01-01T00:00:00Z", "dated"`),
		"long":        edit("registry.example", strings.Repeat("x", MaxRecordSize)),
	} {
		if r, err := ParseRecord([]byte(raw)); code(err) != reason.TrustRecordMalformed || r.Root != "" {
			t.Errorf("%s: %v, want %s", name, err, reason.TrustRecordMalformed)
		}
	}
	file := sample()
	file.Signed, file.TUF, file.Date = false, nil, time.Time{}
	if r, err := ParseRecord(encoded(t, file)); err != nil || !r.Date.IsZero() {
		t.Errorf("of a file, without a date: %v", err)
	}
	file.Signed = true
	if _, err := ParseRecord(encoded(t, file)); code(err) != reason.TrustRecordMalformed {
		t.Errorf("signed by no metadata: %v", err)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(encoded(f, sample()))
	f.Add([]byte(`{"schema":"ztlaunch.trust-record/v1"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := ParseRecord(raw)
		if err != nil {
			if code(err) != reason.TrustRecordMalformed {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		again, err := ParseRecord(encoded(t, r))
		if err != nil || again.Root != r.Root || !again.Date.Equal(r.Date) {
			t.Fatalf("does not read what it wrote: %v", err)
		}
	})
}

func parts(t *testing.T, raw string) []Part {
	t.Helper()
	r, err := FromJSON([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	all, err := r.Parts()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestParts(t *testing.T) {
	all := parts(t, string(publicGood))
	count := map[Role]int{}
	for _, p := range all {
		count[p.Role]++
		if p.Name == "" || p.Key == "" || len(p.ID) != 64 || p.From.IsZero() {
			t.Errorf("%+v", p)
		}
	}
	if count[Issuer] != 2 || count[RekorV1] != 1 || count[RekorV2] != 1 || count[CTLog] != 2 || count[Stamper] != 1 {
		t.Errorf("%v", count)
	}
	first := all[0]
	if !first.Current(first.From) || !first.Current(first.Until) || first.Current(first.From.Add(-1)) || first.Current(first.Until.Add(1)) {
		t.Errorf("%v to %v, both inclusive", first.From, first.Until)
	}
	if i := slices.IndexFunc(all, func(p Part) bool { return p.Until.IsZero() }); i < 0 || !all[i].Current(time.Date(2900, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Error("an open end ends")
	}
	if _, err := (Root{}).Parts(); code(err) != reason.TrustRootAbsent {
		t.Errorf("no root: %v", err)
	}
}

func TestDiff(t *testing.T) {
	whole := string(publicGood)
	at := func(role string, path ...string) []string { return append([]string{role}, path...) }
	for name, c := range map[string]struct {
		from, to string
		effect   Effect // none: no change
		rewinds  bool
	}{
		"same":             {whole, whole, "", false},
		"other-uri":        {whole, set(t, "https://other.example", at("certificateAuthorities", "uri")...), "", false},
		"gone":             {whole, without(t, "timestampAuthorities"), Removed, true},
		"new":              {without(t, "timestampAuthorities"), whole, Added, false},
		"retired":          {whole, set(t, "2026-10-01T00:00:00Z", at("tlogs", "publicKey", "validFor", "end")...), Retired, false},
		"retired-earlier":  {whole, set(t, "2022-10-01T00:00:00Z", at("certificateAuthorities", "validFor", "end")...), Retired, false},
		"revived":          {set(t, "2026-10-01T00:00:00Z", at("tlogs", "publicKey", "validFor", "end")...), whole, Widened, true},
		"later-end":        {whole, set(t, "2031-10-01T00:00:00Z", at("certificateAuthorities", "validFor", "end")...), Widened, true},
		"end-gone":         {whole, without(t, at("certificateAuthorities", "validFor", "end")...), Widened, true},
		"earlier-start":    {whole, set(t, "2020-01-01T00:00:00Z", at("tlogs", "publicKey", "validFor", "start")...), Widened, true},
		"later-start":      {whole, set(t, "2026-01-01T00:00:00Z", at("tlogs", "publicKey", "validFor", "start")...), Widened, true},
		"retired-and-back": {whole, set(t, "2020-01-01T00:00:00Z", at("certificateAuthorities", "validFor", "start")...), Widened, true},
	} {
		t.Run(name, func(t *testing.T) {
			all := Diff(parts(t, c.from), parts(t, c.to))
			switch {
			case c.effect == "" && len(all) != 0:
				t.Errorf("%+v, want no change", all)
			case c.effect != "" && (len(all) != 1 || all[0].Effect != c.effect || all[0].Rewinds() != c.rewinds || all[0].Part.Name == ""):
				t.Errorf("%+v, want one %s, rewinds %t", all, c.effect, c.rewinds)
			}
		})
	}
	// Another key under a log's own ID and URL is another log.
	moved := parts(t, set(t, "https://other.example", "tlogs", "baseUrl"))
	all := Diff(parts(t, whole), moved)
	if len(all) != 2 || all[0].Effect != Removed || all[1].Effect != Added {
		t.Errorf("a log at another URL: %+v", all)
	}
	// A second entry for an authority in force opens what the first one closed.
	was := parts(t, whole)
	again := was[0]
	again.Until = time.Time{}
	all = Diff(was, append(slices.Clone(was), again))
	if len(all) != 1 || all[0].Effect != Widened || !all[0].Rewinds() {
		t.Errorf("an authority once more, without an end: %+v", all)
	}
}
