package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// denyFeed is the deny feed that a policy names, proved, and no older than any that
// was seen before; the zero Feed for a policy that names none.
func (w world) denyFeed(p policy.Policy, root trust.Root) (policy.Feed, error) {
	feed, err := w.provedFeed(p, root)
	if err != nil || feed.Zero() {
		return policy.Feed{}, err
	}
	return feed, remember(w.dirs(), p, feed)
}

// provedFeed reads the feed and its signature, which lies beside it.
func (w world) provedFeed(p policy.Policy, root trust.Root) (policy.Feed, error) {
	file := p.DenyFeed()
	if file == "" {
		return policy.Feed{}, nil
	}
	raw, err := readFeed(file, policy.MaxFeedSize, reason.DenyFeedAbsent, "bring the deny feed, or remove denyFeed from the policy")
	if err != nil {
		return policy.Feed{}, err
	}
	sig, err := readFeed(signatureOf(file), evidence.MaxSize, reason.DenyFeedUnsigned, "ztlaunch sign --key KEY deny:"+reason.Word(file))
	if err != nil {
		return policy.Feed{}, err
	}
	refuse := func(code reason.Code, err error) (policy.Feed, error) {
		return policy.Feed{}, &reason.Error{Code: code, What: "believe the deny feed " + file, Expected: "a signature by whom the policy names",
			Found: signatureOf(file), Next: "bring the feed anew, with its signature", Err: err}
	}
	envelope, err := evidence.Parse(sig)
	if err != nil {
		return refuse(reason.DenyFeedUnproved, err)
	}
	claim, err := evidence.CheckBlob(envelope, root, raw, w.now())
	if err != nil {
		switch e, _ := reason.Of(err); {
		case e == nil:
			return policy.Feed{}, err
		case e.Code == reason.SubjectMismatch || e.Code == reason.SignatureInvalid:
			return refuse(reason.DenyFeedTampered, err)
		case e.Code == reason.SignatureUnknownKey:
			return refuse(reason.DenyFeedWrongIdentity, err)
		}
		return refuse(reason.DenyFeedUnproved, err)
	}
	return p.Feed(raw, claim, w.now())
}

// feedState is what policy check says about a deny feed: the file may well be right
// where the feed is not at hand.
type feedState struct {
	File   string      `json:"file"`
	Serial uint64      `json:"serial,omitempty"`
	Issued string      `json:"issued,omitempty"`
	Until  string      `json:"until,omitempty"`
	Code   reason.Code `json:"code,omitempty"` // why it cannot be believed here and now
	age    time.Duration
}

// feedNow is the state of the feed that a policy names, nil if it names none.
func (w world) feedNow(p policy.Policy) *feedState {
	if p.DenyFeed() == "" {
		return nil
	}
	s := feedState{File: p.DenyFeed()}
	var t trustFlags
	root, err := t.rootFor(w, p)
	var feed policy.Feed
	if err == nil {
		feed, err = w.provedFeed(p, root)
	}
	if err != nil {
		s.Code = reason.InternalFault
		if e, ok := reason.Of(err); ok {
			s.Code = e.Code
		}
		return &s
	}
	s.Serial, s.Issued, s.Until = feed.Serial, feed.Issued.Format(time.RFC3339), feed.Until.Format(time.RFC3339)
	s.age = w.now().Sub(feed.Issued).Truncate(time.Second)
	return &s
}

// String follows what policy check says of the file.
func (s *feedState) String() string {
	switch {
	case s == nil:
		return ""
	case s.Code != "":
		return fmt.Sprintf(", deny feed %s: %s", s.File, s.Code)
	}
	return fmt.Sprintf(", deny feed %d of %s, %v old, until %s", s.Serial, s.Issued, s.age, s.Until)
}

// signatureOf is where the signature of a file lies.
func signatureOf(file string) string { return file + ".sigstore.json" }

// readFeed reads a file of the feed; absent is the code for one that is not there.
func readFeed(file string, limit int64, absent reason.Code, next string) ([]byte, error) {
	raw, err := readCapped(file, limit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &reason.Error{Code: absent, What: "read the deny feed", Expected: file, Found: "no such file", Next: next}
	case err != nil:
		e, _ := reason.Of(err)
		return nil, &reason.Error{Code: reason.DenyFeedUnreadable, What: e.What, Expected: e.Expected, Found: e.Found,
			Next: "make the deny feed and its signature readable", Err: e.Err}
	}
	return raw, nil
}
