package fetch

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

func read(t *testing.T, at, name string, limit int64) ([]byte, error) {
	t.Helper()
	d, err := Options{Timeout: 300 * time.Millisecond}.Documents(at)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Read(context.Background(), name, limit)
}

// TestDocuments reads small files, and tells every way apart in which one cannot
// be had.
func TestDocuments(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/base/a/b.json", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("12345")) })
	mux.HandleFunc("/base/endless", func(w http.ResponseWriter, _ *http.Request) {
		for range 1 << 20 {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/base/stalled", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("1"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/base/failing", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	mux.HandleFunc("/base/gone", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	mux.HandleFunc("/base/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = w.Write([]byte("1"))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/base/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://192.0.2.1/a/b.json", http.StatusFound)
	})
	plain, secret := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secret.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + closed.Addr().String()
	closed.Close()
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "a"), 0o755), os.WriteFile(filepath.Join(dir, "a", "b.json"), []byte("12345"), 0o600),
		os.Symlink("/etc/passwd", filepath.Join(dir, "out")), fifo(filepath.Join(dir, "pipe"))); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		at, file string
		limit    int64
		code     reason.Code
	}{
		"url":         {plain.URL + "/base", "a/b.json", 5, ""},
		"url/":        {plain.URL + "/base/", "a/b.json", 5, ""},
		"folder":      {dir, "a/b.json", 5, ""},
		"large":       {plain.URL + "/base", "a/b.json", 4, reason.DocumentTooLarge},
		"large-file":  {dir, "a/b.json", 4, reason.DocumentTooLarge},
		"endless":     {plain.URL + "/base", "endless", 1 << 20, reason.DocumentTooLarge},
		"absent":      {plain.URL + "/base", "none", 5, reason.DocumentAbsent},
		"gone":        {plain.URL + "/base", "gone", 5, reason.DocumentAbsent},
		"absent-file": {dir, "none", 5, reason.DocumentAbsent},
		"stalled":     {plain.URL + "/base", "stalled", 5, reason.DocumentUnreachable},
		"nobody":      {nobody, "a/b.json", 5, reason.DocumentUnreachable},
		"failing":     {plain.URL + "/base", "failing", 5, reason.DocumentUnreadable},
		"cut":         {plain.URL + "/base", "cut", 50, reason.DocumentUnreadable},
		"redirected":  {plain.URL + "/base", "away", 5, reason.DocumentUnreadable},
		"link":        {dir, "out", 1 << 20, reason.DocumentUnreadable},
		"pipe":        {dir, "pipe", 5, reason.DocumentUnreadable},
		"directory":   {dir, "a", 5, reason.DocumentUnreadable},
		"tls":         {secret.URL + "/base", "a/b.json", 5, reason.DocumentTLS},
		"plain":       {"http://registry.example", "a/b.json", 5, reason.DocumentPlace},
		"scheme":      {"file:///etc", "passwd", 5, reason.DocumentPlace},
		"user":        {"https://joe@registry.example", "a/b.json", 5, reason.DocumentPlace},
		"no-folder":   {dir + "/none", "a/b.json", 5, reason.DocumentPlace},
		"traversal":   {dir + "/a", "../a/b.json", 5, reason.DocumentPlace},
		"url-path":    {plain.URL + "/base/a", "../a/b.json", 5, reason.DocumentPlace},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := read(t, c.at, c.file, c.limit)
			e, _ := reason.Of(err)
			switch {
			case c.code == "" && (err != nil || string(raw) != "12345"):
				t.Errorf("%q, %v", raw, err)
			case c.code != "" && (e == nil || e.Code != c.code || raw != nil):
				t.Errorf("%v, want %s", err, c.code)
			case (c.code == reason.DocumentAbsent) != errors.Is(err, fs.ErrNotExist):
				t.Errorf("absence is told by its cause, and this is %v", err)
			}
		})
	}
}
