package report

import (
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Formats are the names of the views.
func Formats() []string { return []string{"text", "json", "sarif", "junit", "github"} }

// View writes verdicts in one of Formats. Paths are told relative to base, the
// absolute path of the folder that the reader knows as the project, where they lie
// below it.
func View(format, base string, all ...Verdict) ([]byte, error) {
	switch format {
	case "text":
		return []byte(Text(all...)), nil
	case "json":
		return JSON(all...)
	case "sarif":
		return SARIF(base, all...)
	case "junit":
		return []byte(JUnit(base, all...)), nil
	case "github":
		return []byte(GitHub(base, all...)), nil
	}
	return nil, &reason.Error{Code: reason.UsageWrong, What: "write the report " + format, Expected: strings.Join(Formats(), ", "), Found: format}
}

// whole is the verdicts, or the one that nothing was verified.
func whole(all []Verdict) []Verdict {
	if len(all) > 0 {
		return all
	}
	return []Verdict{Failed("nothing", &reason.Error{Code: reason.InternalFault, What: "verify", Expected: "something to verify", Found: "nothing"})}
}

// failed are the findings that deny. A verdict that does not allow has at least
// one.
func (v Verdict) failed() []Finding {
	var out []Finding
	for _, f := range v.Findings {
		if f.Result != "pass" && f.Result != "skip" {
			out = append(out, f)
		}
	}
	if out == nil && (v.Result != Allowed || v.Exit != 0) {
		out = []Finding{{Result: "fail", What: "verify " + v.Subject.Reference, Code: string(reason.InternalFault), Class: reason.Internal.String(),
			Expected: "a finding that says why it is not allowed", Found: "none", Next: reason.InternalFault.Next()}}
	}
	return out
}

// item is one failure and what it is about.
type item struct {
	v Verdict
	f Finding
}

// failures are at most n failures of all verdicts, in order, and how many more
// there are. Where not all have room each verdict keeps one before any keeps two.
func failures(all []Verdict, n int) (kept []item, left int) {
	type ranked struct {
		item
		round, at int
	}
	var every []ranked
	for _, v := range all {
		for round, f := range v.failed() {
			every = append(every, ranked{item{v, f}, round, len(every)})
		}
	}
	if len(every) > n {
		slices.SortStableFunc(every, func(a, b ranked) int { return a.round - b.round })
		left = len(every) - n
		every = every[:n]
		slices.SortFunc(every, func(a, b ranked) int { return a.at - b.at })
	}
	for _, r := range every {
		kept = append(kept, r.item)
	}
	return kept, left
}

// places are where a failure stands, the nearest first: the line that named the
// artifact, and the policy's line that it fails by.
func (i item) places() []Place {
	var out []Place
	if i.v.Named != nil && i.v.Named.File != "" {
		out = append(out, Place{i.v.Named.File, max(i.v.Named.Line, 1)})
	}
	if i.f.Line > 0 && i.v.Policy != nil && i.v.Policy.Path != "" {
		out = append(out, Place{i.v.Policy.Path, i.f.Line})
	}
	return out
}

// below is file relative to base, in slashes; ok says that it lies below.
func below(base, file string) (string, bool) {
	rel, err := filepath.Rel(base, file)
	if base == "" || err != nil || !filepath.IsLocal(rel) {
		return filepath.ToSlash(file), false
	}
	return filepath.ToSlash(rel), true
}

// uri is a file as a URI reference: relative below base, else absolute.
func uri(base, file string) string {
	path, ok := below(base, file)
	if !ok && filepath.IsAbs(file) {
		return (&url.URL{Scheme: "file", Path: path}).String()
	}
	return (&url.URL{Path: path}).String()
}

// maxText bounds one text of a view, in bytes.
const maxText = 1000

// brief is text for a page: plain, and cut where it is long.
func brief(s string) string { return cut(plain(s), maxText) }

// cut is at most n bytes of s, and says that it was cut.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// rows are the parts of a failure that have words, each with its name.
func (f Finding) rows() [][2]string {
	var out [][2]string
	for _, r := range [...][2]string{{"expected", f.Expected}, {"found", f.Found}, {"next", f.Next}} {
		if r[1] != "" {
			out = append(out, [2]string{r[0], brief(r[1])})
		}
	}
	return out
}

// undigested is a reference without the digest that it was pinned to: what stays
// the same when an artifact is built anew.
func undigested(reference string) string {
	name, _, _ := strings.Cut(reference, "@sha256:")
	return name
}

// count counts the findings that passed, and those that were skipped.
func count(all []Verdict) (passed, skipped int) {
	for _, v := range all {
		for _, f := range v.Findings {
			switch f.Result {
			case "pass":
				passed++
			case "skip":
				skipped++
			}
		}
	}
	return passed, skipped
}

// results counts verdicts by result.
func results(all []Verdict) (allowed, denied, undecided int) {
	for _, v := range all {
		switch v.Result {
		case Allowed:
			allowed++
		case Denied:
			denied++
		default:
			undecided++
		}
	}
	return allowed, denied, undecided
}
