//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// most is what ztlaunch may take of memory, in bytes, whatever a registry sends.
const most = 256 << 20

// built is ztlaunch as it was built where there is one, else this very program under
// that name.
func built(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("ZTLAUNCH_BIN"); bin != "" {
		return filepath.Join(bin, "ztlaunch")
	}
	path, err := exec.LookPath("ztlaunch")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// measured runs ztlaunch as a process of its own, and tells the most memory that it
// held (VmHWM of proc_pid_status(5)).
func (d desk) measured(state string, args ...string) (answer, int64) {
	d.t.Helper()
	c := exec.Command(built(d.t), append([]string{"--root", d.at(state)}, args...)...)
	c.Env = []string{"HOME=" + d.dir, "COSIGN_PASSWORD="}
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Start(); err != nil {
		d.t.Fatal(err)
	}
	ended, peak := make(chan struct{}), make(chan int64)
	go func() {
		var high int64
		for {
			high = max(high, highWater(c.Process.Pid))
			select {
			case <-ended:
				peak <- high
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	err := c.Wait()
	close(ended)
	if c.ProcessState == nil {
		d.t.Fatal(err)
	}
	return answer{c.ProcessState.ExitCode(), out.String(), errs.String()}, <-peak
}

func highWater(pid int) int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(raw), "VmHWM:")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseInt(kib, 10, 64)
	if err != nil {
		return 0 // of a process that has ended
	}
	return n << 10
}

// TestN37Exhaust: a registry sends more than anybody can hold: a hundred thousand
// referrers in pages and in one list, bundles of a gigabyte, and compressed answers
// that would be one when expanded. Each ends in a denial of its own, without the
// memory to hold it. (What only trickles is verify/fetch's TestN37SlowDrip.)
func TestN37Exhaust(t *testing.T) {
	s := newStall(t)
	const index, image = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"
	entry := func(i int) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":"sha256:%064x","size":700,"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`, image, i)
	}
	list := func(from, to int) string {
		var b strings.Builder
		for i := from; i < to; i++ {
			b.WriteString("," + entry(i))
		}
		return `{"schemaVersion":2,"mediaType":"` + index + `","manifests":[` + b.String()[1:] + `]}`
	}
	huge := list(0, 100_000)
	bomb := gzipOf(t, 1<<30)
	for name, c := range map[string]struct {
		over http.HandlerFunc
		code reason.Code
	}{
		"referrers in pages": {func(w http.ResponseWriter, r *http.Request) {
			from, _ := strconv.Atoi(r.URL.Query().Get("from"))
			w.Header().Set("Content-Type", index)
			if from+100 < 100_000 {
				w.Header().Set("Link", fmt.Sprintf("<%s?from=%d>; rel=\"next\"", r.URL.Path, from+100))
			}
			_, _ = io.WriteString(w, list(from, from+100))
		}, reason.ReferrersTooMany},
		"referrers in one list": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", index)
			_, _ = io.WriteString(w, huge)
		}, reason.EvidenceTooLarge},
		"a list without end": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", index)
			_, _ = io.CopyN(w, spaces{}, gigabyte)
		}, reason.EvidenceTooLarge},
		"gzip": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", index)
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		}, reason.ReferrersMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			s.over.Store(&c.over)
			s.bounded(t, name, c.code)
		})
	}
	// A bundle of a gigabyte, as its referrer says or as it does not, and one that
	// would be as much when expanded.
	for name, size := range map[string]int64{"a told gigabyte": gigabyte, "an untold gigabyte": 700, "a gzip bundle": 700} {
		t.Run(name, func(t *testing.T) {
			sum := strings.Repeat("ab", 32)
			referrer := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json",`+
				`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},`+
				`"layers":[{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","digest":"sha256:%s","size":%d}],"subject":{"mediaType":%q,"digest":%q,"size":1}}`,
				image, sum, size, image, s.sum)
			at := s.put(referrer, image)
			list := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, index, image, at, len(referrer))
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.URL.Path, "/referrers/") {
					if name == "a gzip bundle" {
						w.Header().Set("Content-Encoding", "gzip")
						_, _ = w.Write(bomb)
						return
					}
					_, _ = io.CopyN(w, spaces{}, gigabyte)
					return
				}
				w.Header().Set("Content-Type", index)
				_, _ = io.WriteString(w, list)
			})
			s.over.Store(&h)
			code := reason.MismatchEvidence
			if size == gigabyte {
				code = reason.EvidenceTooLarge
			}
			s.bounded(t, name, code)
		})
	}
}

// bounded wants a denial that names the code, soon and with little memory.
func (s *stall) bounded(t *testing.T, state string, code reason.Code) {
	t.Helper()
	start := time.Now()
	a, peak := s.measured(strings.ReplaceAll(state, " ", "-"), "verify", "--json", "--key", s.at("release.pub"), s.ref)
	if a.status != 1 && a.status != 3 || !strings.Contains(a.out, string(code)) || strings.Contains(a.out, `"allowed"`) {
		t.Errorf("status %d, no %s in %s%s", a.status, code, a.out, a.err)
	}
	if peak == 0 || peak > most {
		t.Errorf("%d MiB at most, want up to %d", peak>>20, most>>20)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	t.Logf("%d MiB in %v", peak>>20, time.Since(start).Round(time.Millisecond))
}

// put pushes a manifest by its digest, which it returns.
func (s *stall) put(text, mediaType string) string {
	s.t.Helper()
	sum := digest.FromString(text).String()
	at := "http://" + strings.Replace(strings.Split(s.ref, "@")[0], "/", "/v2/", 1) + "/manifests/" + sum
	r, err := http.NewRequest(http.MethodPut, at, strings.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		s.t.Fatalf("put: %s", resp.Status)
	}
	return sum
}

// gzipOf compresses that many spaces.
func gzipOf(t *testing.T, n int64) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.CopyN(z, spaces{}, n); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
