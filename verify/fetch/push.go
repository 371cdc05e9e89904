package fetch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

var _ target = (*registry)(nil)

// push runs one exchange of an upload. What a registry turns down for reasons
// of its own is push-refused.
func (r *registry) push(ctx context.Context, q request) (*http.Response, error) {
	resp, err := r.do(ctx, q)
	var e *reason.Error
	if errors.As(err, &e) && (e.Code == reason.RegistryFailing || e.Code == reason.ContentAbsent) {
		e.Code = reason.PushRefused
	}
	return resp, err
}

func (r *registry) blob(ctx context.Context, d descriptor, source func() (io.ReadCloser, error)) error {
	what := "push " + string(d.Digest) + " to " + r.repo.String()
	resp, err := r.push(ctx, request{method: http.MethodHead, path: "blobs/" + string(d.Digest), want: []int{200, 404}, what: what})
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	resp, err = r.push(ctx, request{method: http.MethodPost, path: "blobs/uploads/", want: []int{202}, what: what})
	if err != nil {
		return err
	}
	resp.Body.Close()
	at, err := resp.Location()
	if err != nil {
		return &reason.Error{Code: reason.PushRefused, What: what, Expected: "a place to upload to", Err: err}
	}
	query := at.Query()
	query.Set("digest", string(d.Digest))
	at.RawQuery = query.Encode()
	in, err := source()
	if err != nil {
		return err
	}
	defer in.Close()
	resp, err = r.push(ctx, request{method: http.MethodPut, path: at.String(), want: []int{200, 201, 204}, what: what,
		header: http.Header{"Content-Type": {"application/octet-stream"}}, body: content.Verify(in, d.Digest, d.Size), length: d.Size})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (r *registry) putManifest(ctx context.Context, raw []byte, mediaType, at string) (*http.Response, error) {
	return r.push(ctx, request{method: http.MethodPut, path: "manifests/" + url.PathEscape(at), want: []int{200, 201, 202}, what: "push manifest " + r.repo.String() + " " + at,
		header: http.Header{"Content-Type": {mediaType}}, body: bytes.NewReader(raw), length: int64(len(raw))})
}

func (r *registry) put(ctx context.Context, raw []byte, d descriptor, tag string, _ bool) error {
	at := string(d.Digest)
	if tag != "" {
		at = tag
	}
	resp, err := r.putManifest(ctx, raw, d.MediaType, at)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// refer updates the fallback tag if the registry lacks the referrers API. The
// tag has no lock: the list is read again after it was written, and written
// again if another writer's list took its place in between. Two writers can
// still lose one of two entries; the API knows no compare-and-swap.
func (r *registry) refer(ctx context.Context, subject digest.Digest, d descriptor) error {
	what := "list referrers of " + r.place(subject)
	resp, err := r.push(ctx, request{method: http.MethodGet, path: "referrers/" + string(subject), want: append(lacking(), http.StatusOK), what: what,
		header: http.Header{"Accept": {ocispec.MediaTypeImageIndex}}})
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	for range attempts {
		list, err := r.fallback(ctx, subject)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(x referrer) bool { return x.Digest == d.Digest }) {
			return nil
		}
		index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
		for _, x := range append(list, referrer{descriptor: d}) {
			e := x.oci()
			e.ArtifactType, e.Annotations = x.ArtifactType, x.Annotations
			index.Manifests = append(index.Manifests, e)
		}
		slices.SortFunc(index.Manifests, func(a, b ocispec.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
		raw, err := json.Marshal(index)
		if err != nil {
			return err
		}
		resp, err := r.putManifest(ctx, raw, index.MediaType, fallbackTag(subject))
		if err != nil {
			return err
		}
		resp.Body.Close()
	}
	return refuse(reason.PushRefused, "update "+r.repo.String()+":"+fallbackTag(subject), "the new referrer in the list", "the list without it")
}

// describe looks a manifest up by digest.
func (r *registry) describe(ctx context.Context, d digest.Digest) (descriptor, error) {
	in, err := r.open(ctx, descriptor{Digest: d, Size: -1}, manifestPart)
	if err != nil {
		return descriptor{}, err
	}
	return describe(in, d, r.place(""))
}

// describe reads and proves a manifest for its descriptor.
func describe(in stream, d digest.Digest, place string) (descriptor, error) {
	defer in.Close()
	raw, err := io.ReadAll(io.LimitReader(content.Verify(in, d, -1), maxManifest+1))
	if err != nil {
		return descriptor{}, manifestPart.wrong(d, place, err)
	}
	if len(raw) > maxManifest {
		return descriptor{}, refuse(reason.ManifestTooLarge, "read manifest "+string(d), "at most 4 MiB", "more")
	}
	m, err := parseManifest("manifest "+string(d), raw, in.mediaType)
	return descriptor{MediaType: m.MediaType, Digest: d, Size: int64(len(raw))}, err
}
