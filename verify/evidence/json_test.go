package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestStrict(t *testing.T) {
	many := make([]string, 40)
	for i := range many {
		many[i] = fmt.Sprintf(`"m%d":%d`, i, i)
	}
	wide := strings.Join(many, ",")
	for text, want := range map[string]string{
		`{}`: "", ` [] `: "", `"a"`: "", `0`: "", `-0.5e+3`: "", `null`: "", `true`: "",
		`{"a":{"a":1},"b":[{"a":1},{"a":2}]}`: "",
		`{"a":1,"b":2,"a":3}`:                 `member "a" is given twice`,
		`{"x":[{"y":{"a":1,"a":1}}]}`:         `member "a" is given twice`,
		`{"a":1,"\u0061":2}`:                  `member "a" is given twice`,
		`{"\ud800":1,"\ud801":2}`:             "member \"\ufffd\" is given twice", // no text, both read as U+FFFD
		"{" + wide + "}":                      "",
		"{" + wide + `,"m3":1}`:               `member "m3" is given twice`,
		"{" + wide + `,"m39":1}`:              `member "m39" is given twice`,
		``:                                    "text ends too early",
		`{"a":1`:                              "text ends too early",
		`{}{}`:                                "unexpected '{' at byte 2",
		`{} x`:                                "unexpected 'x' at byte 3",
		"{}\x00":                              `unexpected '\x00' at byte 2`,
		`{"a" 1}`:                             "unexpected '1' at byte 5",
		`{,}`:                                 "unexpected ',' at byte 1",
		`{"a":1,}`:                            "unexpected '}' at byte 7",
		`[1,]`:                                "unexpected ']' at byte 3",
		`01`:                                  "unexpected '1' at byte 1",
		`1.`:                                  "text ends too early",
		`.5`:                                  "unexpected '.' at byte 0",
		`+1`:                                  "unexpected '+' at byte 0",
		`1e`:                                  "text ends too early",
		`nul`:                                 "unexpected 'n' at byte 0",
		`'a'`:                                 `unexpected '\'' at byte 0`,
		"\"a\nb\"":                            `unexpected '\n' at byte 2`,
		`"\x"`:                                "unexpected 'x' at byte 2",
		`"\u12g4"`:                            "unexpected 'g' at byte 5",
		"\"\xff\"":                            "text is not UTF-8",
		"\ufeff{}":                            "unexpected '\\u00ef' at byte 0",
		strings.Repeat("[", 257) + strings.Repeat("]", 257): "",
		strings.Repeat("[", 258) + strings.Repeat("]", 258): "nested deeper than 256",
	} {
		_, err := strict([]byte(text))
		if got := fmt.Sprint(err); got != want && (err != nil || want != "") {
			t.Errorf("%.60q: %s, want %q", text, got, want)
		}
	}
	outer, err := strict([]byte(` { "a" : [1, 2] , "b":{"c":"}"} } `))
	if err != nil || len(outer) != 2 || string(outer["a"]) != "[1, 2]" || string(outer["b"]) != `{"c":"}"}` {
		t.Errorf("members %s: %v", outer, err)
	}
}

// FuzzStrict holds the scanner against encoding/json: what it accepts is valid,
// and what it refuses for its grammar is not.
func FuzzStrict(f *testing.F) {
	for _, seed := range []string{`{"a":[1,-2.5e3,"\u00e9\n",true,false,null,{}]}`, `{"a":1,"a":2}`, "[[[[", `"\ud800"`, "-", "1e5", " \t\r\n0"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		outer, err := strict(raw)
		var twice duplicateMember
		switch {
		case err == nil:
			if !json.Valid(raw) || !utf8.Valid(raw) {
				t.Fatal("accepts what is not JSON")
			}
			var whole map[string]json.RawMessage
			if json.Unmarshal(raw, &whole) == nil && len(whole) != len(outer) {
				t.Fatalf("%d members, encoding/json finds %d", len(outer), len(whole))
			}
			for name, value := range whole {
				if string(outer[name]) != string(value) {
					t.Fatalf("member %q is %s, encoding/json reads %s", name, outer[name], value)
				}
			}
		case errors.As(err, &twice), !utf8.Valid(raw), strings.HasPrefix(err.Error(), "nested deeper"):
		default:
			if json.Valid(raw) {
				t.Fatalf("refuses JSON: %v", err)
			}
		}
	})
}
