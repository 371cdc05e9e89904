package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/form"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/steps"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// Feed is a deny feed: what its signer takes back. ParseFeed reads one of which
// nothing is proved yet, Policy.Feed makes one that a policy believes. The zero Feed
// denies nothing.
type Feed struct {
	Serial uint64
	Issued time.Time
	Until  time.Time                // after which it says nothing any more; zero = no end
	Digest digest.Digest            // of the file
	Signer evidence.Signer          // who signed it
	Denied map[digest.Digest]string // digest -> why

	signers      []deniedSigner
	certificates map[digest.Digest]string
	logs         map[string]deniedLog // by ID in lower-case hex
	policy       digest.Digest        // under which it was proved
	supposed     bool                 // by SupposeFeed: nobody signed it
}

// deniedSigner is a key, or a certificate name of one issuer or private authority.
type deniedSigner struct {
	key, authority, issuer, san string
	since                       time.Time // zero = whatever they signed
	reason                      string
}

// deniedLog is a transparency log.
type deniedLog struct {
	since  time.Time
	reason string
}

// is says whether a signer is the denied one. Whoever stole a workflow tags as they
// like, so a "*" in the certificate's name stands for anything at all.
func (d deniedSigner) is(s evidence.Signer) bool {
	if d.key != "" || s.Key != "" {
		return d.key == s.Key
	}
	first, rest, wild := strings.Cut(d.san, "*")
	got, ok := strings.CutPrefix(s.SAN, first)
	if d.authority != s.Authority || d.issuer != s.Issuer {
		return false
	}
	if !ok || !wild {
		return d.san == s.SAN
	}
	for {
		part, more, again := strings.Cut(rest, "*")
		if !again {
			return strings.HasSuffix(got, part)
		}
		at := strings.Index(got, part)
		if at < 0 {
			return false
		}
		got, rest = got[at+len(part):], more
	}
}

// Zero reports whether there is no feed.
func (feed Feed) Zero() bool { return feed.Serial == 0 }

// feedTerms are what a policy says about its deny feed.
type feedTerms struct {
	file   string // "" = there is none
	by     []Identity
	maxAge time.Duration // 0 = as long as the file says
	line   int
}

func (r *reader) feed(n form.Node) {
	t := feedTerms{line: n.Line}
	n.Fields(map[string]func(form.Node){
		"file": func(v form.Node) {
			t.file = v.Text()
			if t.file == "" || strings.Contains(t.file, "://") {
				v.Fail(reason.FormValue, "a file on this host: nothing is fetched", fmt.Sprintf("%.80q", t.file), "denyFeed: {file: deny.json, by: [NAME]}")
			}
			if !path.IsAbs(t.file) {
				t.file = path.Join(path.Dir(r.policy.path), t.file)
			}
		},
		"by":     func(v form.Node) { t.by = r.identities(v) },
		"maxAge": func(v form.Node) { t.maxAge = v.Duration() },
	})
	n.Need("file", "by")
	r.policy.feed = t
}

// DenyFeed is the path of the deny feed that the policy names, "" if it names none.
// A policy that names one denies everything without it.
func (p Policy) DenyFeed() string { return p.feed.file }

// SignsFeed says whether the policy lets somebody sign its deny feed.
func (p Policy) SignsFeed(s evidence.Signer) bool {
	return slices.ContainsFunc(p.feed.by, func(id Identity) bool { return len(id.Differences(s)) == 0 })
}

