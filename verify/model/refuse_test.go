//go:build unix

package model

import (
	"bytes"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestSignatureRefused changes one thing in a right signature, and mostly signs
// it again: the signer is trusted, the words are wrong.
func TestSignatureRefused(t *testing.T) {
	s, other := newSigner(t, elliptic.P384()), newSigner(t, elliptic.P384())
	dir := write(t, small)
	pred := func(o obj) obj { return o["predicate"].(obj) }
	ser := func(o obj) obj { return pred(o)["serialization"].(obj) }
	res := func(o obj, i int) obj { return pred(o)["resources"].([]any)[i].(obj) }
	edit := func(change func(obj)) func(*testing.T) []byte {
		return func(t *testing.T) []byte {
			st := statement(small, smallOrder...)
			change(st)
			return s.sign(t, mustJSON(t, st))
		}
	}
	payload := func(old, new string) func(*testing.T) []byte {
		return func(t *testing.T) []byte {
			raw := mustJSON(t, statement(small, smallOrder...))
			changed := bytes.Replace(raw, []byte(old), []byte(new), 1)
			if bytes.Equal(raw, changed) {
				t.Fatal("nothing changed")
			}
			return s.sign(t, changed)
		}
	}
	outer := func(change func(obj)) func(*testing.T) []byte {
		return func(t *testing.T) []byte {
			var b obj
			if err := json.Unmarshal(s.sign(t, mustJSON(t, statement(small, smallOrder...))), &b); err != nil {
				t.Fatal(err)
			}
			change(b)
			return mustJSON(t, b)
		}
	}
	good := edit(func(obj) {})
	if _, err := Verify(t.Context(), good(t), s.root(), now, Options{Ref: ref(t, dir)}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		sig  func(*testing.T) []byte
		want reason.Code
	}{
		{"other-key", func(t *testing.T) []byte { return other.sign(t, mustJSON(t, statement(small, smallOrder...))) }, reason.SignatureUnknownKey},
		{"other-key-our-hint", func(t *testing.T) []byte {
			o := other
			o.hint = s.hint
			return o.sign(t, mustJSON(t, statement(small, smallOrder...)))
		}, reason.SignatureInvalid},
		{"hint-of-unknown", func(t *testing.T) []byte {
			o := s
			o.hint = newSigner(t, elliptic.P384()).hint
			return o.sign(t, mustJSON(t, statement(small, smallOrder...)))
		}, reason.SignatureUnknownKey},
		{"hint-of-another", func(t *testing.T) []byte { // both keys are trusted
			o := s
			o.hint = other.hint
			return o.sign(t, mustJSON(t, statement(small, smallOrder...)))
		}, reason.ModelHint},
		{"hint-label", func(t *testing.T) []byte {
			o := s
			o.hint = "release"
			return o.sign(t, mustJSON(t, statement(small, smallOrder...)))
		}, reason.ModelHint},
		{"two-signatures", func(t *testing.T) []byte {
			var b struct {
				Env struct {
					Sigs []struct {
						Sig []byte `json:"sig"`
					} `json:"signatures"`
				} `json:"dsseEnvelope"`
			}
			raw := mustJSON(t, statement(small, smallOrder...))
			if err := json.Unmarshal(s.sign(t, raw), &b); err != nil {
				t.Fatal(err)
			}
			return s.bundle(t, raw, []byte("bad"), b.Env.Sigs[0].Sig)
		}, reason.EnvelopeSignatureCount},
		{"payload-changed", outer(func(b obj) {
			raw, _ := base64.StdEncoding.DecodeString(b["dsseEnvelope"].(obj)["payload"].(string))
			b["dsseEnvelope"].(obj)["payload"] = bytes.Replace(raw, []byte("onnx/"), []byte("onny/"), 1)
		}), reason.SignatureInvalid},
		{"payload-type", outer(func(b obj) { b["dsseEnvelope"].(obj)["payloadType"] = "text/plain" }), reason.PayloadTypeWrong},
		{"media-type", outer(func(b obj) { b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1" }), reason.ModelEnvelope},
		{"media-type-0.3-old", outer(func(b obj) { b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.3" }), reason.ModelEnvelope},
		{"media-type-0.4", outer(func(b obj) { b["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.4+json" }), reason.EnvelopeUnknownVersion},
		{"media-type-none", outer(func(b obj) { delete(b, "mediaType") }), reason.EnvelopeUnknownVersion},
		{"as-certificate-chain", outer(func(b obj) {
			b["verificationMaterial"] = obj{"x509CertificateChain": obj{"certificates": []any{obj{"rawBytes": "MIIB"}}}}
		}), reason.EnvelopeCertificate},
		{"empty", func(*testing.T) []byte { return nil }, reason.EnvelopeMalformed},
		{"truncated", func(t *testing.T) []byte { b := good(t); return b[:len(b)-1] }, reason.EnvelopeMalformed},
		{"huge", func(*testing.T) []byte { return make([]byte, 100<<20) }, reason.EnvelopeTooLarge},
		{"predicate-twice", payload(`"predicate":`, `"predicate":{},"predicate":`), reason.StatementMalformed},
		{"digest-twice", payload(`"digest":{`, `"digest":{},"digest":{`), reason.StatementMalformed},
		{"statement-v0.1", edit(func(o obj) { o["_type"] = "https://in-toto.io/Statement/v0.1" }), reason.ModelEnvelope},
		{"predicate-v0.1", edit(func(o obj) { o["predicateType"] = "https://model_signing/Digests/v0.1" }), reason.ModelPredicateType},
		{"predicate-v2.0", edit(func(o obj) { o["predicateType"] = "https://model_signing/signature/v2.0" }), reason.ModelPredicateType},
		{"no-subject", edit(func(o obj) { o["subject"] = []any{} }), reason.ModelSubjectCount},
		{"two-subjects", edit(func(o obj) { o["subject"] = append(o["subject"].([]any), o["subject"].([]any)[0]) }), reason.ModelSubjectCount},
		{"root-digest", edit(func(o obj) { o["subject"].([]any)[0].(obj)["digest"] = obj{"sha256": strings.Repeat("a", 64)} }), reason.ModelRootDigest},
		{"subject-sha512-only", edit(func(o obj) {
			o["subject"].([]any)[0].(obj)["digest"] = obj{"sha512": strings.Repeat("a", 128)}
		}), reason.SubjectUnusable},
		{"resources-reversed", edit(func(o obj) { // the same set under the old root digest
			r := pred(o)["resources"].([]any)
			r[0], r[1] = r[1], r[0]
		}), reason.ModelRootDigest},
		{"no-resources", edit(func(o obj) { pred(o)["resources"] = []any{} }), reason.ModelEmpty},
		{"no-resources-member", edit(func(o obj) { delete(pred(o), "resources") }), reason.ModelMalformed},
		{"no-predicate", edit(func(o obj) { delete(o, "predicate") }), reason.ModelMalformed},
		{"unknown-member", edit(func(o obj) { pred(o)["more"] = 1 }), reason.ModelMalformed},
		{"unknown-in-resource", edit(func(o obj) { res(o, 0)["size"] = 1 }), reason.ModelMalformed},
		{"unknown-in-serialization", edit(func(o obj) { ser(o)["more"] = 1 }), reason.ModelMalformed},
		{"member-in-capitals", payload(`"resources"`, `"Resources"`), reason.ModelMalformed},
		{"marker-as-member", payload(`"ignore_paths"`, `"?ignore_paths"`), reason.ModelMalformed},
		{"name-is-number", edit(func(o obj) { res(o, 0)["name"] = 1 }), reason.ModelMalformed},
		{"resources-are-object", edit(func(o obj) { pred(o)["resources"] = obj{} }), reason.ModelMalformed},
		{"algorithm-sha1", edit(func(o obj) { res(o, 0)["algorithm"] = "sha1" }), reason.ModelAlgorithm},
		{"algorithm", edit(func(o obj) { res(o, 0)["algorithm"] = "blake3" }), reason.ModelAlgorithm},
		{"hash-type", edit(func(o obj) { ser(o)["hash_type"] = "blake2b" }), reason.ModelAlgorithm},
		{"digest-short", edit(func(o obj) { res(o, 0)["digest"] = "aa" }), reason.ModelDigest},
		{"digest-upper", edit(func(o obj) { res(o, 0)["digest"] = strings.Repeat("A", 64) }), reason.ModelDigest},
		{"shards", edit(func(o obj) { ser(o)["method"], ser(o)["shard_size"] = "shards", 8.0 }), reason.ModelMethod},
		{"shard-size-with-files", edit(func(o obj) { ser(o)["shard_size"] = 8 }), reason.ModelMethod},
		{"no-method", edit(func(o obj) { delete(ser(o), "method") }), reason.ModelMalformed},
		{"allow-symlinks", edit(func(o obj) { ser(o)["allow_symlinks"] = true }), reason.ModelSymlinksAllowed},
		{"allow-symlinks-text", edit(func(o obj) { ser(o)["allow_symlinks"] = "false" }), reason.ModelMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := s.root()
			if tc.name == "hint-of-another" {
				root = root.With(other.key)
			}
			got, err := Verify(t.Context(), tc.sig(t), root, now, Options{Ref: ref(t, dir)})
			if e, ok := reason.Of(err); !ok || e.Code != tc.want {
				t.Errorf("%v, want %s", err, tc.want)
			}
			if !got.Artifact.Zero() || !got.Tree.Zero() || !got.Claim.Zero() {
				t.Error("a refusal comes with a result")
			}
		})
	}
}

// TestNames refuses names and ignored paths, each in an otherwise right and
// trusted signature over files that exist where they can.
func TestNames(t *testing.T) {
	s := newSigner(t, elliptic.P256())
	for _, tc := range []struct {
		names, ignore []string
		want          reason.Code
	}{
		{[]string{"../x"}, nil, reason.ModelName},
		{[]string{"a/../b"}, nil, reason.ModelName},
		{[]string{".."}, nil, reason.ModelName},
		{[]string{"/x"}, nil, reason.ModelName},
		{[]string{"a//b"}, nil, reason.ModelName},
		{[]string{"./a"}, nil, reason.ModelName},
		{[]string{"a/."}, nil, reason.ModelName},
		{[]string{"a/"}, nil, reason.ModelName},
		{[]string{""}, nil, reason.ModelName},
		{[]string{"a\x00b"}, nil, reason.ModelName},
		{[]string{`a\b`}, nil, reason.ModelName},
		{[]string{"a\uFFFD"}, nil, reason.ModelName},
		{[]string{strings.Repeat("a", 256)}, nil, reason.ModelName},
		{[]string{"a" + strings.Repeat("/a", 2100)}, nil, reason.ModelName},
		{[]string{"a", "a/b"}, nil, reason.ModelName},
		{[]string{"a/b/c", "a"}, nil, reason.ModelName},
		{[]string{"a", "a"}, nil, reason.ModelNameTwice},
		{[]string{"a", "A"}, nil, reason.ModelNameTwins},
		{[]string{"straße", "STRASSE"}, nil, reason.ModelNameTwins},
		{[]string{"\u00e9", "e\u0301"}, nil, reason.ModelNameTwins},
		{[]string{"a"}, []string{"."}, reason.ModelIgnorePath},
		{[]string{"a"}, []string{".."}, reason.ModelIgnorePath},
		{[]string{"a"}, []string{"/"}, reason.ModelIgnorePath},
		{[]string{"a"}, []string{""}, reason.ModelIgnorePath},
		{[]string{"a"}, []string{"b/"}, reason.ModelIgnorePath},
		{[]string{"a"}, []string{"a"}, reason.ModelIgnorePath},
		{[]string{"a/b"}, []string{"a"}, reason.ModelIgnorePath},
		{[]string{"a"}, []string{"*"}, reason.ModelFileUnsigned}, // no pattern: the other file shows
		{[]string{"a"}, []string{"oth"}, reason.ModelFileUnsigned},
		{[]string{"a", "ab", "other"}, nil, ""},
		{[]string{"a"}, []string{"other", "ab"}, ""},
	} {
		st := statement(map[string]string{}, tc.names...)
		ignore := []any{}
		for _, p := range tc.ignore {
			ignore = append(ignore, p)
		}
		st["predicate"].(obj)["serialization"].(obj)["ignore_paths"] = ignore
		dir := write(t, map[string]string{"a": "", "ab": "", "other": ""})
		_, err := Verify(t.Context(), s.sign(t, mustJSON(t, st)), s.root(), now, Options{Ref: ref(t, dir)})
		if e, ok := reason.Of(err); (tc.want == "") != (err == nil) || err != nil && (!ok || e.Code != tc.want) {
			t.Errorf("%.40q, %q: %v, want %q", tc.names, tc.ignore, err, tc.want)
		}
	}
}

// TestN36ModelFolder: one thing is done to a rightly signed folder: an extra file, a link
// out of it, a loop, a twin.
func TestN36ModelFolder(t *testing.T) {
	s := newSigner(t, elliptic.P521())
	sig := s.sign(t, mustJSON(t, statement(small, smallOrder...)))
	file := "/onnx/model.onnx"
	for _, tc := range []struct {
		name string
		do   func(dir string) error
		want reason.Code
	}{
		{"first-byte", func(d string) error { return os.WriteFile(d+file, []byte("Weights"), 0o644) }, reason.ModelDigestMismatch},
		{"last-byte", func(d string) error { return os.WriteFile(d+file, []byte("weightz"), 0o644) }, reason.ModelDigestMismatch},
		{"truncated", func(d string) error { return os.Truncate(d+file, 3) }, reason.ModelDigestMismatch},
		{"extended", func(d string) error { return os.Truncate(d+file, 8) }, reason.ModelDigestMismatch},
		{"empty-file-filled", func(d string) error { return os.WriteFile(d+"/żółw 漢.bin", []byte("x"), 0o644) }, reason.ModelDigestMismatch},
		{"missing", func(d string) error { return os.Remove(d + file) }, reason.ModelFileMissing},
		{"renamed", func(d string) error { return os.Rename(d+file, d+"/onnx/m.onnx") }, reason.ModelFileUnsigned},
		{"swapped", func(d string) error {
			return os.Rename(d+file, d+"/onnx-fp16/model.onnx")
		}, reason.ModelFileMissing},
		{"extra", func(d string) error { return os.WriteFile(d+"/pickle.bin", nil, 0o644) }, reason.ModelFileUnsigned},
		{"extra-deep", func(d string) error { return os.WriteFile(d+"/onnx/.git", nil, 0o644) }, reason.ModelFileUnsigned},
		{"extra-beside-ignored", func(d string) error { return os.WriteFile(d+"/notes2", nil, 0o644) }, reason.ModelFileUnsigned},
		{"folder-for-file", func(d string) error {
			return errorsOf(os.Remove(d+file), os.Mkdir(d+file, 0o755))
		}, reason.ModelFileMissing},
		{"file-for-folder", func(d string) error {
			return errorsOf(os.RemoveAll(d+"/onnx"), os.WriteFile(d+"/onnx", nil, 0o644))
		}, reason.ModelFileUnsigned},
		{"symlink", func(d string) error {
			return errorsOf(os.Rename(d+file, d+"/.git"), os.Symlink("../.git", d+file))
		}, reason.ModelSymlink},
		{"symlink-extra", func(d string) error { return os.Symlink("config.json", d+"/l") }, reason.ModelSymlink},
		{"symlink-folder", func(d string) error {
			return errorsOf(os.Rename(d+"/onnx", d+"/notes"), os.Symlink("notes", d+"/onnx"))
		}, reason.ModelSymlink},
		{"symlink-out", func(d string) error {
			return errorsOf(os.Remove(d+file), os.Symlink("/etc/passwd", d+file))
		}, reason.ModelSymlink},
		{"symlink-loop", func(d string) error { return os.Symlink("loop", d+"/loop") }, reason.ModelSymlink},
		{"hard-link", func(d string) error { return os.Link(d+file, d+"/.git") }, reason.ModelHardLink},
		{"fifo", func(d string) error { return unix.Mkfifo(d+"/p", 0o644) }, reason.ModelFileType},
		{"fifo-for-file", func(d string) error { return errorsOf(os.Remove(d+file), unix.Mkfifo(d+file, 0o644)) }, reason.ModelFileType},
		{"socket", func(d string) error {
			l, err := net.Listen("unix", d+"/s")
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			return err
		}, reason.ModelFileType},
		{"lfs-pointer", func(d string) error {
			return os.WriteFile(d+file, []byte("version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 7\n"), 0o644)
		}, reason.ModelPointer},
		{"sparse", func(d string) error { return os.Truncate(d+file, 2<<40) }, reason.ModelTooLarge},
		{"deep", func(d string) error { return os.MkdirAll(d+strings.Repeat("/d", 70), 0o755) }, reason.ModelTooLarge},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := write(t, small)
			if err := tc.do(dir); err != nil {
				t.Fatal(err)
			}
			_, err := Verify(t.Context(), sig, s.root(), now, Options{Ref: ref(t, dir)})
			if e, ok := reason.Of(err); !ok || e.Code != tc.want || e.What == "" {
				t.Errorf("%v, want %s", err, tc.want)
			}
		})
	}
}

// TestDevice needs the right to make one.
func TestDevice(t *testing.T) {
	s := newSigner(t, elliptic.P256())
	dir := write(t, small)
	if err := unix.Mknod(dir+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Skip("ZTLAUNCH_E2E: no right to make devices: ", err)
	}
	_, err := Verify(t.Context(), s.sign(t, mustJSON(t, statement(small, smallOrder...))), s.root(), now, Options{Ref: ref(t, dir)})
	if e, ok := reason.Of(err); !ok || e.Code != reason.ModelFileType {
		t.Errorf("%v", err)
	}
}

// TestN36ModelSwapped: signed files of a model are replaced between the look through
// its folder and the reading.
func TestN36ModelSwapped(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(dir string) error
		want reason.Code
	}{
		"symlink":        {func(d string) error { return errorsOf(os.Remove(d+"/a/w"), os.Symlink("/etc/passwd", d+"/a/w")) }, reason.ModelSymlink},
		"symlink-parent": {func(d string) error { return errorsOf(os.Rename(d+"/a", d+"/b"), os.Symlink("b", d+"/a")) }, reason.ModelSymlink},
		"fifo":           {func(d string) error { return errorsOf(os.Remove(d+"/a/w"), unix.Mkfifo(d+"/a/w", 0o644)) }, reason.ModelFileType},
		"gone":           {func(d string) error { return os.Remove(d + "/a/w") }, reason.ModelFileMissing},
		"hard-link":      {func(d string) error { return os.Link(d+"/a/w", d+"/x") }, reason.ModelHardLink},
		"directory":      {func(d string) error { return errorsOf(os.Remove(d+"/a/w"), os.Mkdir(d+"/a/w", 0o755)) }, reason.ModelFileType},
		"bytes":          {func(d string) error { return os.WriteFile(d+"/a/w", []byte("W"), 0o644) }, reason.ModelDigestMismatch},
	} {
		dir := write(t, map[string]string{"a/w": "w"})
		f, err := openFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		m := manifest{files: []listed{{"a/w", sum("w")}}}
		if err := f.compare(m, Options{}); err != nil {
			t.Fatal(err)
		}
		if err := tc.do(dir); err != nil {
			t.Fatal(err)
		}
		_, _, err = f.hash(t.Context(), m, Options{})
		if e, ok := reason.Of(err); !ok || e.Code != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
		f.dir.Close()
	}
}

// TestInside finds the signature file wherever the folder is reached from.
func TestInside(t *testing.T) {
	dir := write(t, map[string]string{"m/w": "w"})
	if err := os.Symlink("m", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	f := folder{path: dir + "/link"}
	for file, want := range map[string]string{
		dir + "/m/model.sig": "model.sig", dir + "/link/model.sig": "model.sig", dir + "/m/../link/x/../w.sig": "", "": "",
		dir + "/m.sig": "", dir + "/m/../m.sig": "", "/etc/passwd": "", dir + "/m/..sig": "..sig",
	} {
		if got := f.inside(file); got != want && !(strings.Contains(file, "/x/") && got == "w.sig") {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestParseStrict needs no envelope to refuse what could be read in two ways.
func TestParseStrict(t *testing.T) {
	file := `{"name":"a","algorithm":"sha256","digest":"` + strings.Repeat("a", 64) + `"}`
	ser := `"serialization":{"method":"files","hash_type":"sha256"}`
	good := `{"resources":[` + file + `],` + ser + `}`
	if _, err := parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		`{"resources":[` + file + `],` + ser + `,` + ser + `}`,
		strings.Replace(good, `"name":"a"`, `"name":"a","name":"b"`, 1),
		good + `{}`, good[:len(good)-1], `[]`, `null`, ``, strings.Replace(good, `"a"`, "\"\xff\"", 1),
	} {
		if _, err := parse([]byte(bad)); err == nil {
			t.Errorf("took %s", bad)
		}
	}
}

func FuzzPredicate(f *testing.F) {
	st := statement(small, smallOrder...)
	raw, err := json.Marshal(st["predicate"])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"resources":[{"name":"a","algorithm":"sha256","digest":"` + strings.Repeat("a", 64) + `"}],"serialization":{"method":"files","hash_type":"sha256"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parse(raw)
		if err != nil {
			return
		}
		for _, x := range m.files {
			if m.alone() == "" && badName(x.name) != "" || x.sum.Validate() != nil {
				t.Fatalf("took %+v", x)
			}
		}
		if !json.Valid(raw) {
			t.Fatal("took what is not JSON")
		}
	})
}
