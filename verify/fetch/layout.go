package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// kindAnnotation is how `cosign save` marks the entries of index.json.
const (
	kindAnnotation = "kind"
	kindImage      = "dev.cosignproject.cosign/image"
	kindIndex      = "dev.cosignproject.cosign/imageIndex"
	kindSigs       = "dev.cosignproject.cosign/sigs"
	kindAtts       = "dev.cosignproject.cosign/atts"
)

// layout is an OCI image layout, in a folder or a tar file.
type layout struct {
	ref   artifact.Reference
	files files
	index manifest // index.json
	// What referrers found when it looked at every manifest, once.
	scanned  bool
	found    []candidate
	problems []Problem
}

// openLayout reads oci-layout and index.json. It takes the files over.
func openLayout(ref artifact.Reference, f files) (*layout, error) {
	l := &layout{ref: ref, files: f}
	if err := l.read(); err != nil {
		f.close()
		return nil, err
	}
	return l, nil
}

func (l *layout) read() error {
	what := l.name()
	var version struct {
		Version string `json:"imageLayoutVersion"`
	}
	raw, err := l.file("oci-layout", 4<<10)
	if err != nil {
		return err
	}
	if err := content.DecodeJSON("oci-layout of "+what, raw, &version); err != nil {
		return err
	}
	if version.Version != ocispec.ImageLayoutVersion {
		return refuse(reason.LayoutMalformed, "read "+what, "image layout version "+ocispec.ImageLayoutVersion, fmt.Sprintf("%.40q", version.Version))
	}
	if raw, err = l.file(ocispec.ImageIndexFile, maxManifest); err != nil {
		return err
	}
	l.index, err = parseManifest("index.json of "+what, raw, ocispec.MediaTypeImageIndex)
	return err
}

func (l *layout) name() string { return string(l.ref.Scheme()) + ":" + l.ref.Path() }

func (l *layout) place(digest.Digest) string { return l.name() }

func (l *layout) close() { l.files.close() }

func (l *layout) file(name string, max int64) ([]byte, error) {
	r, n, err := l.files.open(name)
	if err == nil {
		defer r.Close()
		if n > max {
			return nil, refuse(reason.ManifestTooLarge, "read "+name+" of "+l.name(), fmt.Sprintf("at most %d bytes", max), fmt.Sprint(n))
		}
		var raw []byte
		if raw, err = io.ReadAll(io.LimitReader(r, max+1)); err == nil && int64(len(raw)) > max {
			err = errTooLarge
		}
		if err == nil {
			return raw, nil
		}
	}
	return nil, &reason.Error{Code: reason.LayoutUnreadable, What: "read " + name + " of " + l.name(), Err: err}
}

// root picks the entry of index.json that the reference names: by digest
// (a manifest that only an index in the layout lists is found too), by the tag
// in its annotations, or as the only one that is an image.
func (l *layout) root(ctx context.Context) (stream, error) {
	if d := l.ref.Digest(); d != "" {
		want := descriptor{Digest: d, Size: -1}
		for _, m := range l.index.Manifests {
			if m.Digest == d {
				want = m
			}
		}
		return l.open(ctx, want, manifestPart)
	}
	var images []descriptor
	for _, m := range l.index.Manifests {
		if l.image(m) && (l.ref.Tag() == "" || tagged(m, l.ref.Tag())) {
			images = append(images, m)
		}
	}
	images = slices.CompactFunc(images, func(a, b descriptor) bool { return a.Digest == b.Digest })
	what := "resolve " + l.ref.String()
	switch len(images) {
	case 0:
		return stream{}, refuse(reason.ImageAbsent, what, "an image", "none"+l.offer())
	case 1:
		return l.open(ctx, images[0], manifestPart)
	}
	return stream{}, &reason.Error{Code: reason.ReferenceAmbiguous, What: what, Expected: "one image", Found: fmt.Sprint(len(images)) + l.offer(),
		Next: l.name() + "@" + string(images[0].Digest)}
}

// image tells images and indexes from what is attached to them.
func (l *layout) image(d descriptor) bool {
	switch d.Annotations[kindAnnotation] {
	case kindSigs, kindAtts:
		return false
	case kindImage, kindIndex:
		return true
	}
	name := d.Annotations[ocispec.AnnotationRefName]
	if d.otherThanImage() || strings.HasPrefix(name[strings.LastIndexByte(name, ':')+1:], "sha256-") {
		return false
	}
	if isIndex(d.MediaType) {
		return true
	}
	if !isManifest(d.MediaType) {
		return false
	}
	raw, err := l.blob(d.Digest, maxManifest)
	if err != nil || digest.FromBytes(raw) != d.Digest {
		return true // the entry says so; reading it will tell
	}
	m, err := parseManifest("manifest "+string(d.Digest), raw, d.MediaType)
	return err != nil || m.Config.MediaType == ocispec.MediaTypeImageConfig || m.Config.MediaType == dockerConfig
}

// tagged reports whether an entry has the tag: as its reference name, or at
// the end of it or of the name that containerd writes.
func tagged(d descriptor, tag string) bool {
	name := d.Annotations[ocispec.AnnotationRefName]
	return name == tag || strings.HasSuffix(name, ":"+tag) || strings.HasSuffix(d.Annotations["io.containerd.image.name"], ":"+tag)
}

// offer lists what could be named instead.
func (l *layout) offer() string {
	var tags []string
	for _, m := range l.index.Manifests {
		if name := m.Annotations[ocispec.AnnotationRefName]; name != "" && len(tags) < 10 {
			tags = append(tags, printable([]byte(name)))
		}
	}
	if tags == nil {
		return ""
	}
	return " among " + strings.Join(tags, ", ")
}

func (l *layout) open(_ context.Context, d descriptor, p part) (stream, error) {
	r, n, err := l.files.open("blobs/sha256/" + d.Digest.Encoded())
	if err != nil {
		e := &reason.Error{Code: reason.LayoutUnreadable, What: "read " + p.what(d.Digest) + " from " + l.name(), Err: err}
		if errors.Is(err, fs.ErrNotExist) {
			if e.Code = reason.ContentAbsent; p.evidence() {
				e.Code = reason.ReferrersAbsent
			}
		}
		return stream{}, e
	}
	if d.Size < 0 {
		d.Size = n
	}
	return stream{r, d.MediaType, d.Digest, d.Size}, nil
}

func (l *layout) blob(d digest.Digest, max int64) ([]byte, error) {
	return l.file("blobs/sha256/"+d.Encoded(), max)
}