// Feed believes a deny feed. raw are the bytes of the file that DenyFeed names, and
// signed is what evidence.CheckBlob proved about them. Its codes are
// deny-feed-tampered, deny-feed-unsigned, deny-feed-wrong-identity,
// deny-feed-malformed and deny-feed-future; a feed that is stale is made, and denies.
func (p Policy) Feed(raw []byte, signed evidence.Claim, now time.Time) (Feed, error) {
	sum := digest.FromBytes(raw)
	switch {
	case p.feed.file == "":
		return p.noFeed(reason.DecisionInput, "a policy with a denyFeed", "none", "")
	case signed.Zero() || signed.Subject() != sum:
		return p.noFeed(reason.DenyFeedTampered, "a signature over "+sum.String(), "over "+signed.Subject().String(), "bring the feed anew, with its signature")
	case signed.PredicateType() != "": // of an image's signature, which has no statement, too
		return p.noFeed(reason.DenyFeedUnsigned, "a signature over the file's bytes", "an attestation of type "+clip(signed.PredicateType())+" by "+clip(signed.Signer().String()),
			"ztlaunch sign --key KEY deny:"+reason.Word(p.feed.file))
	}
	times := []time.Time{now}
	if at, source := signed.Time(); source != evidence.TimeNone {
		times = []time.Time{at}
	}
	for _, w := range signed.Witnesses() {
		if !w.At.IsZero() {
			times = append(times, w.At)
		}
	}
	return p.feedBy(raw, signed.Signer(), times, now)
}

// feedBy believes the feed's bytes, which somebody signed at the times.
func (p Policy) feedBy(raw []byte, by evidence.Signer, times []time.Time, now time.Time) (Feed, error) {
	signs := func(id Identity) bool {
		late := func(t time.Time) bool { return !id.key.Zero() && !id.key.Valid(t) }
		return len(id.Differences(by)) == 0 && !slices.ContainsFunc(times, late)
	}
	if !slices.ContainsFunc(p.feed.by, signs) {
		return p.noFeed(reason.DenyFeedWrongIdentity, "a signature by "+words(names(p.feed.by)), clip(by.String()), "bring the feed of "+words(names(p.feed.by)))
	}
	feed, err := ParseFeed(raw, p.feed.file)
	if err != nil {
		return Feed{}, err
	}
	const skew = 5 * time.Minute // between two honest clocks
	if feed.Issued.After(now.Add(skew)) {
		return p.noFeed(reason.DenyFeedFuture, "a feed issued by "+stamp(now.Add(skew)), "issued "+stamp(feed.Issued), "compare this host's clock with another")
	}
	if end := feed.Issued.Add(p.feed.maxAge); p.feed.maxAge > 0 && end.Before(feed.Until) {
		feed.Until = end
	}
	feed.Signer, feed.policy = by, p.sum
	return feed, nil
}

func (p Policy) noFeed(code reason.Code, expected, found, next string) (Feed, error) {
	return Feed{}, &reason.Error{Code: code, What: "believe the deny feed " + p.feed.file, Expected: expected, Found: found, Next: next}
}

// title names the feed in findings.
func (feed Feed) title() string { return fmt.Sprintf("deny feed %d", feed.Serial) }

// parts are all digests that make up an artifact: manifest, index, configuration,
// layers packed and unpacked, and the files of a model.
func parts(a artifact.Artifact, t tree.Tree) []digest.Digest {
	all := a.Subjects()
	if d := a.ConfigDigest(); d != "" {
		all = append(all, d)
	}
	for _, l := range a.Layers() {
		all = append(all, l.Digest, l.DiffID)
	}
	if a.Kind() == artifact.Model {
		for e := range t.Entries() {
			if e.Type == tree.File {
				all = append(all, e.Digest)
			}
		}
	}
	return all
}

// part is the fault of an artifact of which a part is denied.
func (feed Feed) part(all []digest.Digest) *fault {
	for _, d := range all {
		if why, denied := feed.Denied[d]; denied {
			return &fault{reason.DigestDenied, "no digest of the artifact on the list", d.String() + ": " + clip(why),
				"use another version; the deny feed names this one"}
		}
	}
	return nil
}

// stale is the fault of a feed that is past its end.
func (feed Feed) stale(now time.Time) *fault {
	if feed.Until.IsZero() || !now.After(feed.Until) {
		return nil
	}
	return &fault{reason.DenyFeedStale, "a feed valid at " + stamp(now), "valid until " + stamp(feed.Until), "bring a newer deny feed"}
}

