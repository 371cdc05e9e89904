package rootfs

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
)

// Forms are all forms, strongest first.
func Forms() []Form { return []Form{InRAMFS, InLoop, Extracted} }

// Strongest is the strongest form that this user can really make on this host. Each
// is tried as a launch uses it, with a tree of one file. When none can be made the error is the last one's, seal-unsupported.
func Strongest(ctx context.Context) (Form, error) {
	t, err := tree.FromFiles([]tree.Entry{{Path: "probe", Type: tree.File, Mode: 0o444,
		Size: int64(len(probed)), Digest: digest.FromString(string(probed))}})
	if err != nil {
		return "", err
	}
	for _, form := range Forms() {
		if err = try(ctx, form, t); err == nil {
			return form, nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
	if _, refused := reason.Of(err); !refused {
		err = unsupported("seal root", err)
	}
	return "", err
}

func try(ctx context.Context, form Form, t tree.Tree) (err error) {
	s, err := Seal(ctx, form, t, t.Digest(), probed, Limits{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if form != InLoop { // what mounts EROFS from a file maps its owners; what is extracted is the task's from the start
		return s.Prove()
	}
	ids := TaskMap(DefaultIDs().Start)
	userns, err := newUserns(ids, ids)
	if err != nil {
		return err
	}
	defer closeAll(userns)
	m, err := s.Mount(userns)
	closeAll(m)
	return err
}

// probe is the Source of the tree that is tried.
type probe string

const probed probe = "probe"

// Open implements Source.
func (p probe) Open(tree.Entry) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(string(p))), nil
}
