package rootfs

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"path"
	"time"

	"github.com/erofs/go-erofs"
	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// Build writes t as an EROFS image to out, from position 0, and returns its size in
// bytes. A size over lim.Size is seal-too-large, a file with other bytes than its
// Entry says digest-mismatch-file; out then holds no image.
func Build(ctx context.Context, t tree.Tree, src Source, out io.WriteSeeker, lim Limits) (int64, error) {
	if t.Zero() {
		return 0, &reason.Error{Code: reason.TreeZero, What: "build root"}
	}
	w := &capped{w: bufio.NewWriterSize(out, 1<<20), s: out, most: lim.size()}
	if t.Size() > w.most {
		return 0, w.refusal(t.Size())
	}
	img := erofs.Create(w, erofs.WithBuildTime(0, 0))
	if err := img.CopyFrom(newView(ctx, t, src)); err != nil {
		return 0, fmt.Errorf("build root: %w", err)
	}
	if err := img.Close(); err != nil {
		return 0, fmt.Errorf("build root: %w", err)
	}
	if err := w.w.Flush(); err != nil {
		return 0, fmt.Errorf("build root: %w", err)
	}
	return w.size, nil
}

// capped buffers what the image writer writes, and stops it at the cap.
type capped struct {
	w        *bufio.Writer
	s        io.Seeker
	at, size int64
	most     int64
}

func (c *capped) refusal(size int64) error {
	return &reason.Error{Code: reason.SealTooLarge, What: "build root",
		Expected: fmt.Sprintf("at most %d bytes", c.most), Found: fmt.Sprintf("at least %d bytes", size),
		Next: "make it smaller: a root lies in memory, and may take a quarter of that, 1 GiB at most"}
}

func (c *capped) Write(p []byte) (int, error) {
	if c.at+int64(len(p)) > c.most {
		return 0, c.refusal(c.at + int64(len(p)))
	}
	n, err := c.w.Write(p)
	c.at += int64(n)
	c.size = max(c.size, c.at)
	return n, err
}

func (c *capped) Seek(offset int64, whence int) (int64, error) {
	if err := c.w.Flush(); err != nil {
		return 0, err
	}
	at, err := c.s.Seek(offset, whence)
	if err == nil {
		c.at = at
	}
	return at, err
}

// view shows a Tree to the image writer as a file system.
type view struct {
	ctx  context.Context
	src  Source
	node map[string]*node
}

type node struct {
	entry  tree.Entry
	kids   []fs.DirEntry
	links  int
	xattrs map[string]string
}

func newView(ctx context.Context, t tree.Tree, src Source) *view {
	v := &view{ctx: ctx, src: src, node: make(map[string]*node, t.Len())}
	nodes := make([]node, t.Len())
	i := 0
	for e := range t.Entries() {
		n := &nodes[i]
		i++
		n.entry, n.links, n.xattrs = e, 1, imageXattrs(e, t.Digest())
		if e.Type == tree.Dir {
			n.links = 2
		}
		v.node[e.Path] = n
		if e.Path == "." {
			continue
		}
		up := v.node[path.Dir(e.Path)] // directories come before what they hold
		up.kids = append(up.kids, n)
		if e.Type == tree.Dir {
			up.links++
		}
	}
	return v
}

func (v *view) find(op, name string) (*node, error) {
	if n := v.node[name]; n != nil {
		return n, nil
	}
	return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// Stat implements fs.StatFS.
func (v *view) Stat(name string) (fs.FileInfo, error) {
	n, err := v.find("stat", name)
	return n, err
}

// ReadDir implements fs.ReadDirFS.
func (v *view) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := v.find("readdir", name)
	if err != nil {
		return nil, err
	}
	return n.kids, v.ctx.Err()
}

// ReadLink gives the image writer a symlink's target.
func (v *view) ReadLink(name string) (string, error) {
	n, err := v.find("readlink", name)
	if err != nil {
		return "", err
	}
	return n.entry.Link, nil
}

// Open gives the image writer a file's bytes. It opens nothing yet: the writer opens
// every file before it reads the first.
func (v *view) Open(name string) (fs.File, error) {
	n, err := v.find("open", name)
	if err != nil {
		return nil, err
	}
	return &copied{ctx: v.ctx, src: v.src, node: n}, nil
}

// The node is its own fs.DirEntry and fs.FileInfo.
func (n *node) Name() string               { return path.Base(n.entry.Path) }
func (n *node) IsDir() bool                { return n.entry.Type == tree.Dir }
func (n *node) Type() fs.FileMode          { return n.Mode().Type() }
func (n *node) Info() (fs.FileInfo, error) { return n, nil }
func (n *node) Size() int64                { return n.entry.Size }
func (n *node) ModTime() time.Time         { return time.Unix(n.entry.MTime, 0) }

func (n *node) Mode() fs.FileMode {
	m := fs.FileMode(n.entry.Mode & 0o777)
	if n.entry.Mode&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if n.entry.Mode&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if n.entry.Mode&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	switch n.entry.Type {
	case tree.Dir:
		m |= fs.ModeDir
	case tree.Symlink:
		m |= fs.ModeSymlink
	case tree.FIFO:
		m |= fs.ModeNamedPipe
	case tree.File:
	}
	return m
}

// Sys carries what fs.FileInfo has no word for.
func (n *node) Sys() any {
	return &erofs.Stat{UID: n.entry.UID, GID: n.entry.GID, Mtime: uint64(n.entry.MTime), Nlink: n.links, Xattrs: n.xattrs}
}

// treeXattr, on the image's root, is the digest of the Tree that the image was made
// from. Only CAP_SYS_ADMIN of the first user namespace reads trusted attributes: a
// task does not see it.
const treeXattr = "trusted.ztlaunch.tree"

// imageXattrs is what the image says about e; t is "" where it does not name its Tree.
func imageXattrs(e tree.Entry, t digest.Digest) map[string]string {
	if e.Path != "." || t == "" {
		return e.Xattrs
	}
	all := map[string]string{treeXattr: string(t)}
	maps.Copy(all, e.Xattrs)
	return all
}

// copied is one file on its way into the image: hashed as it passes, and held back
// at its last byte when the hash is wrong.
type copied struct {
	ctx  context.Context
	src  Source
	node *node
	in   io.ReadCloser
	sum  hash.Hash
	n    int64
}

func (c *copied) Stat() (fs.FileInfo, error) { return c.node, nil }

func (c *copied) Close() error {
	if c.in == nil {
		return nil
	}
	in := c.in
	c.in = nil
	return in.Close()
}

func (c *copied) Read(p []byte) (int, error) {
	e := &c.node.entry
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	if c.n == e.Size {
		return 0, io.EOF
	}
	if c.sum == nil {
		in, err := c.src.Open(*e)
		if err != nil {
			return 0, err
		}
		c.in, c.sum = in, sha256.New()
	}
	if int64(len(p)) > e.Size-c.n {
		p = p[:e.Size-c.n]
	}
	n, err := c.in.Read(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	if c.n == e.Size {
		if sum := digest.NewDigest(digest.SHA256, c.sum); sum != e.Digest {
			return 0, mismatch(e.Path, string(e.Digest), string(sum))
		}
		return n, nil
	}
	if err == io.EOF {
		return 0, mismatch(e.Path, fmt.Sprintf("%d bytes", e.Size), fmt.Sprintf("%d bytes", c.n))
	}
	return n, err
}

// mismatch is the refusal for a file that is not the Tree's.
func mismatch(path, want, got string) error {
	return &reason.Error{Code: reason.DigestMismatchFile, What: fmt.Sprintf("read %q", path), Expected: want, Found: got}
}
