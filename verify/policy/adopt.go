package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// Adoption is one artifact that an operator vouches for with a key of their
// own.
type Adoption struct {
	Kind   artifact.Kind
	Name   string // normalised, as artifact.Reference.Name gives it
	Digest digest.Digest
	Key    trust.Key
	SBOM   bool      // an SBOM signed with the same key is demanded too
	Reason string    // "" = none
	Until  time.Time // zero = no end
}

// Adopt adds to a policy file one rule for exactly this name, digest and key,
// and returns the new text. The file (empty if there is none yet) keeps every
// byte that it has; a rule that an earlier Adopt wrote for the same name and
// digest is replaced. The result is read back, and must hold what the file held
// and one rule more. A name that a rule without digests matches is refused
// (adopt-name-governed): every matching rule must pass, so the adoption could
// never admit it.
func Adopt(existing []byte, file string, read func(string) ([]byte, error), a Adoption) ([]byte, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	var old Policy
	text := string(existing)
	if !blank(text) {
		var err error
		if old, err = Parse(existing, file, read); err != nil {
			return nil, err
		}
		if text, err = a.replace(old, text); err != nil {
			return nil, err
		}
	}
	id := a.identity(old)
	known := slices.ContainsFunc(old.identities, func(i Identity) bool { return i.name == id })
	out, err := a.insert(text, file, id, known)
	if err != nil {
		return nil, err
	}
	return out, a.prove(old, out, file, read)
}

func blank(text string) bool {
	for line := range strings.Lines(text) {
		if t := strings.TrimSpace(line); t != "" && !strings.HasPrefix(t, "#") && t != "---" {
			return false
		}
	}
	return true
}

func (a Adoption) check() error {
	refuse := func(expected, found string) error {
		return &reason.Error{Code: reason.InitName, What: "adopt " + a.Name, Expected: expected, Found: found, Next: "--as NAME"}
	}
	switch why := pattern(a.Name).fault(a.Kind); {
	case why != "":
		return refuse("a name that rules can match", why)
	case strings.Contains(a.Name, "*"):
		return refuse("one exact name", a.Name)
	case a.Digest.Validate() != nil || a.Digest.Algorithm() != digest.SHA256:
		return refuse("a sha256 digest", fmt.Sprintf("%q", string(a.Digest)))
	case a.Key.Zero():
		return refuse("a key", "none")
	}
	return nil
}

// replace writes the rule over the line of an earlier adoption of the same name
// and digest, and refuses a name that other rules govern.
func (a Adoption) replace(old Policy, text string) (string, error) {
	lines := slices.Collect(strings.Lines(text))
	for _, r := range old.rules {
		if r.kind != a.Kind || !r.match.matches(a.Name) || r.digests != nil && !slices.Contains(r.digests, a.Digest) {
			continue
		}
		start, end, alone := ownLine(lines[r.line-1])
		if string(r.match) != a.Name || len(r.digests) != 1 || !alone {
			return "", &reason.Error{Code: reason.AdoptNameGoverned, What: "adopt as " + a.Name, Expected: "a name that no other rule matches",
				Found: fmt.Sprintf("%s (line %d) matches it", r.where, r.line), Next: "--as " + a.Name + "-mine"}
		}
		lines[r.line-1] = lines[r.line-1][:start] + a.rule(a.identity(old)) + lines[r.line-1][end:]
	}
	return strings.Join(lines, ""), nil
}

// ownLine finds a rule that is all that a line holds, as Adopt writes it.
func ownLine(line string) (start, end int, ok bool) {
	start = strings.Index(line, "{match: ")
	end = len(strings.TrimRight(line, ", \r\n"))
	return start, end, start >= 0 && strings.Trim(line[:start], " -") == "" && end > start && line[end-1] == '}'
}

// identity is the name under which the key stands in the file, or will.
func (a Adoption) identity(old Policy) string {
	for _, id := range old.identities {
		if id.key.ID() == a.Key.ID() && !id.key.Zero() {
			return id.name
		}
	}
	return "own-" + strings.TrimPrefix(a.Key.ID(), "sha256:")[:8]
}

// rule is the rule on one line.
func (a Adoption) rule(id string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "{match: %s, digests: [%s]", scalar(a.Name), a.Digest)
	if !a.Until.IsZero() {
		fmt.Fprintf(&b, ", until: %q", stamp(a.Until))
	}
	if a.Reason != "" {
		fmt.Fprintf(&b, ", reason: %s", scalar(a.Reason))
	}
	fmt.Fprintf(&b, ", require: [{signature: {by: [%s]}}", id)
	if a.SBOM {
		fmt.Fprintf(&b, ", {sbom: {by: [%s], covers: executables}}", id)
	}
	return b.String() + "]}"
}

