package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// oldRoot is the age at which a root is called old: logs are replaced about twice a
// year.
const oldRoot = 180 * 24 * time.Hour

// trustVerb shows and changes the Sigstore root that this user believes.
func trustVerb(ctx context.Context, w world, args []string) int {
	if len(args) > 0 {
		switch args[0] {
		case "show":
			return trustShow(w, args[1:])
		case "diff":
			return trustDiff(w, args[1:])
		case "add":
			return trustAdd(w, args[1:])
		case "update":
			return trustUpdate(ctx, w, args[1:])
		}
	}
	fs := newFlags("trust", true)
	if err := w.parse(fs, "show [FILE] | add FILE | update | diff FILE [FILE]   (each has --help)", args); err != nil {
		return w.parsed("trust", err)
	}
	return w.fail("trust", strange("trust", fs.Args(), "show", "add", "update", "diff"))
}

// rootShown is a root as JSON.
type rootShown struct {
	Root      digest.Digest `json:"root"` // of the file
	By        string        `json:"by"`   // embedded, file, tuf or named
	Source    string        `json:"source"`
	Date      string        `json:"date,omitempty"` // when it was known to be current
	AgeDays   *int          `json:"ageDays,omitempty"`
	Old       bool          `json:"old"` // over 180 days
	Installed string        `json:"installed,omitempty"`
	TUF       *tufShown     `json:"tuf,omitempty"`
}

// tufShown are the versions that were seen of the TUF repository.
type tufShown struct {
	Root      int64 `json:"root"`
	Timestamp int64 `json:"timestamp"`
	Snapshot  int64 `json:"snapshot"`
	Targets   int64 `json:"targets"`
}

// partShown is one authority or log.
type partShown struct {
	Role    trust.Role `json:"role"`
	Name    string     `json:"name"`
	ID      string     `json:"id"`
	Key     string     `json:"key"`
	From    string     `json:"from"`
	Until   string     `json:"until,omitempty"` // absent: open
	Current bool       `json:"current"`
}

func (in inForce) shown(now time.Time) rootShown {
	s := rootShown{Root: in.root.File(), By: in.by, Source: in.source}
	if date := in.root.Date(); !date.IsZero() {
		days := int(now.Sub(date) / (24 * time.Hour))
		s.Date, s.AgeDays, s.Old = date.UTC().Format(time.DateOnly), &days, now.Sub(date) > oldRoot
	}
	if at := in.record.Installed; !at.IsZero() {
		s.Installed = at.UTC().Format(time.RFC3339)
	}
	if m := in.record.TUF; m != nil {
		s.TUF = &tufShown{m.Root.Version, m.Timestamp.Version, m.Snapshot.Version, m.Targets.Version}
	}
	return s
}

// age is the date of a root in words.
func (s rootShown) age() string {
	switch {
	case s.AgeDays == nil:
		return "of unknown date"
	case s.Old:
		return fmt.Sprintf("of %s, %d days old: over %d, ztlaunch trust update", s.Date, *s.AgeDays, int(oldRoot/(24*time.Hour)))
	}
	return fmt.Sprintf("of %s, %d days old", s.Date, *s.AgeDays)
}

func shownPart(p trust.Part, now time.Time) partShown {
	s := partShown{p.Role, p.Name, p.ID, p.Key, p.From.UTC().Format(time.RFC3339), "", p.Current(now)}
	if !p.Until.IsZero() {
		s.Until = p.Until.UTC().Format(time.RFC3339)
	}
	return s
}

// line is a part for people.
func (p partShown) line() string {
	return clean(fmt.Sprintf("%-22s %s  %s  from %s until %s", p.Role, p.Name, p.Key, p.From, cmp.Or(p.Until, "-")))
}

