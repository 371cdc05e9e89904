package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"unicode"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/report"
)

// help prints every verb in one screen.
func help(out io.Writer) {
	fmt.Fprint(out, "ztlaunch decides whether an agent's parts may run, and runs exactly the bytes it decided on.\n\n"+
		"usage: ztlaunch [--root DIR] VERB [flags] ...\n\n")
	for _, v := range verbs() {
		fmt.Fprintf(out, "  %-47s %s\n", v.name+" "+v.usage, v.about)
	}
	fmt.Fprint(out, "\n--root DIR keeps state, run files and configuration below DIR, and no other policy is looked for than\n"+
		"DIR/config/policy.yaml (default: /var/lib/ztlaunch, /run/ztlaunch, ~/.config/ztlaunch; without root the XDG folders).\n"+
		"ztlaunch help VERB lists the flags of a verb. Exit status: 0 done or admitted, 1 denied, 2 usage,\n"+
		"3 cannot tell, 4 stale, 5 internal; run: 125 refused, 126 cannot execute, 127 not found, else the task's own.\n")
}

// refusal prints why something did not happen: the code, then expected, found
// and next, each on a line of its own. Text from outside is stripped of control
// characters first. Of errors that came together each is printed.
func refusal(out io.Writer, verb string, err error) {
	if several, ok := err.(interface{ Unwrap() []error }); ok { // of this error, not of one inside it
		for _, err := range several.Unwrap() {
			refusal(out, verb, err)
		}
		return
	}
	e, ok := reason.Of(err)
	if !ok {
		fmt.Fprintf(out, "ztlaunch %s: internal: %s\n", verb, clean(err.Error()))
		return
	}
	fmt.Fprintf(out, "ztlaunch %s: %s: %s\n", verb, e.Code, clean(e.What))
	for _, line := range [...][2]string{{"expected", cmp.Or(e.Expected, e.Code.Expected())}, {"found", found(e)}, {"next", cmp.Or(e.Next, e.Code.Next())}} {
		if line[1] != "" {
			fmt.Fprintf(out, "  %-9s %s\n", line[0]+":", clean(line[1]))
		}
	}
}

// found is what was found, with the cause where there is one.
func found(e *reason.Error) string {
	if e.Err == nil {
		return e.Found
	}
	if e.Found == "" {
		return e.Err.Error()
	}
	return e.Found + " (" + e.Err.Error() + ")"
}

// status is the exit status of a verification or file verb that ends with err.
func status(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := reason.Of(err); ok {
		return e.Code.Class().Exit()
	}
	return reason.Internal.Exit()
}

// runStatus is the exit status of run when nothing was started: 127 and 126 for
// a command that is not there or cannot be executed, 125 for everything else.
func runStatus(err error) int {
	switch e, _ := reason.Of(err); {
	case e == nil:
		return 125
	case e.Code == reason.CommandNotFound:
		return 127
	case e.Code == reason.CommandNotExecutable:
		return 126
	}
	return 125
}

// fail prints a refusal, with --json as JSON too, and returns the exit status of a
// file verb.
func (w world) fail(verb string, err error) int {
	exit := status(err)
	if w.json {
		_ = writeJSON(w.out, asFailure(err, exit)) // a closed output changes nothing: the refusal stands
	}
	refusal(w.err, verb, err)
	return exit
}

// broke prints a fault of ztlaunch's own, with --json as JSON too where standard
// output is ours, and returns the exit status.
func (w world) broke(verb string, args []string, fault any) int {
	exit := reason.InternalFault.Class().Exit()
	if verb == "run" {
		exit = 125
	} else if slices.Contains(args, "--json") {
		_ = writeJSON(w.out, failure{Schema: "ztlaunch.failure/v1", Exit: exit, Code: reason.InternalFault,
			What: clean(verb), Found: clean(fmt.Sprint(fault)), Next: reason.InternalFault.Next()}) // a closed output changes nothing
	}
	fmt.Fprintf(w.err, "ztlaunch %s: internal: %s\n%s", verb, clean(fmt.Sprint(fault)), stack())
	return exit
}