// insert adds the identity, unless known, and the rule.
func (a Adoption) insert(text, file, id string, known bool) ([]byte, error) {
	if blank(text) {
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		return []byte(text + "identities:\n  " + id + ": " + a.keyFlow() + "\n" + section(a.Kind) + ":\n  - " + a.rule(id) + "\n"), nil
	}
	var err error
	if !strings.Contains(text, a.rule(id)) { // else replace put it there
		if text, err = add(text, file, section(a.Kind), "- ", a.rule(id)); err != nil {
			return nil, err
		}
	}
	if !known {
		if text, err = add(text, file, "identities", "", id+": "+a.keyFlow()); err != nil {
			return nil, err
		}
	}
	return []byte(text), nil
}

func (a Adoption) keyFlow() string { return "{key: " + scalar(string(a.Key.PEM())) + "}" }

// add puts one entry first in a top-level mapping or list, in the style in which
// the file writes it. dash is what starts a block entry.
func add(text, file, key, dash, entry string) (string, error) {
	doc := form.Parse(file, []byte(text))
	var head, value form.Node
	doc.Root().Map(func(k, v form.Node) {
		if k.Text() == key {
			head, value = k, v
		}
	})
	if err := doc.Err(); err != nil {
		return "", err
	}
	layout := &reason.Error{Code: reason.AdoptLayout, What: "add to " + file, Expected: "top-level keys that each start a line", Found: "the whole file in one {...}", Next: "write each top-level key on a line of its own"}
	lines := slices.Collect(strings.Lines(text))
	if doc.Root().Flow() || doc.Root().Column != 1 {
		return "", layout
	}
	if head.Line == 0 {
		if !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		return text + key + ":\n  " + dash + entry + "\n", nil
	}
	line := lines[value.Line-1]
	at := offset(line, value.Column)
	switch {
	case value.Flow():
		rest := strings.TrimSpace(line[at+1:])
		before, after := "", ", "
		if dash != "" {
			before, after = "\n  ", ",\n  "
		}
		if strings.HasPrefix(rest, "]") || strings.HasPrefix(rest, "}") {
			after = strings.Replace(after, ",", "", 1)
		}
		lines[value.Line-1] = line[:at+1] + before + entry + after + line[at+1:]
	case value.Line == head.Line || strings.TrimSpace(line[:at]) != "":
		return "", layout
	default: // directly below the key, above any comment of the first entry
		lines = slices.Insert(lines, head.Line, line[:at]+dash+entry+"\n")
	}
	return strings.Join(lines, ""), nil
}

// offset is the byte at a column, which counts characters from 1.
func offset(line string, column int) int {
	at := 0
	for ; column > 1 && at < len(line); column-- {
		_, n := utf8.DecodeRuneInString(line[at:])
		at += n
	}
	return at
}

// prove reads the new file back: everything that was there, except an earlier
// adoption of the same name and digest, and this adoption.
func (a Adoption) prove(old Policy, out []byte, file string, read func(string) ([]byte, error)) error {
	by := "add by hand: " + a.rule(a.identity(old))
	now, err := Parse(out, file, read)
	if err != nil {
		return &reason.Error{Code: reason.AdoptLayout, What: "add to " + file, Expected: "a file that can be added to", Found: err.Error(), Next: by}
	}
	mine := fmt.Sprintf("%s match %q digests [%s] ", section(a.Kind), a.Name, a.Digest)
	lack := func(all, from []string) (out []string) {
		for _, l := range all {
			if !slices.Contains(from, l) && !strings.HasPrefix(l, mine) {
				out = append(out, l)
			}
		}
		return out
	}
	before, after := old.lines(), now.lines()
	extra := slices.DeleteFunc(lack(after, before), func(l string) bool { return strings.HasPrefix(l, "identity ") && strings.Contains(l, a.Key.ID()) })
	if lost := lack(before, after); len(lost)+len(extra) > 0 {
		return &reason.Error{Code: reason.AdoptLayout, What: "add to " + file, Expected: "one rule more and no other change", Found: some(append(lost, extra...)), Next: by}
	}
	if !slices.ContainsFunc(after, func(l string) bool { return strings.HasPrefix(l, mine) && strings.Contains(l, a.Key.ID()) }) {
		return &reason.Error{Code: reason.AdoptLayout, What: "add to " + file, Expected: "the new rule", Found: "none", Next: by}
	}
	return nil
}
