package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/sign"
)

// signUsage shows what a deny feed is.
const signUsage = `--key FILE REF | model:DIR | deny:FILE

A deny feed is a JSON file; each list may be missing, and since spares what was proved to be signed before:

  {"schema": "ztlaunch.deny/v1", "serial": 1, "issued": "2026-06-01T00:00:00Z", "until": "2026-07-01T00:00:00Z",
   "digests":      [{"digest": "sha256:HEX", "reason": "CVE-2026-1"}],
   "signers":      [{"key": "sha256:HEX", "reason": "stolen"}, {"issuer": "URL", "san": "NAME", "since": "TIME", "reason": "left"},
                    {"authority": "sha256:HEX", "san": "NAME", "reason": "left"}],
   "certificates": [{"sha256": "HEX", "reason": "stolen"}],
   "logs":         [{"id": "HEX", "since": "TIME", "reason": "forked"}]}`

// signVerb signs an image, a model folder, or a deny feed.
func signVerb(ctx context.Context, w world, args []string) int {
	fs := newFlags("sign", true)
	var from fetchFlags
	key := fs.String("key", "", "private key file in cosign's format")
	passfile := fs.String("passphrase-file", "", "read the passphrase from a file (default: COSIGN_PASSWORD)")
	ignore := fs.StringArray("ignore-path", nil, "of a model: a path that is not part of it")
	fs.StringVar(&from.platform, "platform", "", "os/arch[/variant] that an image for several must have; it is signed whole")
	from.reach(fs)
	if err := w.parse(fs, signUsage, args); err != nil {
		return w.parsed("sign", err)
	}
	if file, ok, err := feedWord(fs.Args()); err != nil {
		return w.fail("sign", err)
	} else if ok {
		return w.signFeed(file, *key, *passfile)
	}
	k, ref, err := w.signer(fs.Args(), *key, *passfile)
	if err != nil {
		return w.fail("sign", err)
	}
	if ref.Kind() == artifact.Model {
		return w.signModel(ctx, k, ref, *ignore)
	}
	if len(*ignore) > 0 {
		return w.fail("sign", wrong("read --ignore-path", "model:DIR, which may have paths that are not part of it", ""))
	}
	return w.attach(ctx, "sign", &from, ref, evidence.PredicateCosignSign, func(subject ocispec.Descriptor) ([]byte, error) {
		return sign.Image(k, subject.Digest, ref.Name())
	})
}

// attestVerb signs a statement about an image or a model.
func attestVerb(ctx context.Context, w world, args []string) int {
	fs := newFlags("attest", true)
	var from fetchFlags
	key := fs.String("key", "", "private key file in cosign's format")
	passfile := fs.String("passphrase-file", "", "read the passphrase from a file (default: COSIGN_PASSWORD)")
	kind := fs.String("type", "", "slsaprovenance1, slsaprovenance02 or slsaprovenance, spdxjson or spdx, cyclonedx, vuln, openvex, link, custom, or a URI")
	predicate := fs.String("predicate", "", "the file that holds the predicate")
	fs.StringVar(&from.platform, "platform", "", "os/arch[/variant] that an image for several must have; it is signed whole")
	from.reach(fs)
	if err := w.parse(fs, "--key FILE --type T --predicate FILE REF | model:DIR", args); err != nil {
		return w.parsed("attest", err)
	}
	k, ref, err := w.signer(fs.Args(), *key, *passfile)
	if err != nil {
		return w.fail("attest", err)
	}
	if *kind == "" || *predicate == "" {
		return w.fail("attest", wrong("read the flags", "--type and --predicate", "ztlaunch attest --help"))
	}
	uri, err := sign.PredicateType(*kind)
	if err != nil {
		return w.fail("attest", err)
	}
	raw, err := readCapped(*predicate, evidence.MaxSize/2)
	if err != nil {
		return w.fail("attest", err)
	}
	if !json.Valid(raw) {
		return w.fail("attest", &reason.Error{Code: reason.FileUnreadable, What: "read the predicate " + *predicate,
			Expected: "JSON", Found: "something else", Next: "--predicate FILE, with a JSON value as the type needs it"})
	}
	if err := policy.WellFormed(uri, raw); err != nil {
		return w.fail("attest", &reason.Error{Code: reason.SignPredicate, What: "read the predicate " + *predicate,
			Expected: "a predicate of type " + uri, Found: why(err), Next: "write the members that the type needs, or name the type that it is: --type T"})
	}
	if ref.Kind() == artifact.Model {
		return w.attestModel(ctx, k, ref, uri, raw)
	}
	return w.attach(ctx, "attest", &from, ref, uri, func(subject ocispec.Descriptor) ([]byte, error) {
		statement, err := sign.Statement(uri, raw, ref.Name(), subject.Digest)
		if err != nil {
			return nil, err
		}
		return sign.Sign(k, statement)
	})
}

