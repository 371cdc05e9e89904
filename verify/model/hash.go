package model

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/file"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// lfsPointer begins the file that Git LFS leaves in place of the real one.
var lfsPointer = []byte("version https://git-lfs.github.com/spec/v1\n")

const maxPointer = 1024 // bytes; Git LFS says so

// hash opens and hashes every signed file, one file per processor at a time,
// and returns the Tree's entries and the sum of the sizes. Of several refusals
// the one of the file listed first is returned.
func (f folder) hash(ctx context.Context, m manifest, o Options) ([]tree.Entry, int64, error) {
	limit := o.Bytes
	if limit <= 0 {
		limit = MaxBytes
	}
	total, err := f.sizes(m, limit)
	if err != nil {
		return nil, 0, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	entries := make([]tree.Entry, len(m.files))
	errs := make([]error, len(m.files))
	work := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(m.files)) {
		wg.Go(func() {
			buf := make([]byte, 1<<20)
			at := 0
			defer func() {
				if fault := recover(); fault != nil {
					errs[at] = reason.Panicked("hash "+m.files[at].name, fault)
					stop()
				}
			}()
			for i := range work {
				at = i
				if entries[i], errs[i] = f.one(ctx, m.files[i], buf, o.Read); errs[i] != nil {
					stop()
				}
			}
		})
	}
feed:
	for i := range m.files {
		select {
		case work <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(work)
	wg.Wait()
	var first error
	for _, err := range errs {
		if _, ok := reason.Of(err); ok {
			return nil, 0, err
		}
		if err != nil && first == nil {
			first = err
		}
	}
	if first == nil {
		first = ctx.Err()
	}
	if first != nil {
		return nil, 0, unreadable("hash model "+f.path, first)
	}
	all := []tree.Entry{{Path: ".", Type: tree.Dir, Mode: 0o555}}
	dirs := map[string]bool{"": true}
	for _, e := range entries {
		for up := parent(e.Path); !dirs[up]; up = parent(up) {
			dirs[up] = true
			all = append(all, tree.Entry{Path: up, Type: tree.Dir, Mode: 0o555})
		}
	}
	return append(all, entries...), total, nil
}

// sizes adds up the sizes before a byte is read, so that a sparse file of a
// terabyte costs nothing.
func (f folder) sizes(m manifest, limit int64) (int64, error) {
	var total int64
	for _, s := range m.files {
		h, err := Open(f.dir, s.name)
		if err != nil {
			return 0, err
		}
		st, err := h.Stat()
		h.Close()
		if err != nil {
			return 0, unreadable("read "+quote(s.name), err)
		}
		if st.Size() > limit-total {
			return 0, &reason.Error{Code: reason.ModelTooLarge, What: "add up model " + f.path,
				Expected: fmt.Sprintf("at most %d bytes", limit), Found: "more, with " + quote(s.name)}
		}
		total += st.Size()
	}
	return total, nil
}

// one hashes one file, and holds it against its digest if it has one.
func (f folder) one(ctx context.Context, s listed, buf []byte, told func(int64)) (tree.Entry, error) {
	h, err := Open(f.dir, s.name)
	if err != nil {
		return tree.Entry{}, err
	}
	defer h.Close()
	st, err := h.Stat()
	if err != nil {
		return tree.Entry{}, unreadable("read "+quote(s.name), err)
	}
	file.Sequential(h)
	sum, n, start, err := read(ctx, io.LimitReader(h, st.Size()+1), buf, told) // it may be growing
	switch {
	case err != nil && ctx.Err() != nil:
		return tree.Entry{}, ctx.Err()
	case err != nil:
		return tree.Entry{}, unreadable("read "+quote(s.name), err)
	case n <= maxPointer && bytes.HasPrefix(start, lfsPointer):
		return tree.Entry{}, &reason.Error{Code: reason.ModelPointer, What: "read " + quote(s.name),
			Expected: "the file itself", Found: "a Git LFS pointer to it", Next: "git lfs pull"}
	case n != st.Size():
		return tree.Entry{}, &reason.Error{Code: reason.ModelChanged, What: "read " + quote(s.name),
			Expected: fmt.Sprintf("%d bytes", st.Size()), Found: fmt.Sprintf("%d bytes while it was read", n)}
	case s.sum != "" && sum != s.sum:
		return tree.Entry{}, &reason.Error{Code: reason.ModelDigestMismatch, What: "read " + quote(s.name), Expected: s.sum.String(), Found: sum.String()}
	}
	return tree.Entry{Path: s.name, Type: tree.File, Mode: 0o444, Size: n, Digest: sum}, nil
}

// read hashes to the end and returns the first bytes too.
func read(ctx context.Context, h io.Reader, buf []byte, told func(int64)) (sum digest.Digest, n int64, start []byte, err error) {
	hash := sha256.New()
	for {
		k, err := h.Read(buf)
		hash.Write(buf[:k])
		if n == 0 {
			start = bytes.Clone(buf[:min(k, len(lfsPointer))])
		}
		n += int64(k)
		if told != nil && k > 0 {
			told(int64(k))
		}
		if errors.Is(err, io.EOF) {
			return sumOf(hash), n, start, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return "", n, start, err
		}
	}
}
