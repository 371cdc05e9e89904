package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/file"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// bundleType begins the media type of every version of a Sigstore bundle:
// "application/vnd.dev.sigstore.bundle.v0.3+json" and, before 0.3,
// "application/vnd.dev.sigstore.bundle+json;version=0.1".
const bundleType = "application/vnd.dev.sigstore.bundle"

// referrer is a manifest that an origin says refers to a subject.
type referrer struct {
	descriptor
	where  Where
	from   string // of cosign's older tags: where it was found
	suffix string // likewise: sig, att or sbom
	raw    []byte // likewise, of a registry: the manifest
}

// evidence collects what is attached to the subjects: from the record of an
// earlier, complete search that found something, else by searching.
func (s *session) evidence(ctx context.Context, subjects []digest.Digest) ([]Attachment, []Problem, error) {
	found, problems, whole := s.remembered()
	if (!whole || s.fresh) && s.origin != nil {
		s.asked = true
		problems = nil
		under, cancel := context.WithTimeout(ctx, searchLimit(s.o.Timeout))
		defer cancel()
		var budget atomic.Int64
		budget.Store(MaxEvidence)
		var local []Attachment
		for _, a := range found {
			if !s.fresh || a.Where == Stored {
				local = append(local, a)
			}
		}
		found = nil
		for _, subject := range subjects {
			more, trouble, err := s.discover(under, subject, &budget)
			if ctx.Err() != nil {
				return nil, nil, interrupted(s.ref, ctx.Err())
			}
			if err != nil {
				trouble = append(trouble, s.late(subject))
			}
			found = union(found, more)
			problems = append(problems, trouble...)
		}
		found = union(found, local)
	}
	files, err := Detached(s.o.Evidence...)
	return append(found, files...), problems, err
}

// union appends what is not there yet, by content and subject.
func union(all, more []Attachment) []Attachment {
	type key struct {
		subject, digest digest.Digest
		from            string
	}
	seen := map[key]bool{}
	id := func(a Attachment) key {
		if a.Digest != "" {
			return key{subject: a.Subject, digest: a.Digest}
		}
		return key{subject: a.Subject, from: a.From}
	}
	for _, a := range all {
		seen[id(a)] = true
	}
	for _, a := range more {
		if !seen[id(a)] {
			seen[id(a)] = true
			all = append(all, a)
		}
	}
	return all
}

// remembered reads recorded evidence from the store. It is whole if the search
// it came from was complete and found a bundle, and all of it can be read.
func (s *session) remembered() (found []Attachment, problems []Problem, whole bool) {
	if !s.stored {
		return nil, nil, false
	}
	whole = s.kept.Complete
	any := false
	for _, k := range s.kept.Evidence {
		a := k.Attachment
		if k.Bundle {
			raw, err := s.o.Store.Bytes(a.Digest, MaxEvidence)
			if err != nil {
				whole = false
				problems = append(problems, s.problem(a.Where, s.damaged(bundlePart, a.Digest, err)))
				continue
			}
			a.Raw, any = raw, true
		}
		found = append(found, a)
	}
	if s.origin == nil && !s.kept.Complete {
		problems = append(problems, Problem{Stored, &reason.Error{Code: reason.EvidenceIncomplete, What: "look for evidence about " + s.ref.String(),
			Expected: "a complete search", Found: "none in the store, and --pull never", Next: "--pull always"}})
	}
	return found, problems, whole && any
}

func (s *session) problem(where Where, err error) Problem {
	if e, ok := reason.Of(err); ok {
		return Problem{where, e}
	}
	return Problem{where, &reason.Error{Code: reason.EvidenceUnreadable, What: "read evidence about " + s.ref.String(), Err: err}}
}

// late says that the search for evidence was given up.
func (s *session) late(subject digest.Digest) Problem {
	where := Layout
	if s.ref.Scheme() == artifact.Registry {
		where = ReferrersAPI
	}
	return Problem{where, refuse(reason.ReferrersTimeout, "look for evidence about "+string(subject), "all of it within "+searchLimit(s.o.Timeout).String(), "too little, too slowly")}
}

