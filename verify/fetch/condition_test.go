package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// misbehave answers one exchange in each way that is not the right one.
func misbehave(how string) http.HandlerFunc {
	status := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no\x1b[2J", n) }
	}
	switch how {
	case "absent":
		return status(404)
	case "unauthorized":
		return status(401)
	case "forbidden":
		return status(403)
	case "throttled":
		return status(429)
	case "failing":
		return status(503)
	case "teapot":
		return status(418)
	case "cut":
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			w.Header().Set("Content-Length", "1000")
			w.Write([]byte(`{"schema`))
		}
	case "dropped":
		return func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			c.Close()
		}
	case "stalled":
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			w.Write([]byte(`{"schema`))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	case "silent":
		return func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	case "plain-http":
		return func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://registry.example/blob", http.StatusTemporaryRedirect)
		}
	}
	panic(how)
}

// patience is short where a test waits for it to end.
func patience(how string) time.Duration {
	if how == "stalled" || how == "silent" {
		return time.Second
	}
	return time.Minute
}

// atOnce runs a test for each place at the same time: they wait a lot.
func atOnce(places []string, test func(where string)) {
	var wg sync.WaitGroup
	for _, where := range places {
		wg.Go(func() { test(where) })
	}
	wg.Wait()
}

// TestRegistryConditions lets the registry misbehave for the tag, then for a
// layer: each end has its own code, and none is taken for another.
func TestRegistryConditions(t *testing.T) {
	for how, code := range map[string]reason.Code{
		"absent": reason.ContentAbsent, "unauthorized": reason.RegistryUnauthorized, "forbidden": reason.RegistryForbidden,
		"throttled": reason.RegistryThrottled, "failing": reason.RegistryFailing, "teapot": reason.RegistryFailing,
		"cut": reason.RegistryCut, "dropped": reason.RegistryCut, "stalled": reason.RegistryTimeout, "silent": reason.RegistryTimeout,
		"plain-http": reason.RegistryPlainHTTP,
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			atOnce([]string{"manifests/1.4", "manifests/" + string(w.image), "blobs/" + string(w.config), "blobs/" + string(w.layers[1])}, func(where string) {
				s := serve(t, w)
				bad := misbehave(how)
				s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
					if path != where {
						return false
					}
					bad(rw, r)
					return true
				}
				o := options(t)
				o.Timeout = patience(how)
				_, err := Resolve(t.Context(), s.ref(t), o)
				want := code
				if how == "absent" && where == "manifests/1.4" {
					want = reason.ImageAbsent
				}
				wantCode(t, err, want)
				if strings.Contains(err.Error(), "\x1b") {
					t.Errorf("the registry's words reach the terminal: %q", err)
				}
			})
		})
	}
	t.Run("handshake", func(t *testing.T) {
		t.Parallel()
		for how, bad := range map[string]http.HandlerFunc{
			"stalled": misbehave("stalled"),
			"endless": func(w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					w.Write([]byte("for ever"))
				}
			},
		} {
			s := serve(t, newWorld())
			s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
				if path != "/v2/" {
					return false
				}
				bad(rw, r)
				return true
			}
			o := options(t)
			o.Timeout = 300 * time.Millisecond
			// It ends; the status alone may do for the answer.
			_, err := Resolve(t.Context(), s.ref(t), o)
			if e, ok := reason.Of(err); err != nil && (!ok || e.Code != reason.RegistryTimeout) {
				t.Errorf("%s: %v", how, err)
			}
		}
	})
	t.Run("unreachable", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		_, err = Resolve(t.Context(), parse(t, l.Addr().String()+"/r:1.4"), options(t))
		wantCode(t, err, reason.RegistryUnreachable)
	})
	t.Run("retry", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		s := serve(t, w)
		var n atomic.Int64
		s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(path, "blobs/") && n.Add(1) == 1 {
				rw.WriteHeader(502)
				return true
			}
			return false
		}
		res, err := Resolve(t.Context(), s.ref(t), options(t))
		if err != nil {
			t.Fatalf("one bad answer ends it all: %v", err)
		}
		whole(t, res, w)
	})
}

