package fetch

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// registry is one repository of a registry that speaks the OCI distribution
// API. Nothing is dialed before the first request.
type registry struct {
	o      Options
	ref    artifact.Reference
	repo   name.Repository // what is asked: the reference's, or a mirror's
	action string          // pull or push
	dialed atomic.Bool

	mu     sync.Mutex
	http   *http.Transport
	client *http.Client // nil until the handshake is done
}

func (o Options) registry(ref artifact.Reference, action string) (*registry, error) {
	at, err := o.mirror(ref)
	if err != nil {
		return nil, err
	}
	repo, err := name.NewRepository(at)
	if err != nil {
		return nil, &reason.Error{Code: reason.ReferenceInvalid, What: "resolve " + ref.String(), Err: err}
	}
	return &registry{o: o, ref: ref, repo: repo, action: action}, nil
}

// mirror is the name to ask for in the reference's place: the longest key of
// Mirrors that is the name or a path above it is replaced by its value. The
// mirrored registry itself is then not asked at all.
func (o Options) mirror(ref artifact.Reference) (string, error) {
	best := ""
	for from := range o.Mirrors {
		if (ref.Name() == from || strings.HasPrefix(ref.Name(), from+"/")) && len(from) > len(best) {
			best = from
		}
	}
	if best == "" {
		return ref.Name(), nil
	}
	to := o.Mirrors[best] + strings.TrimPrefix(ref.Name(), best)
	got, err := artifact.Parse(to)
	if err != nil || got.Scheme() != artifact.Registry || got.Name() != to {
		return "", refuse(reason.MirrorInvalid, "mirror "+best, "HOST[:PORT][/PATH]", fmt.Sprintf("%.200q", o.Mirrors[best]))
	}
	return to, nil
}

func (r *registry) place(d digest.Digest) string {
	if d == "" {
		return r.repo.String()
	}
	return r.repo.String() + "@" + string(d)
}

func (r *registry) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.http != nil {
		r.http.CloseIdleConnections()
	}
}

// connect finds out how to authenticate, once.
func (r *registry) connect(ctx context.Context) (*http.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		return r.client, nil
	}
	if r.http != nil {
		r.http.CloseIdleConnections()
	}
	base, guarded, err := r.o.client(r.repo.RegistryStr(), &r.dialed)
	if err != nil {
		return nil, err
	}
	r.http = base
	auth, err := authn.Resolve(ctx, authFiles(r.o.AuthFiles), r.repo)
	if err != nil {
		return nil, err
	}
	scope := transport.PullScope
	if r.action == "push" {
		scope = transport.PushScope
	}
	ctx, cancel := context.WithTimeout(ctx, 2*r.o.Timeout) // for the handshake alone
	defer cancel()
	rt, err := transport.NewWithContext(ctx, r.repo.Registry, auth, transport.NewUserAgent(guarded, r.o.UserAgent), []string{r.repo.Scope(scope)})
	if err != nil {
		return nil, err
	}
	r.client = &http.Client{Transport: rt}
	return r.client, nil
}

// request is one exchange with the repository.
type request struct {
	method   string
	path     string // below /v2/REPOSITORY/, or a whole URL
	header   http.Header
	body     io.Reader
	length   int64
	want     []int // statuses
	what     string
	evidence bool
	brief    bool // no layer: the whole exchange has a limit
}

// attempts is how often an exchange is tried when its end may pass soon.
const attempts = 3

// do runs an exchange. The response's body fails when it stalls.
func (r *registry) do(ctx context.Context, q request) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, wait, err := r.once(ctx, q)
		if err == nil {
			return resp, nil
		}
		if _, ok := reason.Of(err); ok || try == attempts || q.body != nil || !passing(err) || wait > 5*time.Second {
			return nil, r.trouble(ctx, q.what, q.evidence, err)
		}
		if wait == 0 {
			wait = 100 * time.Millisecond << (2 * (try - 1))
		}
		select {
		case <-ctx.Done():
			return nil, r.trouble(ctx, q.what, q.evidence, ctx.Err())
		case <-time.After(wait):
		}
	}
}

