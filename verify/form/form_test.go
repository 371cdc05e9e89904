package form

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestParse shows what is refused before any key has a meaning.
func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, doc string
		want      reason.Code // "" = accepted
		at        string
	}{
		{"block", "a:\n  - b: c\n    d: 1\n", "", ""},
		{"flow", "a: {b: [c, d], e: true}\n", "", ""},
		{"comments", "# one\na: b # two\n# three\n", "", ""},
		{"header", "---\na: b\n", "", ""},
		{"header-after-comment", "# licence\n---\na: b\n", "", ""},
		{"crlf", "a: b\r\nc: d\r\n", "", ""},
		{"literal", "a: |\n  one\n  two\n", "", ""},
		{"quoted-star", "a: \"*\"\nb: 'x & y'\n", "", ""},
		{"syntax", "a: [b\n", reason.FormSyntax, ""},
		{"syntax-indent", "a:\n  b: c\n d: e\n", reason.FormSyntax, "3:"},
		{"syntax-empty", "", reason.FormSyntax, "1:1"},
		{"syntax-comment-only", "# nothing\n", reason.FormSyntax, "1:1"},
		{"syntax-utf8", "a: b\nc: \xff\n", reason.FormSyntax, "2:4"},
		{"syntax-bom", "\ufeffa: b\n", reason.FormSyntax, "1:1"},
		{"syntax-nul", "a: b\x00\n", reason.FormSyntax, "1:5"},
		{"syntax-c1", "a: b\u0085\n", reason.FormSyntax, "1:5"},
		{"syntax-size", "a: " + strings.Repeat("b", MaxSize), reason.FormSyntax, "1:1"},
		{"syntax-tokens", strings.Repeat("- a\n", 25001), reason.FormSyntax, "1:1"},
		{"unsupported-anchor", "a: &x b\n", reason.FormUnsupported, "1:4"},
		{"unsupported-alias", "a: &x b\nc: *x\n", reason.FormUnsupported, "1:4"},
		{"unsupported-alias-alone", "c: *x\n", reason.FormUnsupported, "1:4"},
		{"unsupported-merge", "a: {b: c}\n<<: {d: e}\n", reason.FormUnsupported, "2:1"},
		{"unsupported-tag", "a: !!str b\n", reason.FormUnsupported, "1:4"},
		{"unsupported-directive", "%YAML 1.2\n---\na: b\n", reason.FormUnsupported, "1:1"},
		{"unsupported-explicit-key", "? a\n: b\n", reason.FormUnsupported, "1:1"},
		{"unsupported-second-document", "a: b\n---\nc: d\n", reason.FormUnsupported, "2:1"},
		{"unsupported-document-end", "a: b\n...\n", reason.FormUnsupported, "2:1"},
		{"unsupported-deep-flow", strings.Repeat("[", 17) + strings.Repeat("]", 17), reason.FormUnsupported, ""},
		{"unsupported-bottomless-flow", strings.Repeat("[", 40000), reason.FormUnsupported, ""},
		{"unsupported-bottomless-entries", strings.Repeat("- ", 40000), reason.FormUnsupported, ""},
		{"unsupported-deep-block", staircase(17), reason.FormUnsupported, ""},
		{"unsupported-bottomless-block", staircase(1200), reason.FormUnsupported, ""},
		{"duplicate-key", "a: b\na: c\n", reason.FormDuplicateKey, "2:1"},
		{"duplicate-key-quoted", "a: b\n\"a\": c\n", reason.FormDuplicateKey, "2:"},
		{"duplicate-key-escaped", "a: b\n\"\\x61\": c\n", reason.FormDuplicateKey, "2:"},
		{"duplicate-key-flow", "x: {a: b, a: c}\n", reason.FormDuplicateKey, "1:"},
		{"null", "a:\n", reason.FormValue, ""},
		{"null-word", "a: null\n", reason.FormValue, ""},
		{"null-tilde", "a: ~\n", reason.FormValue, ""},
		{"key-integer", "1: a\n", reason.FormValue, "1:1"},
		{"key-boolean", "true: a\n", reason.FormValue, "1:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Parse("f.yaml", []byte(c.doc)).Err()
			e, _ := reason.Of(err)
			switch {
			case c.want == "" && err != nil:
				t.Fatalf("refused: %v", err)
			case c.want == "":
				return
			case e == nil || e.Code != c.want:
				t.Fatalf("error = %v, want %s", err, c.want)
			}
			if !strings.HasPrefix(e.What, "read f.yaml:"+c.at) {
				t.Errorf("reported at %q, want %s", e.What, c.at)
			}
			if len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("message of %d bytes: %.200q", len(err.Error()), err.Error())
			}
		})
	}
}