// TestReferrersConditions lets the search for evidence go wrong in each way.
// The image resolves; the problem says what went wrong; nothing of the kind is
// taken for the absence of evidence, and no weaker place is turned to.
func TestReferrersConditions(t *testing.T) {
	long := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			var b strings.Builder
			for i := range n {
				fmt.Fprintf(&b, `,{"mediaType":%q,"digest":%q,"size":2}`, typeManifest, digest.FromString(fmt.Sprint(i)))
			}
			w.Header().Set("Content-Type", typeIndex)
			fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, typeIndex, b.String()[1:])
		}
	}
	text := func(contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.Write([]byte(body))
		}
	}
	type cond struct {
		name    string
		code    reason.Code
		handler http.HandlerFunc
	}
	var all []cond
	for how, code := range map[string]reason.Code{
		"unauthorized": reason.ReferrersUnauthorized, "forbidden": reason.ReferrersForbidden,
		"throttled": reason.ReferrersThrottled, "failing": reason.ReferrersFailing, "teapot": reason.ReferrersFailing,
		"cut": reason.ReferrersCut, "dropped": reason.ReferrersCut, "stalled": reason.ReferrersTimeout, "silent": reason.ReferrersTimeout,
		"plain-http": reason.ReferrersPlainHTTP,
	} {
		all = append(all, cond{how, code, misbehave(how)})
	}
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusTemporaryRedirect) }
	}
	all = append(all,
		cond{"tls", reason.ReferrersTLS, redirect(untrusted.URL)},
		cond{"unreachable", reason.ReferrersUnreachable, redirect("http://" + l.Addr().String())},
		cond{"too-many", reason.ReferrersTooMany, long(maxReferrers + 1)},
		cond{"far-too-many", reason.ReferrersTooMany, long(maxManifests + 1)},
		cond{"malformed", reason.ReferrersMalformed, text(typeIndex, "<html>")},
		cond{"content-type", reason.ReferrersMalformed, text("text/html", `{"schemaVersion":2,"manifests":[]}`)},
		cond{"truncated", reason.ReferrersMalformed, text(typeIndex, `{"schemaVersion":2,"mani`)},
		cond{"an-image", reason.ReferrersMalformed, text(typeIndex, edit())},
		cond{"traversal", reason.ReferrersMalformed, text(typeIndex, `{"schemaVersion":2,"manifests":[{"digest":"sha256:../x"}]}`)},
		cond{"huge-manifest", reason.EvidenceTooLarge, text(typeIndex, `{"schemaVersion":2,"manifests":[{"digest":"`+aDigest+`","size":4194305}]}`)},
		cond{"missing", reason.ReferrersAbsent, text(typeIndex, `{"schemaVersion":2,"manifests":[{"mediaType":"`+typeManifest+`","digest":"`+aDigest+`","size":2}]}`)},
		cond{"next-elsewhere", reason.ReferrersMalformed, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", `<https://elsewhere.example/v2/>; rel="next"`)
			text(typeIndex, `{"schemaVersion":2,"manifests":[{"mediaType":"`+typeManifest+`","digest":"`+aDigest+`","size":2}]}`)(w, r)
		}},
		cond{"next-for-ever", reason.ReferrersMalformed, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", `<`+r.URL.Path+`?again>; rel="next"`)
			text(typeIndex, `{"schemaVersion":2,"manifests":[]}`)(w, r)
		}},
	)
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			atOnce([]string{"referrers/", "manifests/sha256-"}, func(where string) {
				w := newWorld()
				s := serve(t, w)
				s.referrers = where == "referrers/"
				s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
					if subject, ok := strings.CutPrefix(path, "manifests/sha256-"); ok && where == "referrers/" && !strings.Contains(path, ".") {
						// The weaker place has what is sought.
						rw.Header().Set("Content-Type", typeIndex)
						rw.Write(w.listReferrers(digest.Digest("sha256:" + subject)))
						return true
					}
					if !strings.HasPrefix(path, where) || strings.Contains(path, ".") {
						return false
					}
					c.handler(rw, r)
					return true
				}
				if c.name == "next-elsewhere" || c.name == "next-for-ever" {
					if where != "referrers/" {
						return // a tag has no pages
					}
				}
				o := options(t)
				o.Timeout = patience(c.name)
				res, err := Resolve(t.Context(), s.ref(t), o)
				if err != nil {
					t.Error(err)
					return
				}
				place := ReferrersAPI
				if where != "referrers/" {
					place = ReferrersTag
				}
				if got, want := problemCodes(res.Problems), string(place)+" "+string(c.code); got != want || len(res.Attachments) != 0 {
					t.Errorf("%s: problems %q, want %q; %d attachments", where, got, want, len(res.Attachments))
				}
			})
		})
	}
	// What a search can end in while it reads what was listed.
	for how, code := range map[string]reason.Code{"absent": reason.ReferrersAbsent, "unauthorized": reason.ReferrersUnauthorized,
		"failing": reason.ReferrersFailing, "cut": reason.ReferrersCut, "stalled": reason.ReferrersTimeout} {
		t.Run("read-"+how, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			atOnce([]string{"manifests/" + string(w.imageReferrer), "blobs/" + string(w.imageBundle)}, func(where string) {
				s := serve(t, w)
				s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
					if path != where {
						return false
					}
					misbehave(how)(rw, r)
					return true
				}
				o := options(t)
				o.Timeout = patience(how)
				res, err := Resolve(t.Context(), s.ref(t), o)
				if err != nil || problemCodes(res.Problems) != "referrers-api "+string(code) || len(res.Attachments) != 1 {
					t.Errorf("%s: %v, problems %q, %d attachments", where, err, problemCodes(res.Problems), len(res.Attachments))
				}
			})
		})
	}
}

