package fetch

import (
	"context"
	"io"
	"path/filepath"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// parallel is how many transfers run at once.
const parallel = 3

// Layer opens a layer's blob in the store, compressed as it was distributed.
// The reader ends in digest-mismatch-layer if the bytes are not the layer's.
func Layer(st *content.Store, l artifact.Layer) (io.ReadCloser, error) {
	r, err := st.Open(l.Digest, l.Size)
	if err != nil {
		return nil, err
	}
	return &layerReader{ReadCloser: r, store: st, digest: l.Digest}, nil
}

type layerReader struct {
	io.ReadCloser
	store  *content.Store
	digest digest.Digest
	err    error // sticky
}

func (r *layerReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		r.err = damagedLayer(r.store, r.digest, err)
		err = r.err
	}
	return n, err
}

// damagedLayer is the refusal of a layer that changed in the store. It came there
// whole, so it can be fetched again: what lies there is set aside.
func damagedLayer(st *content.Store, d digest.Digest, err error) error {
	err = layerPart.wrong(d, "the store", err)
	e, ok := reason.Of(err)
	if !ok || e.Code != reason.MismatchLayer {
		return err
	}
	e.Next = "the same again: the layer is fetched anew"
	if to, bad := st.SetAside(d); bad != nil {
		e.Next = "rm " + filepath.Join(st.Dir(), "blobs", "sha256", d.Encoded())
	} else if to != "" {
		e.Next += ", and what was there is now " + to
	}
	return err
}

// absent is every layer that has to be read from its origin, each once.
func (s *session) absent(layers []artifact.Layer) ([]artifact.Layer, error) {
	seen := map[digest.Digest]bool{}
	var missing []artifact.Layer
	for _, l := range layers {
		if seen[l.Digest] {
			continue
		}
		seen[l.Digest] = true
		if ok, err := s.present(l); err != nil {
			return nil, err
		} else if ok {
			s.progress(Event{Digest: l.Digest, Done: l.Size, Total: l.Size, Cached: true})
		} else {
			missing = append(missing, l)
		}
	}
	return missing, nil
}

// layers brings layers into the store.
func (s *session) layers(ctx context.Context, missing []artifact.Layer) error {
	if len(missing) > 0 && s.origin == nil {
		return s.never(layerPart.what(missing[0].Digest))
	}
	var mu sync.Mutex // one progress event at a time
	report := func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		s.progress(e)
	}
	return each(ctx, len(missing), func(ctx context.Context, i int) error {
		return s.layer(ctx, missing[i], report)
	})
}

func (s *session) progress(e Event) {
	if s.o.Progress != nil {
		s.o.Progress(e)
	}
}

// present reports whether the store has a layer, by its size: its bytes are
// hashed by whoever reads them, and what is damaged is set aside then.
func (s *session) present(l artifact.Layer) (bool, error) {
	if s.o.Pull == Always && !s.stored {
		return false, nil // it is the folder or archive that is asked about
	}
	size, err := s.o.Store.Stat(l.Digest)
	if e, ok := reason.Of(err); ok && e.Code == reason.BlobAbsent {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if size != l.Size {
		return false, damagedLayer(s.o.Store, l.Digest, &content.Mismatch{Want: l.Digest, WantSize: l.Size, GotSize: size})
	}
	return true, nil
}

func (s *session) layer(ctx context.Context, l artifact.Layer, report func(Event)) error {
	in, err := s.origin.open(ctx, descriptor{Digest: l.Digest, Size: l.Size, MediaType: l.MediaType}, layerPart)
	if err != nil {
		return err
	}
	defer in.Close()
	report(Event{Digest: l.Digest, Total: l.Size})
	counted := &counter{r: in, event: Event{Digest: l.Digest, Total: l.Size}, report: report}
	if size, bad := s.o.Store.Stat(l.Digest); bad == nil && size == l.Size {
		_, err = io.Copy(io.Discard, content.Verify(counted, l.Digest, l.Size))
	} else {
		err = s.o.Store.Put(counted, l.Digest, l.Size)
	}
	if err != nil {
		return layerPart.wrong(l.Digest, s.origin.place(""), err)
	}
	report(Event{Digest: l.Digest, Done: l.Size, Total: l.Size})
	return nil
}

// counter reports progress about every quarter of a megabyte.
type counter struct {
	r      io.Reader
	event  Event
	since  int
	report func(Event)
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.event.Done += int64(n)
	if c.since += n; c.since >= 256<<10 && c.event.Done < c.event.Total {
		c.since = 0
		c.report(c.event)
	}
	return n, err
}

// each runs n jobs, a few at a time, and returns the first error in the order
// of the jobs that is not the cancellation another one caused.
func each(ctx context.Context, n int, job func(context.Context, int) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	slots := make(chan struct{}, parallel)
	errs := make([]error, n)
	var first error
	var once sync.Once
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		if ctx.Err() != nil {
			<-slots
			break
		}
		wg.Go(func() {
			defer func() {
				if fault := recover(); fault != nil {
					errs[i] = reason.Panicked("fetch", fault)
					once.Do(func() { first = errs[i]; cancel() })
				}
				<-slots
			}()
			if errs[i] = job(ctx, i); errs[i] != nil {
				once.Do(func() { first = errs[i]; cancel() })
			}
		})
	}
	wg.Wait()
	if first != nil {
		return first
	}
	return ctx.Err()
}