// staircase nests n block mappings.
func staircase(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%*sa:\n", i, "")
	}
	fmt.Fprintf(&b, "%*sb: c\n", n, "")
	return b.String()
}

type sample struct {
	name  string
	n     int64
	f     float64
	yes   bool
	size  int64
	span  time.Duration
	at    time.Time
	words []string
	mode  string
}

func read(d *Doc) (s sample) {
	n := d.Root()
	n.Fields(map[string]func(Node){
		"name":  func(v Node) { s.name = v.Text() },
		"n":     func(v Node) { s.n = v.Int(1, 100) },
		"f":     func(v Node) { s.f = v.Number(64) },
		"yes":   func(v Node) { s.yes = v.Bool() },
		"size":  func(v Node) { s.size = v.Bytes() },
		"span":  func(v Node) { s.span = v.Duration() },
		"at":    func(v Node) { s.at = v.Time() },
		"words": func(v Node) { s.words = v.Texts() },
		"mode":  func(v Node) { s.mode = v.OneOf("slow", "fast") },
	})
	n.Need("name")
	return s
}

// TestRead reads typed values, good and bad.
func TestRead(t *testing.T) {
	d := Parse("f.yaml", []byte("name: x\nn: 7\nf: 0.5\nyes: true\nsize: 2GiB\nspan: 30d\nat: 2026-12-31\nwords: [a, b]\nmode: fast\n"))
	s := read(d)
	if d.Err() != nil {
		t.Fatal(d.Err())
	}
	want := sample{"x", 7, 0.5, true, 2 << 30, 720 * time.Hour, time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC), []string{"a", "b"}, "fast"}
	if fmt.Sprint(s) != fmt.Sprint(want) {
		t.Errorf("read %v, want %v", s, want)
	}
	for _, c := range []struct {
		name, line string
		want       reason.Code
		next       string
	}{
		{"unknown-key", "nmae: x", reason.FormUnknownKey, "write name"},
		{"unknown-key-far", "zzzzzz: x", reason.FormUnknownKey, ""},
		{"unknown-key-case", "Mode: fast", reason.FormUnknownKey, "write mode"},
		{"missing-key", "n: 1", reason.FormMissingKey, "add name:"},
		{"value-text", "name: 1.0", reason.FormValue, `write "1.0" in quotes`},
		{"value-text-bool", "name: true", reason.FormValue, `write "true" in quotes`},
		{"value-text-list", "name: [a]", reason.FormValue, ""},
		{"value-int", "n: x", reason.FormValue, ""},
		{"value-int-quoted", `n: "7"`, reason.FormValue, ""},
		{"value-int-low", "n: 0", reason.FormValue, ""},
		{"value-int-high", "n: 101", reason.FormValue, ""},
		{"value-int-hex", "n: 0x7", reason.FormValue, ""},
		{"value-int-octal", "n: 07", reason.FormValue, ""},
		{"value-int-underscore", "n: 1_0", reason.FormValue, ""},
		{"value-int-plus", "n: +7", reason.FormValue, ""},
		{"value-number", "f: -1", reason.FormValue, ""},
		{"value-number-exponent", "f: 1e9", reason.FormValue, ""},
		{"value-number-infinite", "f: .inf", reason.FormUnsupported, ""},
		{"value-number-nan", "f: .nan", reason.FormUnsupported, ""},
		{"value-number-zero", "f: 0.0", reason.FormValue, ""},
		{"value-bool", "yes: x", reason.FormValue, ""},
		{"value-bool-case", "yes: True", reason.FormValue, ""},
		{"value-bool-yes", "yes: yes", reason.FormValue, ""},
		{"value-size-unit", "size: 2GB", reason.FormValue, ""},
		{"value-size-none", "size: GiB", reason.FormValue, ""},
		{"value-size-zero", "size: 0B", reason.FormValue, ""},
		{"value-size-overflow", "size: 9999999TiB", reason.FormValue, ""},
		{"value-size-space", "size: 2 GiB", reason.FormValue, ""},
		{"value-span", "span: 1h30m", reason.FormValue, ""},
		{"value-span-negative", "span: -1h", reason.FormValue, ""},
		{"value-span-overflow", "span: 999999999999d", reason.FormValue, ""},
		{"value-time", "at: tomorrow", reason.FormValue, ""},
		{"value-time-local", "at: 2026-12-31T00:00:00", reason.FormValue, ""},
		{"value-words", "words: a", reason.FormValue, ""},
		{"value-words-twice", "words: [a, a]", reason.FormValue, ""},
		{"value-mode", "mode: Fast", reason.FormValue, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := c.line + "\n"
			if !strings.HasPrefix(c.line, "name") && c.name != "missing-key" {
				doc = "name: x\n" + doc
			}
			d := Parse("f.yaml", []byte(doc))
			read(d)
			e, _ := reason.Of(d.Err())
			if e == nil || e.Code != c.want || e.Next != c.next {
				t.Fatalf("error = %v (next %q), want %s (next %q)", d.Err(), next(e), c.want, c.next)
			}
			if line := strings.Count(doc, "\n"); !strings.HasPrefix(e.What, fmt.Sprintf("read f.yaml:%d:", line)) {
				t.Errorf("reported at %q, want line %d", e.What, line)
			}
		})
	}
}

