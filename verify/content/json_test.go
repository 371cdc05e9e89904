package content

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

type inner struct {
	Digest string `json:"digest"`
}

type doc struct {
	inner
	Version int               `json:"schemaVersion"`
	Labels  map[string]string `json:"Labels"`
	Deep    map[string]inner  `json:"deep"`
	List    []*inner          `json:"list"`
	Raw     json.RawMessage   `json:"raw"`
	Any     any               `json:"any"`
	Plain   string
}

func TestJSONAccepts(t *testing.T) {
	for _, in := range []string{
		`{}`, ` {"schemaVersion":2} `, `{"Labels":{"a":"1","A":"2"}}`, `{"other":{"a":1,"A":2}}`, `{"any":{"a":1,"A":2}}`,
		`{"raw":{"digest":1,"Digest":2}}`, `{"list":[{"digest":"x"},{"digest":"y"}]}`, `{"digest":"x","Plain":"y"}`,
		`{"other":` + strings.Repeat("[", MaxJSONDepth-1) + strings.Repeat("]", MaxJSONDepth-1) + `}`,
	} {
		var d doc
		if err := DecodeJSON("doc", []byte(in), &d); err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
	if err := CheckJSON("doc", []byte(`[1,"a",null,{"a":{"A":1}}]`)); err != nil {
		t.Error(err)
	}
}

func TestJSONRefuses(t *testing.T) {
	for _, c := range []struct {
		in      string
		code    reason.Code
		untyped bool // CheckJSON refuses it too
	}{
		{``, reason.JSONMalformed, true},
		{`{`, reason.JSONMalformed, true},
		{`{"a":1`, reason.JSONMalformed, true},
		{`{"a" 1}`, reason.JSONMalformed, true},
		{`[1 2]`, reason.JSONMalformed, true},
		{`{"a":1}}`, reason.JSONTrailing, true},
		{`{} {}`, reason.JSONTrailing, true},
		{`{}x`, reason.JSONTrailing, true},
		{"{}\x00", reason.JSONTrailing, true},
		{"{\"a\":\"\xff\"}", reason.JSONMalformed, true},
		{`{"schemaVersion":"2"}`, reason.JSONMalformed, false},
		{`{"schemaVersion":2,"schemaVersion":2}`, reason.JSONDuplicateKey, true},
		{`{"schemaVersion":2,"schema\u0056ersion":2}`, reason.JSONDuplicateKey, true},
		{`{"schemaVersion":2,"SchemaVersion":1}`, reason.JSONVariantKey, true},
		{`{"SchemaVersion":2}`, reason.JSONVariantKey, false},
		{`{"ſchemaVersion":2}`, reason.JSONVariantKey, false},
		{`{"Digest":"x"}`, reason.JSONVariantKey, false},
		{`{"plain":"x"}`, reason.JSONVariantKey, false},
		{`{"Labels":{"a":"1","a":"2"}}`, reason.JSONDuplicateKey, true},
		{`{"deep":{"x":{"digest":"1","DIGEST":"2"}}}`, reason.JSONVariantKey, true},
		{`{"list":[{"Digest":"1"}]}`, reason.JSONVariantKey, false},
		{`{"other":{"a":[{"b":1,"b":2}]}}`, reason.JSONDuplicateKey, true},
		{`{"any":{"b":1,"b":2}}`, reason.JSONDuplicateKey, true},
		{`{"raw":{"b":1,"b":2}}`, reason.JSONDuplicateKey, true},
		{strings.Repeat("[", MaxJSONDepth+1) + strings.Repeat("]", MaxJSONDepth+1), reason.JSONDeep, true},
		{strings.Repeat(`{"a":`, 1000000), reason.JSONDeep, true},
	} {
		show := c.in[:min(len(c.in), 60)]
		var d doc
		if e, _ := reason.Of(DecodeJSON("doc", []byte(c.in), &d)); e == nil || e.Code != c.code {
			t.Errorf("DecodeJSON %q: %v, want %s", show, e, c.code)
		}
		e, _ := reason.Of(CheckJSON("doc", []byte(c.in)))
		if (e != nil) != c.untyped {
			t.Errorf("CheckJSON %q: %v", show, e)
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `{"a":[{"b":{}}],"c":null}`, `{"digest":"x","Labels":{"a":"b"}}`, `[1,2]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d, e doc
		if DecodeJSON("doc", raw, &d) == nil {
			if !json.Valid(raw) || json.Unmarshal(raw, &e) != nil {
				t.Fatalf("accepts what encoding/json refuses: %q", raw)
			}
		}
		if CheckJSON("doc", raw) == nil && !json.Valid(raw) {
			t.Fatalf("accepts invalid JSON: %q", raw)
		}
	})
}
