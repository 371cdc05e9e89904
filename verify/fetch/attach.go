package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

const (
	bundleV03    = "application/vnd.dev.sigstore.bundle.v0.3+json"
	emptyObject  = "{}"
	predicateKey = "dev.sigstore.bundle.predicateType"
	contentKey   = "dev.sigstore.bundle.content"
)

// target is where images are written: a registry or a layout.
type target interface {
	// blob writes content by digest unless it is there. source is called at
	// most once.
	blob(ctx context.Context, d descriptor, source func() (io.ReadCloser, error)) error
	// put writes an index or manifest. A listed one can be found by its
	// tag if it has one, and, in a layout, without.
	put(ctx context.Context, raw []byte, d descriptor, tag string, listed bool) error
	// refer makes a manifest that was written findable by its subject.
	refer(ctx context.Context, subject digest.Digest, d descriptor) error
	describe(ctx context.Context, d digest.Digest) (descriptor, error)
	close()
}

func (o Options) target(ref artifact.Reference) (target, error) {
	switch ref.Scheme() {
	case artifact.Registry:
		return o.registry(ref, "push")
	case artifact.OCILayout:
		return openTarget(ref)
	}
	e := &reason.Error{Code: reason.ReferenceNotImage, What: "write to " + ref.String(), Expected: "an image name or oci-layout:DIR", Found: "scheme " + string(ref.Scheme())}
	if ref.Kind() == artifact.Image {
		e.Next = "ztlaunch copy " + reason.Word(ref.String()) + " oci-layout:./DIR, and name that"
	}
	return nil, e
}

// referrerManifest is the manifest that cosign 3 writes for a bundle, with
// its fields in cosign's order.
type referrerManifest struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	Config        referrerDescriptor   `json:"config"`
	Layers        []referrerDescriptor `json:"layers"`
	Annotations   map[string]string    `json:"annotations,omitempty"`
	Subject       referrerDescriptor   `json:"subject"`
	ArtifactType  string               `json:"artifactType"`
}

type referrerDescriptor struct {
	MediaType    string            `json:"mediaType"`
	Size         int64             `json:"size"`
	Digest       digest.Digest     `json:"digest"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// Attach writes a Sigstore bundle v0.3 to the registry or layout of ref, as a
// referrer of subject in the form that cosign 3 writes and reads: an OCI
// manifest whose artifactType and only layer's media type are the bundle's,
// with an empty config, and the annotations dev.sigstore.bundle.content,
// dev.sigstore.bundle.predicateType and, if o.Now is set, when it was made.
// Where a registry lacks the referrers API the fallback tag is updated.
//
// A subject of which only the digest is known is looked up. An empty
// predicateType is taken from the statement in the bundle. The descriptor of
// the manifest is returned.
func Attach(ctx context.Context, ref artifact.Reference, subject ocispec.Descriptor, bundle []byte, predicateType string, o Options) (ocispec.Descriptor, error) {
	o = o.normal()
	what := "attach a bundle to " + string(subject.Digest)
	if err := content.CheckDigest(subject.Digest); err != nil {
		return ocispec.Descriptor{}, refuse(reason.DigestUnsupported, what, "sha256 and 64 hexadecimal digits", string(subject.Digest))
	}
	if len(bundle) > MaxEvidence {
		return ocispec.Descriptor{}, refuse(reason.EvidenceTooLarge, what, "at most 32 MiB", "more")
	}
	t, err := o.target(ref)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer t.close()
	return attach(ctx, t, descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}, bundle, predicateType, o.Now)
}

func attach(ctx context.Context, t target, subject descriptor, bundle []byte, predicateType string, now time.Time) (ocispec.Descriptor, error) {
	if subject.MediaType == "" || subject.Size == 0 {
		var err error
		if subject, err = t.describe(ctx, subject.Digest); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	if predicateType == "" {
		predicateType = predicateOf(bundle)
	}
	config := descriptor{MediaType: ocispec.MediaTypeEmptyJSON, Digest: digest.FromString(emptyObject), Size: int64(len(emptyObject))}
	layer := descriptor{MediaType: bundleV03, Digest: digest.FromBytes(bundle), Size: int64(len(bundle))}
	m := referrerManifest{SchemaVersion: 2, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: bundleV03,
		Config:      referrerDescriptor{MediaType: config.MediaType, Size: config.Size, Digest: config.Digest, ArtifactType: bundleV03},
		Layers:      []referrerDescriptor{{MediaType: layer.MediaType, Size: layer.Size, Digest: layer.Digest}},
		Subject:     referrerDescriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest},
		Annotations: map[string]string{contentKey: "dsse-envelope"}}
	if predicateType != "" {
		m.Annotations[predicateKey] = predicateType
	}
	if !now.IsZero() {
		m.Annotations[ocispec.AnnotationCreated] = now.UTC().Format(time.RFC3339)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, b := range []struct {
		d   descriptor
		raw []byte
	}{{config, []byte(emptyObject)}, {layer, bundle}} {
		if err := t.blob(ctx, b.d, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.raw)), nil }); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	d := descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw)), ArtifactType: bundleV03, Annotations: m.Annotations}
	if err := t.put(ctx, raw, d, "", false); err != nil {
		return ocispec.Descriptor{}, err
	}
	out := d.oci()
	out.ArtifactType, out.Annotations = d.ArtifactType, d.Annotations
	return out, t.refer(ctx, subject.Digest, d)
}

// predicateOf is the predicate type that a bundle's statement claims, for an
// annotation that nobody may rely on; empty if there is none.
func predicateOf(bundle []byte) string {
	var b struct {
		Envelope struct {
			Payload []byte `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	var statement struct {
		PredicateType string `json:"predicateType"`
	}
	if json.Unmarshal(bundle, &b) != nil || json.Unmarshal(b.Envelope.Payload, &statement) != nil {
		return ""
	}
	return statement.PredicateType
}