func next(e *reason.Error) string {
	if e == nil {
		return ""
	}
	return e.Next
}

// TestColons: a colon belongs to a plain scalar unless a space follows, in
// every style.
func TestColons(t *testing.T) {
	for _, doc := range []string{
		"a: [h.example:443, sha256:12ab, https://x.example:8/y]\n",
		"a:\n  - h.example:443\n  - sha256:12ab\n  - https://x.example:8/y\n",
		"{a: [h.example:443, sha256:12ab , https://x.example:8/y]}\n",
		"{a: [h.example:443\n  , sha256:12ab,\n https://x.example:8/y ]}\n",
		"{a: [\"h.example:443\", 'sha256:12ab', https://x.example:8/y]}\n",
	} {
		d := Parse("f", []byte(doc))
		var got []string
		d.Root().Fields(map[string]func(Node){"a": func(v Node) { got = v.Texts() }})
		if d.Err() != nil || strings.Join(got, " ") != "h.example:443 sha256:12ab https://x.example:8/y" {
			t.Errorf("%q: %q, %v", doc, got, d.Err())
		}
	}
	for _, c := range []struct{ doc, want string }{
		{"{a: h:443}\n", "h:443"}, {"{a: 1:2}\n", "1:2"}, {"{a: h:p:q}\n", "h:p:q"}, {"{a: ::1}\n", "::1"}, {"{\"a\": h:443}\n", "h:443"},
		{"{a: [b]}\n", ""}, {"{a:443}\n", ""}, {"{a:\"b\"}\n", ""},
	} {
		d := Parse("f", []byte(c.doc))
		got := ""
		d.Root().Fields(map[string]func(Node){"a": func(v Node) { got = v.Text() }})
		if got != c.want || (d.Err() == nil) != (c.want != "") {
			t.Errorf("%q: %q, %v; want %q", c.doc, got, d.Err(), c.want)
		}
	}
}

// TestFirstErrorStays: what is read after an error is zero and reports nothing.
func TestFirstErrorStays(t *testing.T) {
	d := Parse("f.yaml", []byte("name: 1\nn: x\nsize: y\nspan: z\nat: w\n"))
	s := read(d)
	if e, _ := reason.Of(d.Err()); e == nil || !strings.HasPrefix(e.What, "read f.yaml:1:") {
		t.Errorf("error = %v", d.Err())
	}
	if s.n != 0 || s.size != 0 {
		t.Errorf("read on: %+v", s)
	}
}

// FuzzParse: any bytes end in a document or one bounded error.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"a: {b: [c]}\n", "---\n- a\n- - b\n", "a: |\n  x\nb: >-\n  y\n", "'a': \"\\u00e9\"\n", "? a\n", "a: &b c\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d := Parse("f", raw)
		read(d)
		if err := d.Err(); err != nil {
			if e, ok := reason.Of(err); !ok || e.Code.Class() != reason.Usage {
				t.Fatalf("error %v", err)
			}
		}
	})
}

// TestValue: values of the writer's own shape keep their types, and a number that
// two programs could read differently is refused.
func TestValue(t *testing.T) {
	d := Parse("f", []byte("a: x\nb: 7\nc: true\nd: [y, 1, []]\ne: {f: \"1\", g: {}}\n"))
	got := fmt.Sprintf("%#v", d.Root().Value())
	want := fmt.Sprintf("%#v", map[string]any{"a": "x", "b": int64(7), "c": true, "d": []any{"y", int64(1), []any{}}, "e": map[string]any{"f": "1", "g": map[string]any{}}})
	if d.Err() != nil || got != want {
		t.Errorf("%s, %v; want %s", got, d.Err(), want)
	}
	for _, text := range []string{"a: 0.5\n", "a: 0x10\n", "a: .inf\n", "a: True\n"} {
		d := Parse("f", []byte(text))
		if v := d.Root().Value(); d.Err() == nil {
			t.Errorf("%q is %#v", text, v)
		}
	}
}