// discover searches the origin for what is attached to one subject, and reads
// it, as long as the budget of bytes lasts. The only error is the end of ctx, which hides nothing that was found; the
// rest are problems.
func (s *session) discover(ctx context.Context, subject digest.Digest, budget *atomic.Int64) ([]Attachment, []Problem, error) {
	list, problems := s.origin.referrers(ctx, subject)
	if len(list) > maxReferrers {
		return nil, append(problems, s.tooMany(list[0].where, subject, len(list))), nil
	}
	found := make([][]Attachment, len(list))
	trouble := make([][]Problem, len(list))
	err := each(ctx, len(list), func(ctx context.Context, i int) error {
		found[i], trouble[i] = s.attachment(ctx, subject, list[i], budget)
		return ctx.Err()
	})
	if err == nil {
		err = ctx.Err()
	}
	var all []Attachment
	for i := range list {
		all = union(all, found[i])
		problems = append(problems, trouble[i]...)
	}
	return all, problems, err
}

func (s *session) tooMany(where Where, subject digest.Digest, n int) Problem {
	return Problem{where, refuse(reason.ReferrersTooMany, "list what refers to "+string(subject), fmt.Sprintf("at most %d", maxReferrers), fmt.Sprint(n))}
}

// attachment reads one referrer and the bundles it carries.
func (s *session) attachment(ctx context.Context, subject digest.Digest, r referrer, budget *atomic.Int64) ([]Attachment, []Problem) {
	if r.where == LegacyTag {
		return s.layersOf(ctx, subject, r, budget)
	}
	a := Attachment{Where: r.where, From: s.origin.place(r.Digest), Subject: subject, Digest: r.Digest, MediaType: r.MediaType, ArtifactType: r.ArtifactType}
	fail := func(err error) ([]Attachment, []Problem) {
		return nil, []Problem{s.problem(r.where, err)}
	}
	what := referrerPart.what(r.Digest)
	raw, declared, err := s.bytes(ctx, referrerPart, r.descriptor, maxManifest)
	if err != nil {
		return fail(err)
	}
	m, err := parseManifest(what, raw, declared)
	if err != nil {
		return fail(err)
	}
	if m.index() || m.Subject == nil || m.Subject.Digest != subject {
		found := "none"
		if m.Subject != nil {
			found = string(m.Subject.Digest)
		}
		return fail(refuse(reason.ReferrerSubject, "read "+what, "the subject "+string(subject), found))
	}
	a.MediaType = m.MediaType
	if a.ArtifactType = m.ArtifactType; a.ArtifactType == "" {
		a.ArtifactType = m.Config.MediaType
	}
	var all []Attachment
	for _, l := range m.Layers {
		if !strings.HasPrefix(l.MediaType, bundleType) {
			continue
		}
		if budget.Add(-l.Size) < 0 {
			return fail(refuse(reason.EvidenceTooLarge, "read "+what, fmt.Sprintf("at most %d bytes of evidence", MaxEvidence), "more"))
		}
		b := a
		b.Digest, b.MediaType = l.Digest, l.MediaType
		if b.Raw, _, err = s.bytes(ctx, bundlePart, l, MaxEvidence); err != nil {
			return fail(err)
		}
		all = append(all, b)
	}
	if all == nil {
		all = []Attachment{a} // something else than a bundle: shown, not read
	}
	return all, nil
}

var errTooLarge = errors.New("file too large")

// openFile opens a regular file, without waiting for the other end of a FIFO.
func openFile(path string) (*os.File, int64, error) {
	f, err := file.Reached(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func readFile(path string, max int64) ([]byte, error) {
	f, _, err := openFile(path)
	if err != nil {
		return nil, err
	}
	return readAll(f, max)
}

// readAll reads an open file of at most max bytes, and closes it.
func readAll(f *os.File, max int64) ([]byte, error) {
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(raw)) > max {
		err = errTooLarge
	}
	return raw, err
}
