package report

import (
	"fmt"
	"html"
	"strings"
)

// maxErrors is how many errors GitHub shows of one step; it drops the rest without a
// word (and those of a job after 50).
const maxErrors = 10

// MaxSummary is the size of a step's summary above which GitHub drops all of it, in
// bytes.
const MaxSummary = 1 << 20

// GitHub writes verdicts as workflow commands, an ::error for each failure and at
// most 10 of them, the last of which says how many more there are; then one line that
// counts. A command ends at its line's end, so what others wrote has none: "%", CR, LF
// and in properties ":" and "," are escaped as the runner undoes it (%25, %0D, %0A,
// %3A, %2C), other control characters are gone, and the older form ##[command] is
// parted.
func GitHub(base string, all ...Verdict) string {
	all = whole(all)
	items, left := failures(all, maxErrors)
	if left > 0 {
		items, left = failures(all, maxErrors-1)
	}
	var b strings.Builder
	for _, i := range items {
		b.WriteString("::error ")
		for _, at := range i.places() {
			if file, ok := below(base, at.File); ok {
				fmt.Fprintf(&b, "file=%s,line=%d,", property(brief(file)), at.Line)
				break
			}
		}
		fmt.Fprintf(&b, "title=%s::%s", property(i.f.Code+" "+brief(i.v.Subject.Reference)), message(brief(i.f.What)))
		for _, row := range i.f.rows() {
			b.WriteString(message("\n" + row[0] + ": " + row[1]))
		}
		b.WriteByte('\n')
	}
	if left > 0 {
		fmt.Fprintf(&b, "::error title=ztlaunch::%d more failures: see the step summary, or the JSON report\n", left)
	}
	b.WriteString(headline(all) + "\n")
	return b.String()
}

// property is a value of a workflow command's property; message is its message.
func property(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(message(s))
}

func message(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

// headline is the verdict of all verdicts, in numbers.
func headline(all []Verdict) string {
	allowed, denied, undecided := results(all)
	word := "allowed"
	if Exit(all...) != 0 {
		word = "not allowed"
	}
	return fmt.Sprintf("ztlaunch: %s (exit %d): %d allowed, %d denied, %d undecided", word, Exit(all...), allowed, denied, undecided)
}

// Summary writes verdicts as a step's summary (GitHub-flavoured Markdown) of at most
// room bytes: the verdict in the first line, every artifact, then every failure. What
// has no room is counted; it is empty where there is room for nothing. Everything that others wrote stands in <code> within one
// HTML table, where it is no Markdown, and mentions and links are none.
func Summary(room int, all ...Verdict) string {
	all = whole(all)
	items, _ := failures(all, 1<<30)
	const tail = 200 // room for the ends, and for what is left out
	head := "## " + headline(all) + "\n\n"
	if len(head)+tail > room {
		return ""
	}
	var b strings.Builder
	b.WriteString(head)
	fits := func(row string) bool {
		if b.Len()+len(row)+tail > room {
			return false
		}
		b.WriteString(row)
		return true
	}
	table := func(names []string, n int, row func(i int) []string) (left int) {
		if n == 0 || !fits("<table>\n"+cells("th", names)) {
			return n
		}
		for ; left < n && fits(cells("td", row(left))); left++ {
		}
		b.WriteString("</table>\n\n")
		return n - left
	}
	left := table([]string{"result", "artifact", "digest"}, len(all), func(i int) []string {
		return []string{all[i].Result, all[i].Subject.Reference, all[i].Subject.Digest}
	})
	left += table([]string{"code", "artifact", "check", "expected", "found", "next"}, len(items), func(i int) []string {
		f := items[i].f
		return []string{f.Code, items[i].v.Subject.Reference, f.What, f.Expected, f.Found, f.Next}
	})
	if left > 0 {
		fmt.Fprintf(&b, "%d more rows have no room here: the JSON report has them all.\n", left)
	}
	return b.String()
}

// cells is one row of a table, without an empty line in it.
func cells(tag string, all []string) string {
	var b strings.Builder
	b.WriteString("<tr>")
	for _, s := range all {
		if s = html.EscapeString(brief(s)); s != "" && tag == "td" {
			s = "<code>" + s + "</code>"
		}
		fmt.Fprintf(&b, "<%s>%s</%s>", tag, s, tag)
	}
	b.WriteString("</tr>\n")
	return b.String()
}
