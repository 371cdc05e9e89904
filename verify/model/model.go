// Package model verifies a folder of model files against an OpenSSF Model
// Signing v1.0 signature, and makes the Tree of exactly the signed files.
//
// # The signature
//
// A signature is a Sigstore bundle of media type
// application/vnd.dev.sigstore.bundle.v0.3+json, usually a file model.sig in or
// beside the folder, with a DSSE envelope around an in-toto Statement v1:
//
//   - predicateType https://model_signing/signature/v1.0;
//   - one subject, whose sha256 is the root digest: SHA-256 over the raw
//     digests of the resources in the order in which they are listed;
//   - predicate.serialization: method "files", hash_type "sha256",
//     allow_symlinks false or absent, ignore_paths a list of names or absent;
//   - predicate.resources: at least one {name, algorithm "sha256", digest in
//     lower-case hex}; the name is a path relative to the folder.
//
// Members are exact, none may be there twice and no others may be there. A
// single file is signed under its own name, before 1.1 of the Python tool under
// ".". The order of the resources is what the root digest covers; tools differ
// in it, so it is noted when it is not by code point, and never refused.
//
// The envelope is proved by package evidence: with a key of the Root, the
// curve's own hash and the key hint OpenSSF writes, or with a certificate
// against its Sigstore root. The certificate method, a chain to an authority of
// one's own, is refused by name (model-certificate-method). Who may sign is for the policy to say; a hint that
// names another key than the one that signed is refused (model-hint).
//
// # Names
//
// A name is UTF-8, at most 4096 bytes, without NUL, backslash, leading or
// trailing "/", and without an empty, "." or ".." component. Two names must not
// be the same, nor the same but for letter case or Unicode normalisation, and
// none may lie below another.
//
// # The folder
//
// Everything in the folder is looked at from one descriptor (package file) and
// without following any symlink or crossing into another file system. It must
// hold the signed files and nothing more, apart from empty directories and
// what is not signed by definition: ".git", ".gitignore", ".gitattributes" and
// ".github" at the top, the signature file itself, the signed ignore_paths and,
// for signatures that do not record them, Options.Ignore. An ignored path is a
// name and covers what is below it; there are no patterns. Symlinks, devices,
// sockets, FIFOs and files with a second hard link are refused wherever they
// are not ignored.
//
// Every signed file is read in full and hashed; sizes and times are never
// taken for content.
//
// # What comes out
//
// The Tree has the signed files, mode 0444, in directories of mode 0555, owned
// by root, at time 0: the specification covers none of these. What was ignored
// is not in it, and what mounts it must mount the Tree and never the folder.
//
// The artifact's digest is sha256 over the text "ztlaunch/model/v1\n" and, for
// every file by name in byte order, its digest in hex, a space, its size in
// decimal, a space, its name and a NUL. The root digest of the specification
// does not bind names or sizes, so it names no artifact here. A Claim about a
// model therefore has another subject than the artifact: Covers holds the two
// together.
//
// # What else is said about a model
//
// SBOMs and in-toto attestations about a model are statements whose subject is the
// artifact's digest, in bundles that lie in PATH.intoto.jsonl, one per line: beside
// the folder, since every file in it is signed. They are read, proved and judged as an
// image's are (packages fetch, evidence and policy), and add no file to the model.
//
// # What is not checked
//
// Whether a file is what its name says (its format), modes, attributes and empty
// directories of the folder, how old a signature is, and that the folder stays
// as it was: whoever reads it later hashes again.
package model

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// MaxBytes is the default size of a model: 1 TiB.
const MaxBytes = 1 << 40

// Options are what a caller may say about one model.
type Options struct {
	Ref       artifact.Reference // model:DIR or model:FILE, with the name that policy sees
	Signature string             // the signature file's path, if it may lie in the folder
	Ignore    []string           // unsigned paths that a signature older than 1.1 does not record
	Bytes     int64              // the most bytes to read; 0 is MaxBytes
	Read      func(n int64)      // told of bytes read, from several goroutines; may be nil
}

// Result is a verified model.
type Result struct {
	Artifact artifact.Artifact
	Tree     tree.Tree
	Claim    evidence.Claim
	Folder   string        // where the files of the Tree lie
	Root     digest.Digest // the specification's root digest, which the Claim is about
	Notes    []string      // what is odd and no reason to refuse
}

