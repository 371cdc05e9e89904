package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Documents is a place with small files, none of which it vouches for: below an
// HTTPS URL (on loopback, HTTP too), or in a folder. Close it after use.
type Documents struct {
	at     string
	folder *os.Root // nil for a URL
	base   *url.URL
	client *http.Client
	http   *http.Transport
	limit  time.Duration
	agent  string
}

// Documents opens a place: what has "://" is a URL, anything else a folder. It
// refuses with document-place and opens no socket.
func (o Options) Documents(at string) (*Documents, error) {
	wrong := func(found string) (*Documents, error) {
		return nil, refuse(reason.DocumentPlace, "open "+at, "an https:// URL, an http:// URL on loopback, or a folder", found)
	}
	if !strings.Contains(at, "://") {
		folder, err := os.OpenRoot(at)
		if err != nil {
			return wrong(err.Error())
		}
		return &Documents{at: at, folder: folder}, nil
	}
	o = o.normal()
	u, err := url.Parse(at)
	switch {
	case err != nil:
		return wrong(err.Error())
	case u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())):
		return wrong(u.Scheme + "://" + u.Host)
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return wrong("a URL that is more than host and path")
	}
	base, guarded, err := o.client(u.Host, new(atomic.Bool))
	if err != nil {
		return nil, err
	}
	return &Documents{at: at, base: u, client: &http.Client{Transport: guarded}, http: base, limit: o.Timeout, agent: o.UserAgent}, nil
}

// Close lets go of connections and the folder.
func (d *Documents) Close() {
	if d.folder != nil {
		_ = d.folder.Close() // only read from
		return
	}
	d.http.CloseIdleConnections()
}

// Read reads the file of that name, a slash-separated path below the place, of at
// most limit bytes. A file that is not there is document-absent, whose cause is
// fs.ErrNotExist.
func (d *Documents) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	what := "read " + name + " of " + d.at
	if !fs.ValidPath(name) || name == "." {
		return nil, refuse(reason.DocumentPlace, what, "a path below it", fmt.Sprintf("%.100q", name))
	}
	in, err := d.open(ctx, name)
	if err == nil {
		defer in.Close()
		var raw []byte
		if raw, err = io.ReadAll(io.LimitReader(in, limit+1)); err == nil {
			if int64(len(raw)) > limit {
				return nil, refuse(reason.DocumentTooLarge, what, fmt.Sprintf("at most %d bytes", limit), "more")
			}
			return raw, nil
		}
	}
	return nil, &reason.Error{Code: d.trouble(err), What: what, Expected: "a file that can be read", Err: err}
}

func (d *Documents) open(ctx context.Context, name string) (io.ReadCloser, error) {
	if d.folder != nil {
		f, err := d.folder.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe is no reason to wait
		if err != nil {
			return nil, err
		}
		if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
			return nil, errors.Join(err, f.Close(), errors.New("no regular file"))
		}
		return f, nil
	}
	// However slowly the bytes come, they have come by then: they are few.
	ctx, cancel := context.WithTimeoutCause(ctx, 2*d.limit, trickling)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.base.JoinPath(name).String(), nil)
	if err != nil {
		cancel()
		return nil, err
	}
	req.Header.Set("User-Agent", d.agent)
	resp, err := d.client.Do(req)
	if err != nil {
		cancel()
		return nil, err
	}
	in := closing{resp.Body, cancel}
	if resp.StatusCode != http.StatusOK {
		detail, _ := io.ReadAll(io.LimitReader(in, 200)) // only words for a person
		_ = in.Close()                                   // nothing was written
		err = &statusError{resp.StatusCode, printable(detail)}
		if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone {
			err = errors.Join(fs.ErrNotExist, err)
		}
		return nil, err
	}
	return in, nil
}

// closing ends a request's time with its body.
type closing struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (c closing) Close() error {
	err := c.ReadCloser.Close()
	c.cancel()
	return err
}

func (d *Documents) trouble(err error) reason.Code {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return reason.DocumentAbsent
	case d.folder != nil:
		return reason.DocumentUnreadable
	}
	switch conditionOf(err) {
	case timedOut, unreachable:
		return reason.DocumentUnreachable
	case untrusted:
		return reason.DocumentTLS
	}
	return reason.DocumentUnreadable
}