// trustShow shows a root's authorities and logs.
func trustShow(w world, args []string) int {
	fs := newFlags("trust show", true)
	if err := w.parse(fs, "[FILE]   (default: the root in force)", args); err != nil {
		return w.parsed("trust", err)
	}
	if fs.NArg() > 1 {
		return w.fail("trust", wrong("read the command", "at most one file", ""))
	}
	in, parts, err := w.rootOf(fs.Arg(0))
	if err != nil {
		return w.fail("trust", err)
	}
	now := w.now()
	shown := in.shown(now)
	all := make([]partShown, len(parts))
	var b strings.Builder
	fmt.Fprintf(&b, "root      %s\nsource    %s: %s\ndate      %s\n", shown.Root, shown.By, clean(shown.Source), strings.TrimPrefix(shown.age(), "of "))
	if shown.Installed != "" {
		fmt.Fprintf(&b, "installed %s\n", shown.Installed)
	}
	if v := shown.TUF; v != nil {
		fmt.Fprintf(&b, "tuf       root %d, timestamp %d, snapshot %d, targets %d\n", v.Root, v.Timestamp, v.Snapshot, v.Targets)
	}
	for i, p := range parts {
		all[i] = shownPart(p, now)
		mark := "current "
		if !all[i].Current {
			mark = "past    "
			if now.Before(p.From) {
				mark = "future  "
			}
		}
		fmt.Fprintf(&b, "  %s %s\n", mark, all[i].line())
	}
	return w.done("trust", struct {
		header
		rootShown
		Parts []partShown `json:"parts"`
	}{header{"ztlaunch.trust/v1", 0}, shown, all}, b.String())
}

// rootOf is the root of a file, or without a name the one in force, with its parts.
func (w world) rootOf(file string) (in inForce, parts []trust.Part, err error) {
	if file == "" {
		in, err = w.dirs().rootInForce()
	} else {
		in, _, err = namedRoot(file)
	}
	if err != nil {
		return inForce{}, nil, err
	}
	parts, err = in.root.Parts()
	return in, parts, err
}

// changeShown is one difference.
type changeShown struct {
	Effect  trust.Effect `json:"effect"`
	Rewinds bool         `json:"rewinds"`
	partShown
	WasFrom  string `json:"wasFrom,omitempty"`
	WasUntil string `json:"wasUntil,omitempty"`
}

func shownChanges(all []trust.Change, now time.Time) []changeShown {
	shown := make([]changeShown, len(all))
	for i, c := range all {
		shown[i] = changeShown{Effect: c.Effect, Rewinds: c.Rewinds(), partShown: shownPart(c.Part, now)}
		if c.Effect == trust.Retired || c.Effect == trust.Widened {
			was := shownPart(c.Was, now)
			shown[i].WasFrom, shown[i].WasUntil = was.From, was.Until
		}
	}
	return shown
}

func changeLines(all []changeShown) string {
	var b strings.Builder
	for _, c := range all {
		was := ""
		if c.WasFrom != "" {
			was = ", was from " + c.WasFrom + " until " + cmp.Or(c.WasUntil, "-")
		}
		fmt.Fprintf(&b, "  %-8s %s%s\n", c.Effect, c.line(), was)
	}
	return b.String()
}

// trustDiff says what would change. Like diff it exits 1 where anything would.
func trustDiff(w world, args []string) int {
	fs := newFlags("trust diff", true)
	if err := w.parse(fs, "FILE [FILE]   (one: against the root in force; exit status 1: they differ)", args); err != nil {
		return w.parsed("trust", err)
	}
	if fs.NArg() < 1 || fs.NArg() > 2 {
		return w.fail("trust", wrong("read the command", "one or two trusted_root.json files", "ztlaunch trust diff FILE"))
	}
	from, to := "", fs.Arg(0)
	if fs.NArg() == 2 {
		from, to = fs.Arg(0), fs.Arg(1)
	}
	was, before, err := w.rootOf(from)
	if err != nil {
		return w.fail("trust", err)
	}
	is, after, err := w.rootOf(to)
	if err != nil {
		return w.fail("trust", err)
	}
	changes := shownChanges(trust.Diff(before, after), w.now())
	exit, text := 0, "no difference in whom they believe\n"
	if len(changes) > 0 {
		exit, text = 1, changeLines(changes)
	}
	return reason.Worst(exit, w.done("trust", struct {
		header
		From    rootShown     `json:"from"`
		To      rootShown     `json:"to"`
		Changes []changeShown `json:"changes"`
	}{header{"ztlaunch.trust-diff/v1", exit}, was.shown(w.now()), is.shown(w.now()), changes}, text))
}