// Verify proves the signature in the eyes of r, holds the folder at o.Ref's path
// against it in both directions, and hashes every signed file. A refusal is a
// *reason.Error; of package evidence's codes when it is the signature's.
func Verify(ctx context.Context, sig []byte, r trust.Root, now time.Time, o Options) (Result, error) {
	if o.Ref.Scheme() != artifact.ModelDir {
		return Result{}, &reason.Error{Code: reason.UsageWrong, What: "verify model " + o.Ref.String(), Expected: "model:DIR"}
	}
	claim, list, err := prove(sig, r, now)
	if e, ok := reason.Of(err); ok && strings.HasPrefix(e.Next, "ztlaunch tree") { // which is for images
		e.Expected = cmp.Or(e.Expected, "an OpenSSF model signature")
		e.Next = "get it again from where it was published; or, if it is yours, remove model.sig and sign it again: ztlaunch sign --key KEY " + reason.Word(o.Ref.String())
	}
	if err != nil {
		return Result{}, err
	}
	d, err := list.hold(ctx, o)
	if err != nil {
		return Result{}, err
	}
	return Result{
		Artifact: d.Artifact, Tree: d.Tree, Claim: claim, Folder: d.Folder, Root: claim.Subject(), Notes: list.notes,
	}, nil
}

// Draft is a model whose signature nobody proved.
type Draft struct {
	Artifact artifact.Artifact
	Tree     tree.Tree
	Folder   string   // where the files of the Tree lie
	Ignored  []string // paths below it that are no part of the model
}

// Preview holds the folder against a signature as Verify does, and proves nothing of
// who signed: it is for somebody who is about to say something about the model, and
// never for a decision.
func Preview(ctx context.Context, sig []byte, o Options) (Draft, error) {
	envelope, err := evidence.Parse(sig)
	if err != nil {
		return Draft{}, err
	}
	p := envelope.Preview()
	what := "read model signature " + envelope.Digest().String()
	switch {
	case p.StatementType != evidence.StatementV1 || p.PredicateType != evidence.PredicateModelSignature:
		return Draft{}, &reason.Error{Code: reason.ModelPredicateType, What: what, Expected: evidence.PredicateModelSignature, Found: quote(p.PredicateType)}
	case len(p.Subjects) != 1:
		return Draft{}, &reason.Error{Code: reason.ModelSubjectCount, What: what, Expected: "1 subject", Found: count(len(p.Subjects))}
	}
	list, err := files(what, p.Predicate, p.Subjects[0].SHA256)
	if err != nil {
		return Draft{}, err
	}
	return list.hold(ctx, o)
}

// hold holds the folder at o.Ref's path against what was signed, and hashes it.
func (m manifest) hold(ctx context.Context, o Options) (Draft, error) {
	f, err := openFolder(o.Ref.Path())
	if err != nil {
		return Draft{}, err
	}
	defer f.dir.Close()
	if err := m.placed(f.single); err != nil {
		return Draft{}, err
	}
	if err := f.compare(m, o); err != nil {
		return Draft{}, err
	}
	entries, size, err := f.hash(ctx, m, o)
	if err != nil {
		return Draft{}, err
	}
	t, err := tree.FromFiles(entries)
	if err != nil {
		return Draft{}, err
	}
	pinned, err := artifact.Pin(artifact.Pinned{Ref: o.Ref.As(artifact.Model), Manifest: Manifest(t), Size: size})
	if err != nil {
		return Draft{}, err
	}
	ignored := f.ignored(o)
	for _, p := range m.ignore {
		ignored[p] = true
	}
	return Draft{Artifact: pinned, Tree: t, Folder: f.path, Ignored: slices.Sorted(maps.Keys(ignored))}, nil
}

// prove checks the envelope and reads what was signed.
func prove(sig []byte, r trust.Root, now time.Time) (evidence.Claim, manifest, error) {
	refuse := func(err error) (evidence.Claim, manifest, error) { return evidence.Claim{}, manifest{}, err }
	envelope, err := evidence.Parse(sig)
	if e, ok := reason.Of(err); ok && e.Code == reason.EnvelopeMalformed && bytes.Contains(sig, []byte(`"x509CertificateChain"`)) {
		return refuse(&reason.Error{Code: reason.ModelCertificate, What: "read model signature",
			Expected: "a signature by a key, or keyless", Found: "one by a certificate of a private authority",
			Next: "sign with the key method, and give its public key", Err: err})
	}
	if err != nil {
		return refuse(err)
	}
	p := envelope.Preview()
	bad := func(code reason.Code, want, got string) (evidence.Claim, manifest, error) {
		return refuse(&reason.Error{Code: code, What: "read model signature " + envelope.Digest().String(), Expected: want, Found: got})
	}
	switch {
	case p.MediaType != evidence.MediaType:
		return bad(reason.ModelEnvelope, evidence.MediaType, quote(p.MediaType))
	case p.StatementType != evidence.StatementV1:
		return bad(reason.ModelEnvelope, evidence.StatementV1, quote(p.StatementType))
	case p.PredicateType != evidence.PredicateModelSignature:
		return bad(reason.ModelPredicateType, evidence.PredicateModelSignature, quote(p.PredicateType))
	case len(p.Subjects) != 1:
		return bad(reason.ModelSubjectCount, "1 subject", count(len(p.Subjects)))
	}
	claim, err := evidence.Check(envelope, r, []digest.Digest{p.Subjects[0].SHA256}, now)
	if err != nil {
		return refuse(err)
	}
	if p.KeyHint != "" && !hinted(r, claim, p.KeyHint) {
		return bad(reason.ModelHint, "a hint for "+claim.Signer().Key, quote(p.KeyHint))
	}
	list, err := signed(claim)
	return claim, list, err
}

