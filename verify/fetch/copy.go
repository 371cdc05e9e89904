package fetch

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Copy copies an image, all platforms of an index, and all that refers to
// them, from any source to a registry or a layout, byte by byte as it is,
// hashing on the way. Under the target's tag, if it has one, the image is found
// there. With o.Pull Never and a registry name as the source, the image comes
// from the store, with the evidence recorded there, and an index must have been
// pulled for all of its platforms. Cosign's older tags are not copied. It
// returns the descriptor of what was named.
func Copy(ctx context.Context, from, to artifact.Reference, o Options) (ocispec.Descriptor, error) {
	if o.Pull == Missing {
		o.Pull = Always
	}
	s, err := o.start(ctx, from)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer s.close()
	raw, d, m, err := s.root(ctx)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if want := to.Digest(); want != "" && want != d.Digest {
		return ocispec.Descriptor{}, refuse(reason.MismatchManifest, "copy "+from.String()+" to "+to.String(), string(want), string(d.Digest))
	}
	t, err := s.o.target(to)
	if e, ok := reason.Of(err); ok && e.Code == reason.ReferenceNotImage {
		e.Next = "ztlaunch copy " + reason.Word(from.String()) + " oci-layout:./DIR"
	}
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer t.close()
	c := copier{s, t, map[digest.Digest]bool{}}
	err = c.graph(ctx, raw, d, m, layerPart, to.Tag(), true)
	if err == nil {
		err = c.kept(ctx)
	}
	if err != nil {
		if l, ok := t.(*layoutTarget); ok {
			l.undo()
		}
		return ocispec.Descriptor{}, err
	}
	return d.oci(), nil
}

type copier struct {
	s    *session
	t    target
	done map[digest.Digest]bool
}

// graph copies a manifest after everything below it, then what refers to it.
// Its layers are layers of an image or, of a referrer, bundles.
func (c copier) graph(ctx context.Context, raw []byte, d descriptor, m manifest, p part, tag string, listed bool) error {
	if c.done[d.Digest] {
		return nil
	}
	c.done[d.Digest] = true
	if m.index() {
		for _, child := range m.Manifests {
			if err := c.child(ctx, child); err != nil {
				return err
			}
		}
	} else {
		if err := c.blob(ctx, *m.Config, configPart); err != nil {
			return err
		}
		for _, l := range m.Layers {
			if err := c.blob(ctx, l, p); err != nil {
				return err
			}
		}
	}
	if err := c.t.put(ctx, raw, d, tag, listed); err != nil {
		return err
	}
	return c.referrers(ctx, d.Digest)
}

func (c copier) child(ctx context.Context, d descriptor) error {
	raw, m, err := c.read(ctx, d, manifestPart)
	if err != nil {
		return err
	}
	d.MediaType, d.Size = m.MediaType, int64(len(raw))
	return c.graph(ctx, raw, d, m, layerPart, "", false)
}

func (c copier) read(ctx context.Context, d descriptor, p part) ([]byte, manifest, error) {
	raw, declared, err := c.s.bytes(ctx, p, d, maxManifest)
	if err != nil {
		return nil, manifest{}, err
	}
	m, err := parseManifest(p.what(d.Digest), raw, declared)
	if err == nil && m.index() {
		err = refuse(reason.IndexNested, "read "+p.what(d.Digest), "a manifest", "an index")
	}
	return raw, m, err
}

func (c copier) blob(ctx context.Context, d descriptor, p part) error {
	if c.done[d.Digest] {
		return nil
	}
	c.done[d.Digest] = true
	place := "the store"
	err := c.t.blob(ctx, d, func() (io.ReadCloser, error) {
		if c.s.stored && !c.s.fresh && c.s.o.Store.Has(d.Digest) {
			return c.s.o.Store.Open(d.Digest, d.Size)
		}
		if c.s.origin == nil {
			return nil, c.s.never(p.what(d.Digest))
		}
		place = c.s.origin.place("")
		in, err := c.s.origin.open(ctx, d, p)
		if err != nil {
			return nil, err
		}
		return in, nil
	})
	var m *content.Mismatch
	if errors.As(err, &m) {
		return p.wrong(d.Digest, place, m)
	}
	return err
}

// referrers copies what refers to a manifest.
func (c copier) referrers(ctx context.Context, subject digest.Digest) error {
	if c.s.origin == nil {
		return nil // see kept
	}
	list, problems := c.s.origin.referrers(ctx, subject)
	for _, p := range problems {
		if p.Where != LegacyTag {
			return p.Err
		}
	}
	for _, r := range list {
		if r.where == LegacyTag || c.done[r.Digest] {
			continue
		}
		raw, m, err := c.read(ctx, r.descriptor, referrerPart)
		if err != nil {
			return err
		}
		if m.Subject == nil || m.Subject.Digest != subject {
			continue // a layout lists candidates
		}
		d := r.descriptor
		d.MediaType, d.Size, d.ArtifactType, d.Annotations = m.MediaType, int64(len(raw)), m.ArtifactType, m.Annotations
		if d.ArtifactType == "" {
			d.ArtifactType = m.Config.MediaType
		}
		if err := c.graph(ctx, raw, d, m, bundlePart, "", false); err != nil {
			return err
		}
		if err := c.t.refer(ctx, subject, d); err != nil {
			return err
		}
	}
	return nil
}

// kept attaches the evidence that the store has on record.
func (c copier) kept(ctx context.Context) error {
	if c.s.origin != nil {
		return nil
	}
	found, problems, _ := c.s.remembered()
	for _, p := range problems {
		if p.Err.Code != reason.EvidenceIncomplete {
			return p.Err
		}
	}
	for _, a := range found {
		if a.Raw == nil || a.Legacy() || !c.done[a.Subject] {
			continue
		}
		if _, err := attach(ctx, c.t, descriptor{Digest: a.Subject}, a.Raw, "", c.s.o.Now); err != nil {
			return err
		}
	}
	return nil
}
