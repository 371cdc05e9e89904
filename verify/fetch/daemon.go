package fetch

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// daemon reads an image from a docker daemon: its "save" over the socket, the
// Engine API's GET /images/NAME/get, spooled to an unnamed file in the store.
func (o Options) daemon(ctx context.Context, ref artifact.Reference) (origin, error) {
	if o.Pull == Never {
		return nil, refuse(reason.PullNever, "resolve "+ref.String(), "a reference that needs no socket", "a docker daemon")
	}
	what := "read " + ref.String() + " from " + o.Socket
	t := &http.Transport{DisableCompression: true, ResponseHeaderTimeout: 10 * o.Timeout, // save prepares the archive first
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return o.Dial(ctx, "unix", o.Socket) }}
	defer t.CloseIdleConnections()
	name := ref.Name() + ":" + ref.Tag()
	under, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(under, http.MethodGet, "http://docker/images/"+url.PathEscape(name)+"/get", nil)
	if err != nil {
		return nil, refuse(reason.ReferenceInvalid, what, "an image name", name)
	}
	resp, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, interrupted(ref, ctx.Err())
		}
		return nil, &reason.Error{Code: reason.DaemonUnreachable, What: what, Err: err, Next: "docker save -o image.tar " + name}
	}
	word := func(err error) error {
		if ctx.Err() != nil {
			return interrupted(ref, ctx.Err())
		}
		return &reason.Error{Code: reason.DaemonFailing, What: what, Err: err}
	}
	in := &body{ReadCloser: resp.Body, ctx: under, cancel: cancel, limit: o.Timeout, word: word,
		timer: time.AfterFunc(o.Timeout, func() { cancel(nothing) })}
	defer func() { _ = in.Close() }() // only read
	if resp.StatusCode != http.StatusOK {
		detail, _ := io.ReadAll(io.LimitReader(in, 200)) // only words for a person
		e := &reason.Error{Code: reason.DaemonFailing, What: what, Err: &statusError{resp.StatusCode, printable(detail)}}
		if resp.StatusCode == http.StatusNotFound {
			e.Code = reason.ImageAbsent
		}
		return nil, e
	}
	f, err := spool(o.Store, what, in, maxLayer)
	if err != nil {
		return nil, err
	}
	tf, err := openTar(what, f)
	if err != nil {
		return nil, err
	}
	return dockerArchive(ref, tf)
}

// spool copies a stream of at most max bytes into an unnamed file.
func spool(st *content.Store, what string, in io.Reader, max int64) (*os.File, error) {
	f, err := st.Spool()
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(f, io.LimitReader(in, max+1))
	if err == nil && n > max {
		err = refuse(reason.ArchiveTooLarge, what, fmt.Sprintf("at most %d bytes", max), "more")
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		return f, nil
	}
	f.Close()
	if _, ok := reason.Of(err); !ok {
		err = &reason.Error{Code: reason.StoreUnwritable, What: what, Err: err}
	}
	return nil, err
}
