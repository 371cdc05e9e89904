package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// loopback reports whether a host, as it stands in a URL without the port, is
// this machine by its name alone. What such a name leads to is checked again
// when it is dialed.
func loopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// guard lets HTTPS through, and plain HTTP only from a registry on loopback to
// loopback: no redirect, token service or habit of a library gets around it.
type guard struct {
	inner http.RoundTripper
	plain bool // the registry itself is on loopback
}

func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "https" || r.URL.Scheme == "http" && g.plain && loopback(r.URL.Hostname()) {
		return g.inner.RoundTrip(r)
	}
	return nil, errPlainHTTP
}

// client makes the HTTP transport for one registry. dialed is set before the
// first socket is opened.
func (o Options) client(registryHost string, dialed *atomic.Bool) (*http.Transport, http.RoundTripper, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		raw, err := readFile(o.CAFile, 4<<20)
		if err != nil {
			return nil, nil, &reason.Error{Code: reason.CAFileInvalid, What: "read " + o.CAFile, Err: err}
		}
		if !pool.AppendCertsFromPEM(raw) {
			return nil, nil, &reason.Error{Code: reason.CAFileInvalid, What: "read " + o.CAFile, Expected: "certificates in PEM", Found: "none"}
		}
		config.RootCAs = pool
	}
	t := &http.Transport{
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   o.Timeout,
		ResponseHeaderTimeout: o.Timeout,
		IdleConnTimeout:       o.Timeout,
		MaxIdleConnsPerHost:   parallel + 1,
		DisableCompression:    true, // bytes are hashed as they were sent
		ForceAttemptHTTP2:     true,
		Proxy: func(r *http.Request) (*url.URL, error) {
			if o.Proxy == nil || r.URL.Scheme != "https" || loopback(r.URL.Hostname()) {
				return nil, nil
			}
			return o.Proxy(r)
		},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dialed.Store(true)
			c, err := o.Dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			host, _, _ := net.SplitHostPort(addr)
			if loopback(host) {
				if a, ok := c.RemoteAddr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
					_ = c.Close() // refused before a byte was sent
					return nil, errNotLocal
				}
			}
			return c, nil
		},
	}
	return t, guard{t, loopback(hostOnly(registryHost))}, nil
}

// hostOnly is a host without its port and brackets.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

// body is a response body that fails when nothing comes for too long, or too
// little, and whose errors are put into words.
type body struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
	word   func(error) error

	since time.Time // when the stretch began
	got   int64     // bytes that came in it
}

// enough is what must come in each stretch of briefLimit: at 30 s of idleness some
// 9 kB a second.
const enough = 1 << 20

func (b *body) Read(p []byte) (int, error) {
	if b.since.IsZero() {
		b.since = time.Now()
	}
	b.timer.Reset(b.limit)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if b.got += int64(n); time.Since(b.since) > briefLimit(b.limit) {
		if err == nil && b.got < enough {
			err = trickling
		}
		b.since, b.got = time.Now(), 0
	}
	if err != nil && err != io.EOF {
		if late, ok := context.Cause(b.ctx).(stalled); ok {
			err = late
		}
		err = b.word(err)
	}
	return n, err
}

func (b *body) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// ticking is a request body that puts a timer off while it is being sent.
type ticking struct {
	io.Reader
	timer *time.Timer
	limit time.Duration
}

func (t ticking) Read(p []byte) (int, error) {
	t.timer.Reset(t.limit)
	return t.Reader.Read(p)
}
