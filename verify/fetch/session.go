package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// origin is where bytes come from: a registry, a layout, or a docker archive.
// Nothing it says is believed.
type origin interface {
	// root opens what the reference names. The stream's digest is empty only
	// if nothing claimed one.
	root(ctx context.Context) (stream, error)
	// open opens content by digest.
	open(ctx context.Context, d descriptor, p part) (stream, error)
	// referrers lists what is attached to a subject.
	referrers(ctx context.Context, subject digest.Digest) ([]referrer, []Problem)
	// place is how reports call the origin of a digest.
	place(d digest.Digest) string
	close()
}

// stream is content with what its origin claims about it.
type stream struct {
	io.ReadCloser
	mediaType string        // empty if unknown
	digest    digest.Digest // empty if unknown
	size      int64         // -1 if unknown
}

// part is a kind of content.
type part uint8

const (
	indexPart part = iota
	manifestPart
	configPart
	layerPart
	referrerPart
	bundlePart
)

func (p part) String() string {
	return [...]string{"index", "manifest", "config", "layer", "referrer", "bundle"}[p]
}

// manifest reports whether a registry keeps the part as a manifest.
func (p part) manifest() bool { return p == indexPart || p == manifestPart || p == referrerPart }

// evidence reports whether the part is evidence about an image.
func (p part) evidence() bool { return p == referrerPart || p == bundlePart }

// mismatch is the code for a part whose bytes are not those of its digest.
func (p part) mismatch() reason.Code {
	return [...]reason.Code{reason.MismatchIndex, reason.MismatchManifest, reason.MismatchConfig,
		reason.MismatchLayer, reason.MismatchEvidence, reason.MismatchEvidence}[p]
}

// tooLarge is the code for a part above its cap.
func (p part) tooLarge() reason.Code {
	return [...]reason.Code{reason.ManifestTooLarge, reason.ManifestTooLarge, reason.ConfigTooLarge,
		reason.DescriptorSize, reason.EvidenceTooLarge, reason.EvidenceTooLarge}[p]
}

func (p part) what(d digest.Digest) string {
	if d == "" {
		return p.String()
	}
	return p.String() + " " + string(d)
}

// wrong says in this part's words what a read of it ended in.
func (p part) wrong(d digest.Digest, from string, err error) error {
	var m *content.Mismatch
	if !errors.As(err, &m) {
		return err
	}
	return &reason.Error{Code: p.mismatch(), What: "read " + p.what(d) + " from " + from, Expected: m.Expected(), Found: m.Found()}
}

// session is one resolution of one reference.
type session struct {
	o      Options
	ref    artifact.Reference
	origin origin // nil if a registry must not be asked
	// A registry's content is looked for in the store first, unless fresh.
	stored   bool
	fresh    bool
	kept     kept
	asked    bool // something was looked up that a record can spare next time
	problems []Problem
}

func (o Options) start(ctx context.Context, ref artifact.Reference) (*session, error) {
	o = o.normal()
	if o.Store == nil {
		return nil, refuse(reason.InternalFault, "resolve "+ref.String(), "a store", "none")
	}
	if ref.Zero() {
		return nil, refuse(reason.ReferenceInvalid, "resolve", "a reference", "none")
	}
	s := &session{o: o, ref: ref}
	if ref.Scheme() == artifact.Registry {
		s.stored, s.fresh = true, o.Pull == Always
		if err := s.recall(); err != nil {
			return nil, err
		}
		if o.Pull == Never {
			return s, nil
		}
	}
	var err error
	s.origin, err = o.open(ctx, ref, "pull")
	return s, err
}

// open is the origin that a reference points to. No socket is opened yet,
// except to a docker daemon. The action, pull or push, is what a registry's
// token is asked for.
func (o Options) open(ctx context.Context, ref artifact.Reference, action string) (origin, error) {
	switch ref.Scheme() {
	case artifact.Registry:
		return asOrigin(o.registry(ref, action))
	case artifact.OCILayout:
		return asOrigin(openLayout(ref, folder(ref.Path())))
	case artifact.OCIArchive:
		return o.archive(ref, false)
	case artifact.DockerArchive:
		return o.archive(ref, true)
	case artifact.DockerDaemon:
		return o.daemon(ctx, ref)
	}
	e := &reason.Error{Code: reason.ReferenceNotImage, What: "resolve " + ref.String(), Expected: "a reference to an image", Found: "scheme " + string(ref.Scheme())}
	if ref.Kind() == artifact.Model {
		e.Next = "ztlaunch verify " + reason.Word(ref.String()) + ", which reads models"
	}
	return nil, e
}