// time is by when a claim's signature existed, as far as logs that the feed does not
// name and timestamp authorities prove it.
func (feed Feed) time(c evidence.Claim) (at time.Time, source evidence.TimeSource) {
	if len(feed.logs) == 0 {
		return c.Time()
	}
	for _, w := range c.Witnesses() {
		if _, named := feed.logs[w.Log]; !named && !w.At.IsZero() && (at.IsZero() || w.At.Before(at)) {
			at, source = w.At, w.Source
		}
	}
	return at, source
}

// claim is the fault of a claim that the feed takes back: its signer, its
// certificate or an authority above it, every log that holds it, or every one that
// says when. since spares only what is proved to be older, and not by a log that the feed names.
func (feed Feed) claim(c evidence.Claim) *fault {
	at, source := feed.time(c)
	spared := func(since time.Time) bool { return older(at, source, since) }
	detail := func(since time.Time, why string) string {
		when := "no proved time"
		if source != evidence.TimeNone && !at.IsZero() {
			when = "signed by " + stamp(at)
		}
		if since.IsZero() {
			return ": " + clip(why)
		}
		return fmt.Sprintf(": %s (denied since %s; %s)", clip(why), stamp(since), when)
	}
	who := c.Signer()
	for _, s := range feed.signers {
		if (s.is(who) || s.is(evidence.Signer{Key: c.Key()})) && !spared(s.since) {
			return &fault{reason.SignerDenied, "a signer that " + feed.title() + " does not name", clip(who.String()) + detail(s.since, s.reason),
				"have it signed anew by somebody else, whom the policy then names in by:"}
		}
	}
	for _, sum := range c.Certificates() {
		if why, denied := feed.certificates[sum]; denied {
			return &fault{reason.CertificateDenied, "certificates that " + feed.title() + " does not name", sum.String() + " of " + clip(who.String()) + ": " + clip(why),
				"have it signed anew with another certificate"}
		}
	}
	logs := c.Logs()
	left := feed.holding(c)
	for _, id := range logs {
		log, named := feed.logs[id]
		switch _, dated := c.Time(); {
		case !named:
		case len(left) == 0:
			return &fault{reason.LogDenied, "an entry in a log that " + feed.title() + " does not name", "only in log " + id + detail(log.since, log.reason),
				"have it signed anew, in another log"}
		case dated != evidence.TimeNone && source == evidence.TimeNone: // a certificate, or a key's window, was held against that time
			return &fault{reason.LogDenied, "a time by a log that " + feed.title() + " does not name, or by a timestamp authority", "only of log " + id + detail(log.since, log.reason),
				"have it signed anew, with a timestamp authority"}
		}
	}
	return nil
}

// holding are the logs that hold a claim's signature and that the feed does not take
// back.
func (feed Feed) holding(c evidence.Claim) []string {
	at, source := feed.time(c)
	return slices.DeleteFunc(c.Logs(), func(id string) bool {
		log, named := feed.logs[id]
		return named && !older(at, source, log.since)
	})
}

// older says that something is proved to be older than since; nothing is older than no
// time.
func older(at time.Time, source evidence.TimeSource, since time.Time) bool {
	return !since.IsZero() && source != evidence.TimeNone && !at.IsZero() && at.Before(since)
}

// signer says why somebody who signed at no proved time is denied, nil if nobody says so.
func (feed Feed) signer(who evidence.Signer) *fault {
	for _, s := range feed.signers {
		if s.is(who) {
			return &fault{reason.SignerDenied, "a signer that " + feed.title() + " does not name", clip(who.String()) + ": " + clip(s.reason),
				"have it signed anew by somebody else, whom the policy then names in by:"}
		}
	}
	return nil
}

// steps is the fault of a layout of which a step was done by too few, when those whom
// the feed names are not counted: nobody proves when a link was signed.
func (feed Feed) steps(all []steps.Step) *fault {
	for _, s := range all {
		var why *fault
		left := 0
		for _, id := range s.Functionaries {
			if denied := feed.signer(evidence.Signer{Key: id}); denied != nil {
				why = denied
			} else {
				left++
			}
		}
		if left < s.Threshold && why != nil {
			why.found = "step " + clip(s.Name) + " by " + why.found
			why.next = "have the step done anew by somebody else, whom the layout then names"
			return why
		}
	}
	return nil
}
