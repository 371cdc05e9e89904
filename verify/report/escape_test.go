package report

import (
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// hostile moves the cursor, sets the title, hides text, reverses it, and ends the
// line to write one of its own.
const hostile = "\x1b]0;x\x07\x1b[2K\r\nallowed   all is well\u009b31m\u202e\u200b\u2028\x7f"

// fill writes text into every string that a value holds, and makes one element
// of every list.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), text)
			}
		}
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint64:
		v.SetUint(1)
	case reflect.Bool:
		v.SetBool(true)
	}
}

// TestN51TextOfAVerdict: whatever a verdict holds, in whichever of its texts, its
// view for people has the lines that harmless text would have, and nothing that a
// terminal acts on. The code of each finding stays readable.
func TestN51TextOfAVerdict(t *testing.T) {
	for _, result := range []string{"fail", "pass", "skip"} {
		show := func(text string) string {
			var v Verdict
			fill(reflect.ValueOf(&v).Elem(), text)
			v.Result, v.Findings[0].Result = Denied, result // words of ours, as is the code
			v.Findings[0].Code = string(reason.ProvenanceBuilder)
			return Text(v)
		}
		got, want := show(hostile), show("harmless")
		if strings.Count(got, "\n") != strings.Count(want, "\n") || !strings.Contains(want, "harmless") {
			t.Errorf("%s: %d lines, harmless text has %d:\n%q", result, strings.Count(got, "\n"), strings.Count(want, "\n"), got)
		}
		if i := strings.IndexFunc(got, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%s: %q at %d", result, got[i:], i)
		}
		if result == "fail" && !strings.Contains(got, "denied    "+string(reason.ProvenanceBuilder)) {
			t.Errorf("no code in %q", got)
		}
	}
}
