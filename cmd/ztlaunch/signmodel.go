package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/file"
	"github.com/ztlaunch/ztlaunch/verify/model"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/sign"
)

// signModel writes DIR/model.sig, or FILE.sig.
func (w world) signModel(ctx context.Context, k sign.Key, ref artifact.Reference, ignore []string) int {
	target, err := model.SignatureFile(ref.Path())
	var bundle []byte
	if err == nil {
		err = vacant(target, "rm "+reason.Word(target)) // before hours of hashing
	}
	if err == nil {
		bundle, err = modelBundle(ctx, k, model.Options{Ref: ref, Signature: target, Ignore: ignore})
		authored(err, ref)
	}
	if err == nil {
		err = writeNew(target, bundle, 0o644)
	}
	if err != nil {
		return w.fail("sign", err)
	}
	fmt.Fprintf(w.err, "wrote %s\n", target)
	return w.done("sign", struct {
		header
		Signature string `json:"signature"`
	}{header{"ztlaunch.signed/v1", 0}, target}, "")
}

// authored advises who makes the model: others get it again from where it was
// published.
func authored(err error, ref artifact.Reference) {
	e, ok := reason.Of(err)
	if !ok || e.Code.Class() != reason.Denied {
		return
	}
	switch e.Code {
	case reason.ModelEmpty:
		e.Next = "put the model's files into " + ref.Path()
	case reason.ModelPointer:
		e.Next = "git lfs pull"
	case reason.ModelSymlink, reason.ModelFileType, reason.ModelHardLink:
		left := "PATH"
		if name, err := strconv.Unquote(strings.TrimPrefix(e.What, "read ")); err == nil {
			left = reason.Word(name)
		}
		e.Next = "remove it, put a file of its own there, or leave it out of the model: --ignore-path " + left
	default:
		e.Next = "mend it in " + ref.Path() + ", or leave it out of the model: --ignore-path PATH"
	}
}

// attestModel adds a statement about a signed model to DIR.intoto.jsonl.
func (w world) attestModel(ctx context.Context, k sign.Key, ref artifact.Reference, uri string, predicate json.RawMessage) int {
	target, about, bundle, err := modelStatement(ctx, k, ref, uri, predicate)
	if err == nil {
		err = appendBundle(target, bundle)
	}
	if err != nil {
		return w.fail("attest", err)
	}
	fmt.Fprintf(w.err, "wrote %s to %s, about %s@%s\n", uri, target, ref.Name(), about)
	return w.done("attest", struct {
		header
		Name      string        `json:"name"`
		Subject   digest.Digest `json:"subject"`
		Predicate string        `json:"predicate"`
		Envelope  digest.Digest `json:"envelope"`
	}{header{"ztlaunch.attached/v1", 0}, ref.Name(), about, uri, digest.FromBytes(bundle)}, "")
}

// appendBundle adds a line to a file of bundles. A lock on its folder keeps two
// writers of this program apart, of which one would lose the other's line.
func appendBundle(target string, bundle []byte) error {
	folder, err := file.Folder(filepath.Dir(target))
	if err == nil {
		defer folder.Close()
		err = file.Lock(folder, false, true)
	}
	if err != nil {
		return &reason.Error{Code: reason.FileUnwritable, What: "lock the folder of " + target, Err: err}
	}
	all, err := fetch.Appended(target, bundle)
	if err != nil {
		return err
	}
	return replaceFile(target, all, 0o644)
}

// modelStatement signs a statement whose subject is the model that its signature is
// over, and says which file it belongs in.
func modelStatement(ctx context.Context, k sign.Key, ref artifact.Reference, uri string, predicate json.RawMessage) (target string, about digest.Digest, bundle []byte, err error) {
	d, err := signedModel(ctx, ref)
	if err != nil {
		return "", "", nil, err
	}
	if target, err = model.Evidence(ref.Path()); err != nil {
		return "", "", nil, err
	}
	about = d.Artifact.Digest()
	statement, err := sign.Statement(uri, predicate, filepath.Base(ref.Path()), about)
	if err == nil {
		bundle, err = sign.Sign(k, statement)
	}
	if err == nil {
		_, err = evidence.Parse(bundle) // what we write, we must be able to read
	}
	return target, about, bundle, err
}

// signedModel is the model that its signature is over; who signed is not asked.
func signedModel(ctx context.Context, ref artifact.Reference) (model.Draft, error) {
	raw, from, err := model.Signature(ref.Path())
	if err != nil {
		return model.Draft{}, err
	}
	return model.Preview(ctx, raw, model.Options{Ref: ref, Signature: from})
}

func modelBundle(ctx context.Context, k sign.Key, o model.Options) ([]byte, error) {
	entries, ignored, err := model.List(ctx, o)
	if err != nil {
		return nil, err
	}
	var files []sign.File
	for _, e := range entries {
		files = append(files, sign.File{Name: e.Path, SHA256: e.Digest})
	}
	return sign.Model(k, filepath.Base(o.Ref.Path()), files, ignored...)
}
