package sbom

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

var update = flag.Bool("update", false, "write the golden parts of testdata")

// section finds one file of a case.
func section(a *txtar.Archive, name string) (string, bool) {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data), true
		}
	}
	return "", false
}

func setSection(a *txtar.Archive, name, data string) {
	for i := range a.Files {
		if a.Files[i].Name == name {
			a.Files[i].Data = []byte(data)
			return
		}
	}
	a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(data)})
}

// entriesOf reads lines of "KIND SHA256 PATH": x executable, f file, l link.
func entriesOf(t testing.TB, text string) []Entry {
	var out []Entry
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(f) != 3 {
			t.Fatalf("entry %q", line)
		}
		out = append(out, Entry{Path: f[2], SHA256: strings.TrimPrefix(f[1], "-"), Regular: f[0] != "l", Executable: f[0] == "x"})
	}
	return out
}

// show prints a document for the golden part.
func show(d Document) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %q %q %q\n", d.Format, d.Version, d.Name, d.Created, d.Tools)
	for i, p := range d.Packages {
		fmt.Fprintf(&b, "package %d %q %q %q %q %v\n", i, p.ID, p.Name, p.Version, p.PURL, p.Hashes)
	}
	for _, f := range d.Files {
		fmt.Fprintf(&b, "file %q %q %d\n", f.Path, f.SHA256, f.Owner)
	}
	return b.String()
}