func (s *session) close() {
	if s.origin != nil {
		s.origin.close()
	}
}

// local reports whether no socket was opened.
func (s *session) local() bool {
	if r, ok := s.origin.(*registry); ok {
		return !r.dialed.Load()
	}
	return s.ref.Scheme() != artifact.DockerDaemon
}

// never is the refusal to ask a registry for what the store lacks.
func (s *session) never(what string) error {
	return &reason.Error{Code: reason.PullNever, What: "read " + what, Expected: "it in the store", Found: "nothing there, and --pull never", Next: "--pull missing"}
}

// bytes reads small content by digest, from the store if it may come from
// there, else from the origin into the store. A size of -1 is unknown.
func (s *session) bytes(ctx context.Context, p part, d descriptor, max int64) ([]byte, string, error) {
	what := p.what(d.Digest)
	if d.Size > max {
		return nil, "", refuse(p.tooLarge(), "read "+what, fmt.Sprintf("at most %d bytes", max), fmt.Sprint(d.Size))
	}
	if s.stored && !s.fresh && s.o.Store.Has(d.Digest) {
		raw, err := s.o.Store.Bytes(d.Digest, max)
		if err != nil {
			return nil, "", s.damaged(p, d.Digest, err)
		}
		if d.Size >= 0 && d.Size != int64(len(raw)) {
			return nil, "", p.wrong(d.Digest, "the store", &content.Mismatch{Want: d.Digest, WantSize: d.Size, GotSize: int64(len(raw))})
		}
		return raw, d.MediaType, nil
	}
	if s.origin == nil {
		return nil, "", s.never(what)
	}
	in, err := s.origin.open(ctx, d, p)
	if err != nil {
		return nil, "", err
	}
	in.digest, in.size = d.Digest, d.Size
	if p == manifestPart && d.MediaType == "" {
		p = rootPart(in.mediaType) // only for words: what it is has yet to be read
	}
	if in.mediaType == "" {
		in.mediaType = d.MediaType
	}
	raw, err := s.take(p, in, max)
	return raw, in.mediaType, err
}

// take reads a small stream, proves it and puts it into the store.
func (s *session) take(p part, in stream, max int64) ([]byte, error) {
	defer in.Close()
	what := p.what(in.digest)
	if in.size > max {
		return nil, refuse(p.tooLarge(), "read "+what, fmt.Sprintf("at most %d bytes", max), fmt.Sprint(in.size))
	}
	var r io.Reader = in
	if in.digest != "" {
		r = content.Verify(in, in.digest, in.size)
	}
	var b bytes.Buffer
	if in.size > 0 { // at most max: untouched memory costs nothing, and growing does
		b.Grow(int(in.size) + bytes.MinRead)
	}
	_, err := b.ReadFrom(io.LimitReader(r, max+1))
	raw := b.Bytes()
	if err != nil {
		return nil, p.wrong(in.digest, s.origin.place(""), err)
	}
	if int64(len(raw)) > max {
		return nil, refuse(p.tooLarge(), "read "+what, fmt.Sprintf("at most %d bytes", max), "more")
	}
	if d := digest.FromBytes(raw); !s.holds(d, int64(len(raw))) {
		if _, err := s.o.Store.PutBytes(raw); err != nil {
			return nil, err
		}
	}
	return raw, nil
}

// holds reports whether the store has small content already. When fresh, it reads
// and hashes it, so that what was damaged there is written again.
func (s *session) holds(d digest.Digest, size int64) bool {
	if !s.o.Store.Has(d) {
		return false
	}
	if !s.fresh {
		return true
	}
	_, err := s.o.Store.Bytes(d, size)
	return err == nil
}

// damaged is the refusal of a blob that changed in the store, with the way to
// repair it.
func (s *session) damaged(p part, d digest.Digest, err error) error {
	err = p.wrong(d, "the store", err)
	var e *reason.Error
	if errors.As(err, &e) && e.Code == p.mismatch() {
		e.Next = "--pull always"
	}
	return err
}