func (r *registry) once(ctx context.Context, q request) (*http.Response, time.Duration, error) {
	client, err := r.connect(ctx)
	if err != nil {
		return nil, 0, err
	}
	url := q.path
	if !strings.Contains(url, "://") {
		url = "https://" + r.repo.RegistryStr() + "/v2/" + r.repo.RepositoryStr() + "/" + q.path
	}
	limit := r.o.Timeout
	under, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(2*limit, func() { cancel(nothing) }) // redirects and tokens included
	if q.brief {
		whole := time.AfterFunc(briefLimit(limit), func() { cancel(trickling) })
		context.AfterFunc(under, func() { whole.Stop() })
	}
	var sent io.Reader
	if q.body != nil {
		sent = ticking{q.body, timer, 2 * limit}
	}
	req, err := http.NewRequestWithContext(under, q.method, url, sent)
	if err != nil {
		cancel(nil)
		return nil, 0, err
	}
	if q.body != nil {
		req.ContentLength = q.length
	}
	for k, v := range q.header {
		req.Header[k] = v
	}
	resp, err := client.Do(req)
	if err != nil {
		timer.Stop()
		if late, ok := context.Cause(under).(stalled); ok {
			err = late
		}
		cancel(nil)
		return nil, 0, err
	}
	timer.Reset(limit)
	resp.Body = &body{ReadCloser: resp.Body, ctx: under, cancel: cancel, limit: limit, timer: timer,
		word: func(err error) error { return r.trouble(ctx, q.what, q.evidence, err) }}
	for _, s := range q.want {
		if resp.StatusCode == s {
			return resp, 0, nil
		}
	}
	defer resp.Body.Close()
	detail, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // only words for a person
	after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	return nil, time.Duration(max(after, 0)) * time.Second, &statusError{resp.StatusCode, printable(detail)}
}

// printable makes a foreign text safe to show on a terminal.
func printable(b []byte) string {
	q := strconv.QuoteToASCII(strings.TrimSpace(string(b)))
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

func acceptManifests() http.Header {
	return http.Header{"Accept": {ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, dockerIndex, dockerManifest}}
}

// root asks for the tag. The registry's word on the digest is compared with
// the bytes, and used for nothing else.
func (r *registry) root(ctx context.Context) (stream, error) {
	at := r.ref.Tag()
	if d := r.ref.Digest(); d != "" {
		at = string(d)
	}
	return r.manifest(ctx, at, "read manifest "+r.repo.String()+":"+at, false)
}

func (r *registry) manifest(ctx context.Context, at, what string, evidence bool) (stream, error) {
	resp, err := r.do(ctx, request{method: http.MethodGet, path: "manifests/" + at, header: acceptManifests(), want: []int{http.StatusOK}, what: what, evidence: evidence, brief: true})
	if err != nil {
		return stream{}, err
	}
	in := stream{resp.Body, resp.Header.Get("Content-Type"), "", resp.ContentLength}
	if d := digest.Digest(resp.Header.Get("Docker-Content-Digest")); d != "" && !strings.HasPrefix(in.mediaType, "application/vnd.docker.distribution.manifest.v1") {
		if err := content.CheckDigest(d); err != nil {
			resp.Body.Close()
			return stream{}, refuse(reason.DigestUnsupported, what, "a sha256 digest", fmt.Sprintf("%.100q", string(d)))
		}
		in.digest = d
	}
	return in, nil
}

// open asks for content by digest. The caller compares.
func (r *registry) open(ctx context.Context, d descriptor, p part) (stream, error) {
	what := "read " + p.what(d.Digest) + " from " + r.repo.String()
	if p.manifest() {
		in, err := r.manifest(ctx, string(d.Digest), what, p.evidence())
		in.digest = d.Digest
		return in, err
	}
	resp, err := r.do(ctx, request{method: http.MethodGet, path: "blobs/" + string(d.Digest), want: []int{http.StatusOK}, what: what, evidence: p.evidence(), brief: p != layerPart})
	if err != nil {
		return stream{}, err
	}
	return stream{resp.Body, "", d.Digest, d.Size}, nil
}