// TestLacking: the ways to say "no such API" lead to the fallback tag, and a
// registry that has the API but no referrers there is asked for the tag too.
func TestLacking(t *testing.T) {
	for _, status := range []int{404, 400, 405, 406, 200} {
		w := newWorld()
		s := serve(t, w)
		s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
			if subject, ok := strings.CutPrefix(path, "manifests/sha256-"); ok && !strings.Contains(subject, ".") {
				rw.Header().Set("Content-Type", typeIndex)
				rw.Write(w.listReferrers(digest.Digest("sha256:" + subject)))
				return true
			}
			if !strings.HasPrefix(path, "referrers/") {
				return false
			}
			if status == 200 {
				rw.Header().Set("Content-Type", typeIndex)
				rw.Write([]byte(`{"schemaVersion":2,"manifests":[]}`))
			} else {
				rw.WriteHeader(status)
			}
			return true
		}
		res, err := Resolve(t.Context(), s.ref(t), options(t))
		if err != nil {
			t.Fatal(err)
		}
		whole(t, res, w)
		if len(res.Attachments) == 0 || res.Attachments[0].Where != ReferrersTag {
			t.Errorf("%d: %v", status, res.Attachments)
		}
	}
}

func TestPages(t *testing.T) {
	w := newWorld()
	second, bundle := w.attachTo(w.image, "second")
	s := serve(t, w)
	s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
		if path != "referrers/"+string(w.image) {
			return false
		}
		rw.Header().Set("Content-Type", typeIndex)
		if r.URL.Query().Get("page") == "" {
			rw.Header().Set("Link", `<`+r.URL.Path+`?page=2>; rel="next"`)
			rw.Write(w.listReferrers(w.image))
			return true
		}
		fmt.Fprintf(rw, `{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, typeManifest, second, len(w.blobs[second]))
		return true
	}
	res, err := Resolve(t.Context(), s.ref(t), options(t))
	if err != nil || len(res.Attachments) != 3 || res.Attachments[1].Digest != bundle {
		t.Errorf("%v, %v", res.Attachments, err)
	}
}

// TestReferrerLies lists a referrer of something else under our image.
func TestReferrerLies(t *testing.T) {
	w := newWorld()
	stranger, _ := w.attachTo(w.other, "stranger")
	bare := w.other // no subject at all
	for _, d := range []digest.Digest{stranger, bare} {
		s := serve(t, w)
		s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
			if path != "referrers/"+string(w.image) {
				return false
			}
			rw.Header().Set("Content-Type", typeIndex)
			fmt.Fprintf(rw, `{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"artifactType":%q}]}`, typeManifest, d, len(w.blobs[d]), bundleV03)
			return true
		}
		res, err := Resolve(t.Context(), s.ref(t), options(t))
		if err != nil || problemCodes(res.Problems) != "referrers-api referrer-subject" || len(res.Attachments) != 1 {
			t.Errorf("%v, problems %q, %v", err, problemCodes(res.Problems), res.Attachments)
		}
	}
}

func TestEvidenceTooLarge(t *testing.T) {
	w := newWorld()
	big := w.desc(w.imageBundle, bundleV03)
	referrer := func(text string, layers ...ocispec.Descriptor) digest.Digest {
		return w.manifest(typeManifest, map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "artifactType": bundleV03,
			"config": w.desc(w.put([]byte("{}")), ocispec.MediaTypeEmptyJSON), "layers": layers, "subject": w.desc(w.image, typeManifest),
			"annotations": map[string]string{"text": text}})
	}
	// Two that fit alone, and not together: whichever comes second is not read.
	big.Size = MaxEvidence/2 + 1
	first, second := referrer("1", big), referrer("2", big)
	s := serve(t, w)
	var reads atomic.Int64
	s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
		if path == "referrers/"+string(w.image) {
			rw.Header().Set("Content-Type", typeIndex)
			fmt.Fprintf(rw, `{"schemaVersion":2,"manifests":[%s,%s]}`, w.entry(first, ""), w.entry(second, ""))
			return true
		}
		if path == "blobs/"+string(w.imageBundle) {
			reads.Add(1)
		}
		return false
	}
	res, err := Resolve(t.Context(), s.ref(t), options(t))
	if got := problemCodes(res.Problems); err != nil || !strings.Contains(got, "evidence-too-large") || !strings.Contains(got, "digest-mismatch-evidence") || reads.Load() != 1 {
		t.Errorf("%v, problems %q, %d reads", err, got, reads.Load())
	}
	// One that is too large alone.
	big.Size = MaxEvidence + 1
	w.imageReferrer = referrer("3", big)
	s.over = nil
	res, err = Resolve(t.Context(), s.ref(t), options(t))
	if err != nil || problemCodes(res.Problems) != "referrers-api evidence-too-large" {
		t.Errorf("%v, problems %q", err, problemCodes(res.Problems))
	}
}

// TestOtherReferrers: what is attached and is no bundle is listed and not
// read, nor is the SBOM of older cosign; a registry that will not say whether
// its tags exist is a problem.
func TestOtherReferrers(t *testing.T) {
	w := newWorld()
	sbom := w.put([]byte(`{"spdxVersion":"SPDX-2.3"}`))
	w.imageReferrer = w.manifest(typeManifest, map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "artifactType": "application/spdx+json",
		"config": map[string]any{"mediaType": ocispec.MediaTypeEmptyJSON, "digest": w.put([]byte("{}")), "size": 2, "data": "e30="},
		"layers": []ocispec.Descriptor{w.desc(sbom, "application/spdx+json")}, "subject": w.desc(w.image, typeManifest)})
	s := serve(t, w)
	forbidden := false
	s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
		switch {
		case path == "manifests/"+fallbackTag(w.image)+".sbom":
			rw.Header().Set("Content-Type", typeManifest)
			if r.Method != http.MethodHead {
				t.Error("an SBOM's tag is read")
			}
			return true
		case path == "manifests/"+fallbackTag(w.image)+".att" && forbidden:
			rw.WriteHeader(403)
			return true
		case path == "blobs/"+string(sbom):
			t.Error("an SBOM that nobody signed is read")
		}
		return false
	}
	res, err := Resolve(t.Context(), s.ref(t), options(t))
	if err != nil || len(res.Problems) != 0 || len(res.Attachments) != 3 {
		t.Fatalf("%v, %v, %v", err, problemCodes(res.Problems), res.Attachments)
	}
	if a := res.Attachments[0]; a.Raw != nil || a.ArtifactType != "application/spdx+json" || a.Digest != w.imageReferrer {
		t.Errorf("sbom: %+v", a)
	}
	if a := res.Attachments[1]; a.Raw != nil || a.Where != LegacyTag || a.From != s.host()+"/r:"+fallbackTag(w.image)+".sbom" {
		t.Errorf("legacy: %+v", a)
	}
	forbidden = true
	res, err = Resolve(t.Context(), s.ref(t), options(t))
	if err != nil || problemCodes(res.Problems) != "legacy-tag referrers-forbidden" {
		t.Errorf("%v, %v", err, problemCodes(res.Problems))
	}
}

func TestFailingDial(t *testing.T) {
	o := options(t)
	o.Dial = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: errors.New("no such host")}
	}
	_, err := Resolve(t.Context(), parse(t, "registry.example/a"), o)
	wantCode(t, err, reason.RegistryUnreachable)
}
