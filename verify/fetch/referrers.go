package fetch

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// lacking are the statuses by which registries say that they do not know the
// referrers API. Every other status but 200 is a problem.
func lacking() []int {
	return []int{http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable}
}

// fallbackTag is where a registry without the API keeps the list (OCI
// distribution specification, "Referrers Tag Schema").
func fallbackTag(subject digest.Digest) string { return "sha256-" + subject.Encoded() }

// referrers asks the API, then the fallback tag if the registry lacks the API
// or knows of nothing (it may have learnt the API after the evidence was
// pushed), and meanwhile, whatever comes of that, looks under cosign's older tags.
func (r *registry) referrers(ctx context.Context, subject digest.Digest) ([]referrer, []Problem) {
	var legacy []referrer
	var trouble []Problem
	var older sync.WaitGroup
	older.Go(func() {
		defer func() {
			if fault := recover(); fault != nil {
				trouble = append(trouble, Problem{LegacyTag, reason.Panicked("look under older tags", fault)})
			}
		}()
		legacy, trouble = r.legacy(ctx, subject)
	})
	list, problems := r.listed(ctx, subject)
	older.Wait()
	return append(list, legacy...), append(problems, trouble...)
}

// listed asks for the list of referrers in both places where it may be.
func (r *registry) listed(ctx context.Context, subject digest.Digest) ([]referrer, []Problem) {
	list, err := r.api(ctx, subject)
	var problems []Problem
	if err != nil {
		problems = append(problems, Problem{ReferrersAPI, asReason(err)})
	} else if len(list) == 0 {
		if list, err = r.fallback(ctx, subject); err != nil {
			problems = append(problems, Problem{ReferrersTag, asReason(err)})
		}
	}
	return list, problems
}

func asReason(err error) *reason.Error {
	if e, ok := reason.Of(err); ok {
		return e
	}
	return &reason.Error{Code: reason.ReferrersFailing, What: "list referrers", Err: err}
}

// api lists referrers by the API; nil without an error if there is none, or
// no API.
func (r *registry) api(ctx context.Context, subject digest.Digest) ([]referrer, error) {
	what := "list referrers of " + r.place(subject)
	var all []referrer
	for next := "referrers/" + string(subject); next != ""; {
		resp, err := r.do(ctx, request{method: http.MethodGet, path: next, header: http.Header{"Accept": {ocispec.MediaTypeImageIndex}},
			want: append(lacking(), http.StatusOK), what: what, evidence: true, brief: true})
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			if all == nil {
				return nil, nil
			}
			return nil, r.trouble(ctx, what, true, &statusError{status: resp.StatusCode})
		}
		page, err := r.list(resp, what, ReferrersAPI)
		if err != nil {
			return nil, err
		}
		if all = append(all, page...); len(all) > maxReferrers {
			return all, nil // the caller refuses
		}
		if next, err = nextPage(resp); err != nil || next != "" && len(page) == 0 {
			return nil, refuse(reason.ReferrersMalformed, what, "a link to a next page that goes on", "another")
		}
	}
	return all, nil
}

// list reads an index of referrers.
func (r *registry) list(resp *http.Response, what string, where Where) ([]referrer, error) {
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxManifest {
		return nil, refuse(reason.EvidenceTooLarge, what, "a list of at most 4 MiB", "more")
	}
	return parseReferrers(what, raw, resp.Header.Get("Content-Type"), where)
}

func parseReferrers(what string, raw []byte, contentType string, where Where) ([]referrer, error) {
	malformed := func(expected, found string, err error) error {
		return &reason.Error{Code: reason.ReferrersMalformed, What: what, Expected: expected, Found: found, Err: err}
	}
	if t, _, err := mime.ParseMediaType(contentType); err != nil || t != ocispec.MediaTypeImageIndex {
		return nil, malformed(ocispec.MediaTypeImageIndex, contentType, nil)
	}
	m, err := parseManifest("list of referrers", raw, contentType)
	if e, ok := reason.Of(err); ok && e.Code == reason.IndexTooMany {
		return nil, refuse(reason.ReferrersTooMany, what, e.Expected, e.Found)
	}
	if err != nil {
		return nil, malformed("an index", "", err)
	}
	all := []referrer{}
	for _, d := range m.Manifests {
		if d.Size > maxManifest {
			return nil, refuse(reason.EvidenceTooLarge, what, "manifests of at most 4 MiB", string(d.Digest))
		}
		all = append(all, referrer{descriptor: d, where: where})
	}
	return all, nil
}

// nextPage is the path of the next page, on the same registry, from the Link
// header (RFC 8288), empty if there is none.
func nextPage(resp *http.Response) (string, error) {
	link := resp.Header.Get("Link")
	if link == "" || !strings.Contains(link, `rel="next"`) {
		return "", nil
	}
	target, _, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	u, err := url.Parse(target)
	if !ok || err != nil {
		return "", errors.New("malformed link")
	}
	next := resp.Request.URL.ResolveReference(u)
	if next.Host != resp.Request.URL.Host || next.Scheme != resp.Request.URL.Scheme {
		return "", errors.New("link to another host")
	}
	return next.String(), nil
}

// fallback reads the list under the fallback tag; nil if there is none.
func (r *registry) fallback(ctx context.Context, subject digest.Digest) ([]referrer, error) {
	what := "list referrers of " + r.repo.String() + ":" + fallbackTag(subject)
	resp, err := r.do(ctx, request{method: http.MethodGet, path: "manifests/" + fallbackTag(subject), header: http.Header{"Accept": {ocispec.MediaTypeImageIndex}},
		want: []int{200, 404}, what: what, evidence: true, brief: true})
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusNotFound {
		resp.Body.Close()
		return nil, nil
	}
	return r.list(resp, what, ReferrersTag)
}
