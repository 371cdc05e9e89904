package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Lint finds what a policy says and cannot mean, in the order of its parts. Each
// error is of the class Usage and says file, line and column. What Parse refuses
// is not repeated here, and what Lint finds does not make a policy unsafe to
// decide with: it decides as it is written.
func Lint(p Policy, now time.Time) []*reason.Error {
	l := linter{policy: p, root: form.Parse(p.path, p.raw).Root()}
	l.identities()
	for i, r := range p.rules {
		l.pattern(r)
		l.rule(i, r, now)
		l.demands(r)
	}
	return l.found
}

type linter struct {
	policy Policy
	root   form.Node
	found  []*reason.Error
}

func (l *linter) fail(at form.Node, code reason.Code, expected, found, next string) {
	l.found = append(l.found, &reason.Error{Code: code, What: fmt.Sprintf("check %s:%d:%d", l.policy.path, at.Line, at.Column),
		Expected: expected, Found: found, Next: next})
}

func (l *linter) at(path string) form.Node {
	place, _ := walk(l.root, path)
	return place
}

// identities finds one signer under two names.
func (l *linter) identities() {
	first := map[string]string{}
	for _, id := range l.policy.identities { // sorted by name
		if was, twice := first[id.principal()]; twice {
			l.fail(l.root.Get("identities").Key(id.name), reason.PolicyIdentityTwice, "one name for one signer",
				fmt.Sprintf("%s is %s too", was, id), "remove one of them, and name "+was+" in its place")
			continue
		}
		first[id.principal()] = id.name
	}
}

// pattern finds a rule for names that nothing has, and one for everybody's.
func (l *linter) pattern(r rule) {
	at := l.at(r.where + ".match")
	switch {
	case !r.match.possible(r.kind):
		next := "write a name as ztlaunch tree shows it"
		if r.kind == artifact.Model {
			next = "write the folder as the task file names it, or a name given by --as: match: models/small"
		}
		for _, other := range r.match.nearby() {
			if other.possible(r.kind) {
				next = "match: " + string(other)
				break
			}
		}
		l.fail(at, reason.PolicyNeverMatches, "a pattern that a normalised name can match", fmt.Sprintf("%.80q, which none can", string(r.match)), next)
	case r.match.open() && r.digests == nil && !slices.ContainsFunc(r.demands, demand.anchors):
		whose, narrower := "names of one registry", "match: REGISTRY/**"
		if r.kind == artifact.Model { // which no registry names
			whose, narrower = "names below one folder", "match: models/**"
		}
		l.fail(at, reason.PolicyOpen, whose+", or a demand that says which repository it was built from",
			fmt.Sprintf("%.80q, and signers that may have signed other things", string(r.match)),
			narrower+", or add {provenance: {by: [NAME], source: HOST/OWNER/REPOSITORY, builder: github-hosted}}")
	}
}

// rule finds what makes a rule idle or impossible.
func (l *linter) rule(i int, r rule, now time.Time) {
	if !r.until.IsZero() && !now.Before(r.until) {
		l.fail(l.at(r.where+".until"), reason.PolicyUntilPast, "a time after "+stamp(now), stamp(r.until), "remove the rule, or write until: "+now.UTC().AddDate(0, 0, 30).Format(time.DateOnly))
	}
	for j, d := range r.digests {
		if slices.Contains(l.policy.deny, d) {
			l.fail(l.at(fmt.Sprintf("%s.digests[%d]", r.where, j)), reason.PolicyDeniesAdopted, "digests that deny: does not name", d.String(), "remove it here, or from deny:")
		}
	}
	for _, other := range l.policy.rules[:i] {
		if r.idle(other) || other.idle(r) {
			l.fail(l.at(r.where), reason.PolicyRuleTwice, "something that "+other.where+" does not demand, or more", "the same names and no demand more", "remove the one that demands less")
			return
		}
	}
}

// idle says whether a rule refuses nothing that the other does not: the same names,
// and none of its demands is one of its own.
func (r rule) idle(other rule) bool {
	sorted := func(of []digest.Digest) []digest.Digest { return slices.Sorted(slices.Values(of)) }
	if r.kind != other.kind || r.match != other.match || !slices.Equal(sorted(r.digests), sorted(other.digests)) || !r.until.IsZero() && !r.until.Equal(other.until) ||
		r.formats != nil && !slices.Equal(r.formats, other.formats) || r.floor != (floor{}) && r.floor != other.floor || !r.legacy && other.legacy {
		return false
	}
	return !slices.ContainsFunc(r.demands, func(d demand) bool {
		return !slices.ContainsFunc(other.demands, func(o demand) bool { return o.text() == d.text() })
	})
}

func (l *linter) demands(r rule) {
	first := map[string]string{}
	for _, d := range r.demands {
		if was, twice := first[d.text()]; twice {
			l.fail(l.at(d.where), reason.PolicyDemandTwice, "each demand once", "the same as "+was, "remove one of them")
			continue
		}
		first[d.text()] = d.where
		if b := d.build.entry; b != nil && d.build.level > b.level {
			l.fail(l.at(d.where+".level"), reason.PolicyLevel, fmt.Sprintf("at most %d, the level of %s in builders", b.level, b.name), fmt.Sprint(d.build.level), fmt.Sprintf("level: %d", b.level))
		}
	}
}

// anchors says whether a demand ties an artifact to one source: provenance from it, or
// signers that are builds of one repository each.
func (d demand) anchors() bool {
	switch d.word {
	case provenance:
		return d.build.source != ""
	case signature:
		return !slices.ContainsFunc(d.by, func(id Identity) bool { return id.keyless.Repository == "" })
	}
	return false
}

// open says whether a pattern leaves open whose registry a name is of: only whole
// labels of a domain may vary, in front of at least two that do not.
func (p pattern) open() bool {
	host, _, _ := strings.Cut(string(p), "/")
	host, _, _ = strings.Cut(host, ":")
	star := strings.LastIndexByte(host, '*')
	if star < 0 {
		return false
	}
	return host[star+1:] == "" || host[star+1] != '.' || strings.Count(host[star+1:], ".") < 2
}

// possible says whether an artifact of this kind can have a name that matches.
// Stars are tried as what names are made of.
func (p pattern) possible(k artifact.Kind) bool {
	first, rest, more := strings.Cut(string(p), "/")
	for _, host := range []string{"a", "a.a", "a:1", ""} {
		for _, star := range []string{"a", "a.a", ""} {
			for _, deep := range []string{"a", "a/a"} {
				name := strings.ReplaceAll(first, "*", host)
				if first == "**" {
					name = "a.a/" + deep
				}
				if more {
					name += "/" + strings.ReplaceAll(strings.ReplaceAll(rest, "**", deep), "*", star)
				}
				if named(k, name) {
					return true
				}
			}
		}
	}
	return false
}

// named says whether that is a normalised name.
func named(k artifact.Kind, name string) bool {
	ref, err := artifact.Parse(name)
	return err == nil && ref.Name() == name && k != artifact.Model ||
		k != artifact.Image && artifact.CheckName(k, name) == nil
}

// nearby are patterns that may have been meant.
func (p pattern) nearby() []pattern {
	low := strings.ToLower(string(p))
	hub := strings.Replace(low, "index.docker.io/", "docker.io/", 1)
	return []pattern{pattern(low), pattern(hub), pattern(strings.Replace(hub, "docker.io/", "docker.io/library/", 1))}
}
