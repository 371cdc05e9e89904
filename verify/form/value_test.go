package form

import (
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestJSON writes documents as JSON, in their own order and without losing a type.
func TestJSON(t *testing.T) {
	for _, c := range []struct{ doc, want string }{
		{"b: 1\na: [x, \"1\", true, 0.5]\n", `{"b":1,"a":["x","1",true,0.5]}`},
		{"a: |\n  one\n  \"two\"\n", `{"a":"one\n\"two\"\n"}`},
		{"a: {}\nb: []\n\"c d\": {e: -1}\n", `{"a":{},"b":[],"c d":{"e":-1}}`},
		{"a: h:443\n", `{"a":"h:443"}`},
		{"a: 2026-01-01\n", `{"a":"2026-01-01"}`},
	} {
		d := Parse("f", []byte(c.doc))
		got := string(d.Root().JSON())
		if d.Err() != nil || got != c.want {
			t.Errorf("%q: %s, %v; want %s", c.doc, got, d.Err(), c.want)
		}
		again := Parse("f", []byte(got))
		if string(again.Root().JSON()) != c.want {
			t.Errorf("%s reads back as %s, %v", c.want, again.Root().JSON(), again.Err())
		}
	}
	for _, doc := range []string{"a: 0x7\n", "a: 07\n", "a: 1_0\n", "a: [1.]\n"} {
		d := Parse("f", []byte(doc))
		raw := d.Root().JSON()
		if e, ok := reason.Of(d.Err()); !ok || e.Code != reason.FormValue || raw != nil {
			t.Errorf("%q: %s, %v", doc, raw, d.Err())
		}
	}
}

// TestPlaces finds keys, values and elements without failing where there are none.
func TestPlaces(t *testing.T) {
	d := Parse("f", []byte("a:\n  - b: c\n    d: e\n"))
	in := d.Root().Get("a").Item(0)
	if k := in.Key("d"); k.Line != 3 || k.Column != 5 {
		t.Errorf("key at %d:%d", k.Line, k.Column)
	}
	if v := in.Get("d"); v.Line != 3 || v.Column != 8 || v.Text() != "e" {
		t.Errorf("value %q at %d:%d", v.Text(), v.Line, v.Column)
	}
	if !in.IsMap() || in.Get("d").IsMap() {
		t.Error("mappings are not told from text")
	}
	for _, none := range []Node{in.Key("x"), in.Get("x"), in.Item(0), d.Root().Item(-1), d.Root().Get("a").Item(1), in.Get("x").Get("y").Item(0)} {
		if none.Line != 0 {
			t.Errorf("found something at line %d", none.Line)
		}
		none.Fail(reason.FormValue, "", "", "")
	}
	if d.Err() != nil {
		t.Error(d.Err())
	}
}