// why is what was found, without the act that a refusal names too.
func why(err error) string {
	if e, ok := reason.Of(err); ok {
		return string(e.Code) + " " + found(e)
	}
	return err.Error()
}

// signer opens the key and reads the one reference.
func (w world) signer(args []string, key, passfile string) (sign.Key, artifact.Reference, error) {
	if len(args) != 1 {
		return sign.Key{}, artifact.Reference{}, wrong("read the command", "one reference", "")
	}
	ref, err := parseRef(args[0], "")
	if err != nil {
		return sign.Key{}, artifact.Reference{}, err
	}
	k, err := w.privateKey(key, passfile)
	return k, ref, err
}

// attach signs what the reference leads to, an index where there is one, and
// attaches the result.
func (w world) attach(ctx context.Context, verb string, from *fetchFlags, ref artifact.Reference, predicateType string,
	signed func(subject ocispec.Descriptor) ([]byte, error)) int {
	o, err := from.options(w)
	if err != nil {
		return w.fail(verb, err)
	}
	o.Pull = fetch.Always // what the tag is now, not what it was
	found, err := fetch.Discover(ctx, ref, o)
	if err != nil {
		return w.fail(verb, err)
	}
	bundle, err := signed(found.Root)
	if err != nil {
		return w.fail(verb, err)
	}
	if _, err := evidence.Parse(bundle); err != nil { // what we write, we must be able to read
		return w.fail(verb, err)
	}
	if _, err := fetch.Attach(ctx, ref, found.Root, bundle, predicateType, o); err != nil {
		return w.fail(verb, err)
	}
	fmt.Fprintf(w.err, "attached %s to %s@%s\n", predicateType, ref.Name(), found.Root.Digest)
	return w.done(verb, struct {
		header
		Name      string        `json:"name"`
		Subject   digest.Digest `json:"subject"`
		Predicate string        `json:"predicate"`
		Envelope  digest.Digest `json:"envelope"`
	}{header{"ztlaunch.attached/v1", 0}, ref.Name(), found.Root.Digest, predicateType, digest.FromBytes(bundle)}, "")
}

// feedWord is FILE of deny:FILE. As for every scheme it takes a path: deny:latest is
// an image, and what may be either is refused.
func feedWord(args []string) (file string, ok bool, err error) {
	if len(args) != 1 {
		return "", false, nil
	}
	file, ok = strings.CutPrefix(args[0], "deny:")
	if !ok || strings.HasPrefix(file, "/") || strings.HasPrefix(file, "./") || strings.HasPrefix(file, "../") {
		return file, ok, nil
	}
	if _, bad := os.Lstat(file); bad == nil {
		return "", false, unclear(args[0], "deny", file, "docker.io/library/"+args[0])
	}
	return "", false, nil
}

// signFeed writes FILE.sigstore.json, in place of the signature of an older feed.
func (w world) signFeed(file, key, passfile string) int {
	k, err := w.privateKey(key, passfile)
	if err != nil {
		return w.fail("sign", err)
	}
	raw, err := readCapped(file, policy.MaxFeedSize)
	if err != nil {
		return w.fail("sign", err)
	}
	feed, err := policy.ParseFeed(raw, file) // what is signed must be what a policy can believe
	if e, ok := reason.Of(err); ok {
		err = &reason.Error{Code: reason.SignDenyFeed, What: e.What, Expected: e.Expected, Found: found(e), Next: "write it as ztlaunch help sign shows it"}
	}
	if err != nil {
		return w.fail("sign", err)
	}
	bundle, err := sign.Blob(k, raw)
	if err != nil {
		return w.fail("sign", err)
	}
	if err := replaceFile(signatureOf(file), bundle, 0o644); err != nil {
		return w.fail("sign", err)
	}
	fmt.Fprintf(w.err, "wrote %s, for deny feed %d until %s\n", signatureOf(file), feed.Serial, feed.Until.Format(time.RFC3339))
	return w.done("sign", struct {
		header
		Signature string `json:"signature"`
		Serial    uint64 `json:"serial"`
	}{header{"ztlaunch.signed/v1", 0}, signatureOf(file), feed.Serial}, "")
}
