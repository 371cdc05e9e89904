package fetch

import (
	"context"
	"errors"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// image is everything about an image short of its layers' bytes.
type image struct {
	artifact.Pinned
	root, manifest descriptor
	inIndex        []Attachment // attestation manifests that the index lists
}

// inspect reads index, manifest and config, and looks for evidence.
func (s *session) inspect(ctx context.Context) (Result, image, error) {
	img, err := s.image(ctx)
	if err != nil {
		return Result{}, img, err
	}
	res, err := s.about(ctx, img)
	return res, img, err
}

// about looks for evidence about an image.
func (s *session) about(ctx context.Context, img image) (Result, error) {
	res := Result{Root: img.root.oci(), Manifest: img.manifest.oci()}
	subjects := []digest.Digest{img.manifest.Digest}
	if img.Index != "" {
		subjects = append(subjects, img.Index)
	}
	var err error
	res.Attachments, res.Problems, err = s.evidence(ctx, subjects)
	if err != nil {
		return Result{}, err
	}
	res.Attachments = append(res.Attachments, img.inIndex...)
	res.Problems = append(s.problems, res.Problems...)
	return res, nil
}

func (s *session) image(ctx context.Context) (image, error) {
	raw, d, m, err := s.root(ctx)
	if err != nil {
		return image{}, err
	}
	img := image{root: d, manifest: d, Pinned: artifact.Pinned{Ref: s.ref, Platform: s.o.Platform, Size: int64(len(raw))}}
	if m.index() {
		img.Index = d.Digest
		img.manifest, err = choose(indexPart.what(d.Digest), m, s.o.Platform)
		if err != nil {
			return image{}, err
		}
		img.inIndex = attestations(m, img.manifest.Digest, s.ref.String())
		child, declared, err := s.bytes(ctx, manifestPart, img.manifest, maxManifest)
		if err != nil {
			return image{}, err
		}
		what := manifestPart.what(img.manifest.Digest)
		if declared != img.manifest.MediaType {
			return image{}, refuse(reason.ManifestMediaType, "read "+what, img.manifest.MediaType, declared)
		}
		if m, err = parseManifest(what, child, declared); err != nil {
			return image{}, err
		}
		if m.index() {
			return image{}, refuse(reason.IndexNested, "read "+what, "a manifest", "another index")
		}
		img.Size += int64(len(child))
	}
	return img, s.fill(ctx, &img, m)
}

// fill reads the config and pairs the layers with its diff IDs.
func (s *session) fill(ctx context.Context, img *image, m manifest) error {
	what := manifestPart.what(img.manifest.Digest)
	if err := checkImage(what, m); err != nil {
		return err
	}
	raw, _, err := s.bytes(ctx, configPart, *m.Config, maxConfig)
	if err != nil {
		return err
	}
	img.Manifest, img.ConfigDigest = img.manifest.Digest, m.Config.Digest
	img.Config, err = parseConfig(configPart.what(m.Config.Digest), raw, s.o.Platform, len(m.Layers))
	if err != nil {
		return err
	}
	img.Size += int64(len(raw))
	for i, l := range m.Layers {
		img.Layers = append(img.Layers, artifact.Layer{Digest: l.Digest, DiffID: img.Config.RootFS.DiffIDs[i], MediaType: l.MediaType, Size: l.Size})
		img.Size += l.Size
	}
	return nil
}

// root reads what the reference names: by a digest that is known, from the
// reference or from the record of an earlier resolution, or by asking.
func (s *session) root(ctx context.Context) ([]byte, descriptor, manifest, error) {
	var d descriptor
	var raw []byte
	var declared string
	var err error
	if d = s.kept.Root; d.Digest != "" {
		raw, declared, err = s.bytes(ctx, rootPart(d.MediaType), d, maxManifest)
	} else if s.origin == nil {
		err = s.never(s.ref.String())
	} else {
		s.asked = true
		var in stream
		if in, err = s.origin.root(ctx); err == nil {
			declared = in.mediaType
			raw, err = s.take(rootPart(in.mediaType), in, maxManifest)
		}
	}
	if err != nil {
		return nil, d, manifest{}, s.noImage(err)
	}
	d.Digest, d.Size = digest.FromBytes(raw), int64(len(raw))
	m, err := parseManifest(rootPart(declared).what(d.Digest), raw, declared)
	d.MediaType = m.MediaType
	return raw, d, m, err
}

// noImage says of content that is absent that it is the image itself.
func (s *session) noImage(err error) error {
	var e *reason.Error
	if !errors.As(err, &e) || e.Code != reason.ContentAbsent {
		return err
	}
	e.Code, e.Expected, e.Found = reason.ImageAbsent, "an image", "none by that name"
	if word := lastWord(s.ref.Repository()); word != "" && s.ref.Tag() != "" {
		e.Next = word + ":./" + s.ref.Tag() + ", if a path was meant"
	}
	return err
}

// lastWord is the scheme that a repository's last component spells, if any.
func lastWord(repository string) string {
	word := repository[strings.LastIndexByte(repository, '/')+1:]
	switch artifact.Scheme(word) {
	case artifact.OCILayout, artifact.OCIArchive, artifact.DockerArchive, artifact.ModelDir, artifact.MCPFile, artifact.NPM:
		return word
	}
	return ""
}

func rootPart(mediaType string) part {
	if isIndex(mediaType) {
		return indexPart
	}
	return manifestPart
}

// attestations lists the manifests that builders put into an index beside the
// image they describe (annotation vnd.docker.reference.digest). They are not
// signed, so nobody reads them; a tree of what is attached shows them.
func attestations(m manifest, image digest.Digest, from string) []Attachment {
	var all []Attachment
	for _, d := range m.Manifests {
		if d.Annotations["vnd.docker.reference.digest"] == string(image) {
			all = append(all, Attachment{Where: InIndex, From: from, Subject: image, Digest: d.Digest, MediaType: d.MediaType, ArtifactType: d.Annotations["vnd.docker.reference.type"]})
		}
	}
	return all
}