// TestParse runs every case of testdata: a document, the entries of a tree,
// and what must come of them.
func TestParse(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 50 {
		t.Fatalf("%d cases found in testdata, at least 50 expected", len(names))
	}
	seen := map[reason.Code]bool{}
	for _, name := range names {
		base := strings.TrimSuffix(filepath.Base(name), ".txtar")
		t.Run(base, func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			raw, _ := section(a, "sbom.json")
			entries, _ := section(a, "entries")
			var got string
			doc, err := Parse([]byte(raw))
			if err != nil {
				r, ok := reason.Of(err)
				if !ok {
					t.Fatalf("an error without code: %v", err)
				}
				seen[r.Code] = true
				got = err.Error() + "\n"
			} else {
				got = show(doc) + string(Compare(doc, entriesOf(t, entries)).Encode())
			}
			if (err != nil) != strings.HasPrefix(base, "bad-") {
				t.Errorf("error = %v", err)
			}
			if *update {
				setSection(a, "want", got)
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want, _ := section(a, "want"); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
	for _, c := range []reason.Code{reason.SBOMMalformed, reason.SBOMUnsupported} {
		if !seen[c] {
			t.Errorf("no case shows %s", c)
		}
	}
}

func TestParseInvalidUTF8(t *testing.T) {
	raw := []byte("{\"bomFormat\": \"CycloneDX\", \"specVersion\": \"1.6\", \"x\": \"\xff\"}")
	if _, err := Parse(raw); err == nil || !strings.Contains(err.Error(), "not UTF-8") {
		t.Errorf("error = %v", err)
	}
}

func TestParseTooLarge(t *testing.T) {
	_, err := Parse(make([]byte, MaxSize+1))
	if r, ok := reason.Of(err); !ok || r.Code != reason.SBOMMalformed || r.Expected == "" {
		t.Errorf("error = %v", err)
	}
}

// large is a document in syft's form with n files owned by n/20 packages, and
// the entries of the tree it describes.
func large(n int) ([]byte, []Entry) {
	type m = map[string]any
	var files, packages, relations []m
	entries := make([]Entry, 0, n)
	for i := range n {
		sum := fmt.Sprintf("%064x", i)
		path := fmt.Sprintf("usr/lib/python3/dist-packages/some_package_%d/module_%d.py", i/20, i)
		id := fmt.Sprintf("SPDXRef-File-...some-package-%d-module-%d.py-%016x", i/20, i, i)
		files = append(files, m{"fileName": path, "SPDXID": id, "fileTypes": []string{"TEXT"}, "copyrightText": "NOASSERTION", "licenseConcluded": "NOASSERTION",
			"checksums": []m{{"algorithm": "SHA1", "checksumValue": fmt.Sprintf("%040x", i)}, {"algorithm": "SHA256", "checksumValue": sum}},
			"comment":   "layerID: sha256:" + sum})
		if i%20 == 0 {
			packages = append(packages, m{"SPDXID": fmt.Sprintf("SPDXRef-Package-deb-%d", i/20), "name": fmt.Sprint("p", i/20), "versionInfo": "1.0"})
		}
		relations = append(relations, m{"spdxElementId": fmt.Sprintf("SPDXRef-Package-deb-%d", i/20), "relatedSpdxElement": id, "relationshipType": "CONTAINS"})
		entries = append(entries, Entry{Path: path, SHA256: sum, Regular: true})
	}
	raw, err := json.Marshal(m{"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "name": "large", "files": files, "packages": packages, "relationships": relations})
	if err != nil {
		panic(err)
	}
	return raw, entries
}

func TestLarge(t *testing.T) {
	raw, entries := large(2000)
	doc, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	c := Compare(doc, entries)
	if c.Listed != 2000 || c.Files() != 2000 || len(c.Absent) != 0 {
		t.Errorf("coverage %+v", c)
	}
	if len(doc.Packages) != 100 || doc.Files[1999].Owner != 99 {
		t.Errorf("%d packages, last owner %d", len(doc.Packages), doc.Files[1999].Owner)
	}
}

func BenchmarkParseCompare(b *testing.B) {
	raw, entries := large(10000)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		doc, err := Parse(raw)
		if err != nil {
			b.Fatal(err)
		}
		if c := Compare(doc, entries); c.Listed != len(entries) {
			b.Fatal(c)
		}
	}
}

func TestCoverageText(t *testing.T) {
	c := Coverage{Listed: 3, ByPackage: 2,
		Unlisted: []Gap{{Path: "a b\n\"c", Got: "11", Executable: true}},
		Unhashed: []Gap{{Path: "u", Got: "22"}},
		Mismatch: []Gap{{Path: "m", Want: "33", Got: "44"}},
		Absent:   []string{"gone away", "é"}}
	text := c.Encode()
	back, err := DecodeCoverage(text)
	if err != nil || !reflect.DeepEqual(back, c) {
		t.Fatalf("%v\n%+v\n%+v", err, back, c)
	}
	for name, bad := range map[string]string{
		"empty":     "",
		"header":    "ztlaunch.coverage/v2 1 1\n",
		"no-end":    "ztlaunch.coverage/v1 1 1",
		"negative":  "ztlaunch.coverage/v1 -1 1\n",
		"plus":      "ztlaunch.coverage/v1 +1 1\n",
		"trailing":  string(text) + "more\n",
		"cut":       string(text[:len(text)-3]),
		"no-path":   "ztlaunch.coverage/v1 1 1\nunlisted - - -\n",
		"no-flag":   "ztlaunch.coverage/v1 1 1\nunlisted y - - \"a\"\n",
		"unordered": "ztlaunch.coverage/v1 1 1\nabsent \"a\"\nunlisted - - - \"a\"\n",
		"spelling":  "ztlaunch.coverage/v1 1 1\nabsent `a`\n",
	} {
		if got, err := DecodeCoverage([]byte(bad)); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}

// FuzzParse: whatever is accepted is JSON by the standard library's reckoning,
// comparing it and keeping the result never fails, and it is read the same when it is
// written in another form. It is never written by us: what is kept is the document as
// it was signed.
func FuzzParse(f *testing.F) {
	names, _ := filepath.Glob("testdata/*.txtar")
	for _, name := range names {
		if a, err := txtar.ParseFile(name); err == nil {
			raw, _ := section(a, "sbom.json")
			f.Add([]byte(raw))
		}
	}
	entries := []Entry{{Path: "usr/bin/agent", SHA256: strings.Repeat("a", 64), Regular: true, Executable: true}, {Path: "bin"}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		doc, err := Parse(raw)
		if err != nil {
			return
		}
		if !json.Valid(raw) {
			t.Fatal("not JSON, yet read")
		}
		var any any
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		if err := d.Decode(&any); err != nil {
			t.Fatal(err)
		}
		again, err := json.MarshalIndent(any, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Parse(again); err != nil || !reflect.DeepEqual(back, doc) {
			t.Fatalf("%+v, and written again %+v, %v", doc, back, err)
		}
		for _, file := range doc.Files {
			if file.Owner != NoOwner && (file.Owner < 0 || file.Owner >= len(doc.Packages)) {
				t.Fatalf("owner %d of %d", file.Owner, len(doc.Packages))
			}
		}
		c := Compare(doc, entries)
		if c.Files() != 1 {
			t.Fatalf("one file compared, %d counted", c.Files())
		}
		if back, err := DecodeCoverage(c.Encode()); err != nil || !reflect.DeepEqual(back, c) {
			t.Fatalf("%v: %+v", err, back)
		}
	})
}

// FuzzScan: one pass over any value agrees with the standard library, except
// that ours is stricter.
func FuzzScan(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e+3,true,false,null,"\u00e9\n"]}`, `{"a":1,"a":2}`, `"\ud83d\ude00"`, `01`, `[1,]`, `{"a" 1}`, "\"\x7f\"", `-`, `1.`, `1e`, ` [ ] `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := &scan{b: string(raw)}
		s.skip()
		if s.end() == nil && !json.Valid(raw) {
			t.Fatal("not JSON, yet read")
		}
		s = &scan{b: string(raw)}
		if text := s.str(); s.end() == nil && bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte{'"'}) {
			var want string
			if err := json.Unmarshal(raw, &want); err != nil || want != text {
				t.Fatalf("read %q, want %q (%v)", text, want, err)
			}
		}
	})
}

// FuzzDecode: what is read is what would be written.
func FuzzDecode(f *testing.F) {
	f.Add(Coverage{Listed: 1, Unlisted: []Gap{{Path: "a", Got: "b", Executable: true}}, Absent: []string{"c"}}.Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		if c, err := DecodeCoverage(raw); err == nil && !bytes.Equal(c.Encode(), raw) {
			t.Fatal("not canonical, yet read")
		}
	})
}