// hinted says whether the hint names the key that signed.
func hinted(r trust.Root, c evidence.Claim, hint string) bool {
	for _, k := range r.Keys() {
		if k.ID() == c.Signer().Key {
			named, _ := k.Named(hint)
			return named
		}
	}
	return false
}

// List hashes the model at o.Ref's path for somebody who is about to sign it:
// the files in byte order of their names, and the paths in the folder that are
// left out, under the rules by which Verify looks at a folder.
func List(ctx context.Context, o Options) (files []tree.Entry, ignore []string, err error) {
	f, err := openFolder(o.Ref.Path())
	if err != nil {
		return nil, nil, err
	}
	defer f.dir.Close()
	m := manifest{}
	if f.single != "" {
		m.files = []listed{{name: f.single}}
	} else {
		ignored := f.ignored(o)
		w := walk{ignored: ignored, file: func(path string) error {
			m.files = append(m.files, listed{name: path})
			return nil
		}}
		if err := w.directory(f.dir, "", 0); err != nil {
			return nil, nil, err
		}
		ignore = slices.Sorted(maps.Keys(ignored))
	}
	what := "list model " + o.Ref.Path()
	if len(m.files) == 0 {
		return nil, nil, &reason.Error{Code: reason.ModelEmpty, What: what, Expected: "at least one file", Found: "none"}
	}
	m.ignore = ignore
	if err := m.names(); err != nil {
		e, _ := reason.Of(err)
		e.What = what
		return nil, nil, e
	}
	all, _, err := f.hash(ctx, m, o)
	if err != nil {
		return nil, nil, err
	}
	files = slices.DeleteFunc(all, func(e tree.Entry) bool { return e.Type != tree.File })
	slices.SortFunc(files, func(a, b tree.Entry) int { return strings.Compare(a.Path, b.Path) })
	return files, ignore, nil
}

// Covers says whether a Claim is a model signature over exactly the files of t:
// the same names, each with the same digest, and a subject that is their root
// digest. It reads nothing but its arguments.
func Covers(c evidence.Claim, t tree.Tree) error {
	list, err := signed(c)
	if err != nil {
		return err
	}
	want := make(map[string]digest.Digest, len(list.files))
	for _, f := range list.files {
		want[f.name] = f.sum
	}
	files := 0
	for e := range t.Entries() {
		switch e.Type {
		case tree.Dir:
			continue
		case tree.File:
		default:
			return &reason.Error{Code: reason.ModelFileType, What: "hold the signature against " + quote(e.Path), Expected: "a regular file"}
		}
		files++
		sum, ok := want[e.Path]
		if name := list.alone(); !ok && name != "" && t.Len() == 2 {
			sum, ok = want[name], true // signed before 1.1, under no name
		}
		if !ok {
			return unsigned(e.Path)
		}
		if sum != e.Digest {
			return &reason.Error{Code: reason.ModelDigestMismatch, What: "hold the signature against " + quote(e.Path), Expected: sum.String(), Found: e.Digest.String()}
		}
	}
	if files != len(list.files) {
		return &reason.Error{Code: reason.ModelFileMissing, What: "hold the signature against the files",
			Expected: count(len(list.files)) + " files", Found: count(files)}
	}
	return nil
}

// Evidence is the path of the file that may hold more about the model at path than
// its signature: PATH.intoto.jsonl, beside the folder.
func Evidence(path string) (string, error) {
	at, err := filepath.Abs(path)
	if err != nil {
		return "", unreadable("find "+path, err)
	}
	return at + ".intoto.jsonl", nil
}

// SignatureFile is where the signature of the model at path belongs: model.sig in the
// folder, or FILE.sig beside a single file.
func SignatureFile(path string) (string, error) {
	f, err := openFolder(path)
	if err != nil {
		return "", err
	}
	defer f.dir.Close()
	return f.signatures(path)[0], nil
}

// Signature reads the signature of the model at path: model.sig in the folder,
// else PATH.sig, else, for a single file, model.sig beside it. It returns the
// path of what it read.
func Signature(path string) (raw []byte, from string, err error) {
	f, err := openFolder(path)
	if err != nil {
		return nil, "", err
	}
	defer f.dir.Close()
	for _, at := range f.signatures(path) {
		raw, err := readSmall(at)
		if err == nil {
			return raw, at, nil
		}
		if !os.IsNotExist(err) {
			return nil, "", unreadable("read model signature "+at, err)
		}
	}
	return nil, "", &reason.Error{Code: reason.ModelSignatureAbsent, What: "find the signature of model " + path,
		Expected: f.signatures(path)[0], Found: "no such file", Next: "ztlaunch sign --key KEY " + reason.Word("model:"+path)}
}
