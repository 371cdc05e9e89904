package policy

import (
	"slices"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Rehearsal is what a policy would say if claims were as supposed. It is no
// Decision, holds none and cannot become one: nothing is admitted by it.
type Rehearsal struct {
	Allowed  bool
	Findings []Finding
}

// Codes are the reasons against it, sorted and each once; none if it is allowed.
func (r Rehearsal) Codes() []reason.Code {
	var out []reason.Code
	for _, f := range r.Findings {
		if !f.Pass && !f.Skipped {
			out = append(out, f.Code)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Alone is the one check that stands against it, the Rule of a Finding; "" if
// there are several, or none.
func (r Rehearsal) Alone() string {
	where := ""
	for _, f := range r.Findings {
		switch {
		case f.Pass || f.Skipped:
		case where != "" && where != f.Rule:
			return ""
		default:
			where = f.Rule
		}
	}
	return where
}

// Rehearse asks what Evaluate would say. Claims may be of evidence.Suppose, the
// layout of steps.Suppose and the deny feed of SupposeFeed, all of which Evaluate
// itself refuses.
func Rehearse(p Policy, in Input) Rehearsal {
	in.rehearsal = true
	d := Evaluate(p, in)
	return Rehearsal{d.Allowed(), d.Findings()}
}

// SupposeFeed makes a deny feed that is believed as Feed would if somebody had signed
// it: with its codes, but deny-feed-tampered and deny-feed-unsigned. It is marked for
// good, and whatever decides for real refuses it.
func (p Policy) SupposeFeed(raw []byte, by evidence.Signer, now time.Time) (Feed, error) {
	if p.feed.file == "" {
		return Feed{}, &reason.Error{Code: reason.DecisionInput, What: "suppose a deny feed", Expected: "a policy with a denyFeed", Found: "none"}
	}
	feed, err := p.feedBy(raw, by, []time.Time{now}, now)
	if err != nil {
		return Feed{}, err
	}
	feed.supposed = true
	return feed, nil
}

// Supposed says that SupposeFeed made the feed: nobody signed it.
func (feed Feed) Supposed() bool { return feed.supposed }

// Condition is one thing in a policy that can deny, or one rule that can admit.
type Condition struct {
	Where string // as in Finding.Rule: "images[0].require[1].provenance", "images[0].until", "deny"
	Rule  string // the rule that it belongs to: "images[0]"; "" for deny and denyFeed
	Line  int
}

// Conditions are everything in the policy that can deny, in the order of the
// file: the deny list, the deny feed, and of each rule its digests, until, formats and minimum
// and its demands. Digests can where no rule without digests admits the same name; of several
// rules that adopt one name, it is the last one that a Finding names.
func (p Policy) Conditions() (out []Condition) {
	if len(p.deny) > 0 {
		out = append(out, Condition{"deny", "", p.place("deny").Line})
	}
	if p.feed.file != "" {
		out = append(out, Condition{"denyFeed", "", p.feed.line})
	}
	for _, r := range p.rules {
		for _, c := range []struct {
			key   string
			there bool
		}{{"digests", r.digests != nil && !p.adoptedBeside(r)}, {"until", !r.until.IsZero()}, {"formats", r.formats != nil}, {"minimum", r.floor != (floor{})}} {
			if c.there {
				out = append(out, Condition{r.where + "." + c.key, r.where, p.place(r.where + "." + c.key).Line})
			}
		}
		for _, d := range r.demands {
			out = append(out, Condition{d.where, r.where, d.line})
		}
	}
	return out
}

// adoptedBeside says whether the name of a rule with digests is admitted beside it:
// by a rule without, or by one further down.
func (p Policy) adoptedBeside(r rule) bool {
	later := false
	for _, o := range p.rules {
		if o.where == r.where {
			later = true
			continue
		}
		if o.kind == r.kind && (o.match == r.match || o.match.matches(string(r.match))) && (o.digests == nil || later) {
			return true
		}
	}
	return false
}