// done is what a verb did, as JSON or as text for people, and exit status 0.
func (w world) done(verb string, v any, text string) int {
	var err error
	if w.json {
		err = writeJSON(w.out, v)
	} else {
		_, err = io.WriteString(w.out, text)
	}
	if err := outputError(err); err != nil {
		w.json = false // nobody reads it
		return w.fail(verb, err)
	}
	return 0
}

// header begins the JSON of everything that went well.
type header struct {
	Schema string `json:"schema"`
	Exit   int    `json:"exit"`
}

// wrong is a usage error.
func wrong(what, expected, next string) error {
	return &reason.Error{Code: reason.UsageWrong, What: what, Expected: expected, Next: next}
}

// failure is how a refusal looks in JSON, on every verb.
type failure struct {
	Schema   string      `json:"schema,omitempty"`
	Exit     int         `json:"exit,omitempty"`
	Code     reason.Code `json:"code"`
	What     string      `json:"what"`
	Expected string      `json:"expected,omitempty"`
	Found    string      `json:"found,omitempty"`
	Next     string      `json:"next,omitempty"`
	Others   []failure   `json:"others,omitempty"` // that came together with it, schema and exit zero
}

// asFailure is the JSON of an error that ends with the given exit status.
func asFailure(err error, exit int) failure {
	if several, ok := err.(interface{ Unwrap() []error }); ok && len(several.Unwrap()) > 0 {
		all := several.Unwrap()
		f := asFailure(all[0], exit)
		for _, err := range all[1:] {
			other := asFailure(err, 0)
			other.Schema = ""
			f.Others = append(f.Others, other)
		}
		return f
	}
	f := failure{Schema: "ztlaunch.failure/v1", Exit: exit, Code: reason.InternalFault, What: clean(err.Error())}
	if e, ok := reason.Of(err); ok {
		f.Code, f.What, f.Expected, f.Found, f.Next = e.Code, clean(e.What), clean(cmp.Or(e.Expected, e.Code.Expected())), clean(found(e)), clean(cmp.Or(e.Next, e.Code.Next()))
	}
	return f
}

// writeJSON writes one value, and reports a closed or full output.
func writeJSON(out io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := out.Write(report.Unsigned(b.Bytes()))
	return err
}

// maxSaid bounds one line that is said about others' text, in bytes.
const maxSaid = 2000

// clean replaces what could move a terminal's cursor or hide text, parts what a CI
// runner takes for a command, and cuts what would fill the screen.
func clean(s string) string {
	for strings.Contains(s, "##") {
		s = strings.ReplaceAll(s, "##", "# #")
	}
	if len(s) > maxSaid {
		s = s[:maxSaid] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' {
			return ' '
		}
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, s)
}

// strange is the usage error of a verb that has verbs of its own.
func strange(verb string, args []string, names ...string) error {
	e := &reason.Error{Code: reason.UsageWrong, What: "read the command", Expected: "ztlaunch " + verb + " " + strings.Join(names, ", "), Next: "ztlaunch help " + verb}
	if len(args) == 0 {
		return e
	}
	e.Found = strings.Join(args, " ")
	near := nearest(args[0], names)
	for _, name := range names {
		if len(args[0]) > 1 && strings.HasPrefix(name, args[0]) {
			near = name
		}
	}
	if near != "" && near != args[0] {
		e.Next = "ztlaunch " + verb + " " + near
	}
	return e
}

// meant is `; did you mean "x"?` for the nearest of several words, or "".
func meant(word string, words []string) string {
	at := nearest(word, words)
	if at == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", at)
}

// nearest is the word of several that is meant, or "".
func nearest(word string, words []string) string {
	best, at := 3, ""
	for _, w := range words {
		if d := distance(word, w); d < best {
			best, at = d, w
		}
	}
	return at
}

// distance is Levenshtein's, over bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

func stack() string { return string(debug.Stack()) }

// outputError turns a failed write to standard output into a refusal.
func outputError(err error) error {
	if err == nil {
		return nil
	}
	return &reason.Error{Code: reason.OutputClosed, What: "write the output", Expected: "an open standard output",
		Found: err.Error(), Next: "run it again with an output that can be written"}
}
