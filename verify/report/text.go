package report

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Text writes verdicts for people: what was decided about what, each failure
// with what was expected, what was found and what to do next, then what passed.
func Text(all ...Verdict) string {
	var b strings.Builder
	for i, v := range whole(all) {
		if i > 0 {
			b.WriteByte('\n')
		}
		v.text(&b)
	}
	return b.String()
}

func (v Verdict) text(b *strings.Builder) {
	name := v.Subject.Reference
	if v.Subject.Digest != "" && !strings.Contains(name, v.Subject.Digest) {
		name += " at " + v.Subject.Digest
	}
	line(b, v.Result, name)
	word := "denied"
	if v.Result == Undecided {
		word = "failed"
	}
	for _, f := range v.failed() {
		b.WriteByte('\n')
		line(b, word, f.Code+"  "+f.What)
		row(b, "expected", f.Expected)
		row(b, "found", f.Found)
		row(b, "next", f.Next)
	}
	if len(v.Findings) > 0 && (v.passed() || v.Policy != nil) {
		b.WriteByte('\n')
	}
	for _, f := range v.Findings {
		switch f.Result {
		case "pass":
			line(b, "passed", join2(f.What, f.Found))
		case "skip":
			line(b, "skipped", join2(f.What, f.Found))
		}
	}
	v.notes(b)
}

func (v Verdict) passed() bool {
	for _, f := range v.Findings {
		if f.Result != "fail" {
			return true
		}
	}
	return false
}

// notes are what a reader should know besides the checks.
func (v Verdict) notes(b *strings.Builder) {
	if v.Adopted != nil {
		line(b, "note", "adopted: you vouched for exactly these bytes"+because(v.Adopted.Reasons))
	}
	if f := v.Files; f != nil && f.Uncovered+f.Excepted > 0 {
		line(b, "note", fmt.Sprintf("of %d files, %d are outside of what the rule covers and %d are excepted by the policy", f.Total, f.Uncovered, f.Excepted))
	}
	if v.Named != nil {
		line(b, "named", fmt.Sprintf("%s:%d", v.Named.File, v.Named.Line))
	}
	if v.Policy != nil {
		at := v.Policy.Path
		if at == "" {
			at = "policy"
		}
		line(b, "policy", at+" ("+short(v.Policy.Digest)+")")
	}
	if v.DenyFeed > 0 {
		line(b, "feed", fmt.Sprintf("deny feed %d%s", v.DenyFeed, v.feedAge()))
	}
	if v.Root != nil && v.Root.Date != "" {
		line(b, "root", "Sigstore root of "+v.Root.Date+" ("+short(v.Root.Digest)+")")
	}
	if v.Until != "" && v.Result == Allowed {
		line(b, "until", v.Until)
	}
}

// feedAge is how old the deny feed was when it was asked.
func (v Verdict) feedAge() string {
	issued, err := time.Parse(time.RFC3339, v.DenyFeedIssued)
	if err != nil {
		return ""
	}
	at, err := time.Parse(time.RFC3339, v.Time)
	if err != nil {
		return ""
	}
	return " of " + v.DenyFeedIssued + ", " + max(0, at.Sub(issued)).String() + " old"
}

func because(reasons []string) string {
	var out []string
	for _, r := range reasons {
		if r != "" {
			out = append(out, r)
		}
	}
	if out == nil {
		return ""
	}
	return " (" + strings.Join(out, "; ") + ")"
}

func join2(what, found string) string {
	if found == "" {
		return what
	}
	return what + ": " + found
}

// short is enough of a digest for people to compare.
func short(digest string) string {
	if len(digest) > 19 {
		return digest[:19]
	}
	return digest
}

// line writes "word  text"; words are as wide as the widest, "undecided".
func line(b *strings.Builder, word, text string) {
	fmt.Fprintf(b, "%-9s %s\n", word, plain(text))
}

func row(b *strings.Builder, name, value string) {
	if value != "" {
		fmt.Fprintf(b, "%-9s %-9s %s\n", "", name, plain(value))
	}
}

// plain drops what a terminal might act on (control and format characters, and
// line breaks), and parts the two signs that begin a runner's command anywhere in a
// line (##[...], ##vso[...]).
func plain(s string) string {
	for strings.Contains(s, "##") {
		s = strings.ReplaceAll(s, "##", "# #")
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, s)
}
