package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/launch/audit"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/sign"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// adoptVerb vouches for one exact digest with the operator's own key: the bytes
// go into the store, an SBOM is made, both are signed, and the user's policy
// gets one rule for exactly that name, digest and key.
func adoptVerb(ctx context.Context, w world, args []string) int {
	fs := newFlags("adopt", true)
	var from fetchFlags
	as := fs.String("as", "", "the name that you will run it by")
	why := fs.String("reason", "", "why, for the record")
	expires := fs.String("expires", "", "stop believing it after, for example, 30d")
	from.declare(fs)
	if err := w.parse(fs, "SRC --as NAME [--reason TEXT] [--expires 30d]", args); err != nil {
		return w.parsed("adopt", err)
	}
	if fs.NArg() != 1 || *as == "" {
		src, name := "oci-layout:./DIR", reason.Word(cmp.Or(*as, "agent:1"))
		if fs.NArg() > 0 {
			src = reason.Word(fs.Arg(0))
		}
		return w.fail("adopt", wrong("read the command", "ztlaunch adopt SRC --as NAME", "ztlaunch adopt "+src+" --as "+name))
	}
	a := adoption{w: w, why: *why}
	made, err := a.run(ctx, fs.Arg(0), *as, *expires, &from)
	if err != nil {
		return w.fail("adopt", err)
	}
	return w.done("adopt", made, fmt.Sprintf("adopted  %s\ndigest   %s\nkey      %s (%s)\npolicy   %s\nnext     ztlaunch run %s\n",
		made.Name, made.Digest, made.Key, made.KeyFile, made.Policy, *as))
}

// adoption is one adopt under way.
type adoption struct {
	w   world
	why string
}

// adopted is the JSON of an adoption.
type adopted struct {
	header
	Name    string        `json:"name"`
	Digest  digest.Digest `json:"digest"`
	Key     string        `json:"key"`
	KeyFile string        `json:"keyFile"`
	Policy  string        `json:"policy"`
}

func (a adoption) run(ctx context.Context, src, as, expires string, from *fetchFlags) (adopted, error) {
	d := a.w.dirs()
	source, err := parseRef(src, "")
	if err != nil {
		return adopted{}, err
	}
	name, err := artifact.Parse(as)
	if err != nil {
		return adopted{}, err
	}
	if source.Kind() != artifact.Image || !lockable(name) || name.Digest() != "" {
		return adopted{}, wrong("adopt "+src, "an image, and an image name with a tag after --as", "ztlaunch adopt oci-layout:DIR --as agent:1")
	}
	var until time.Time
	if expires != "" {
		span, err := days(expires)
		if err != nil {
			return adopted{}, err
		}
		until = a.w.now().Add(span).UTC().Truncate(time.Second)
	}
	log, err := audit.Open(d.audit(), d.trust(), a.w.now())
	if err != nil {
		return adopted{}, err
	}
	defer func() { _ = log.Close() }() // every record was synced when it was written
	o, err := from.options(a.w)
	if err != nil {
		return adopted{}, err
	}
	found, err := fetch.Resolve(ctx, source, o)
	if err != nil {
		return adopted{}, err
	}
	var key sign.Key
	var public trust.Key
	if err := locking(d, func() (err error) { // two first users make one key
		key, public, err = ownKey(d)
		return err
	}); err != nil {
		return adopted{}, err
	}
	evidence, err := a.vouch(ctx, source, found, key, name, o)
	if err != nil {
		return adopted{}, err
	}
	rule := policy.Adoption{Kind: artifact.Image, Name: name.Name(), Digest: found.Root.Digest, Key: public, SBOM: true, Reason: a.why, Until: until}
	if err := locking(d, func() error { return a.believe(d, rule, name, found, evidence, o, log) }); err != nil {
		return adopted{}, err
	}
	return adopted{header{"ztlaunch.adopted/v1", 0}, name.String(), found.Root.Digest, public.ID(), d.adoptKey(), d.policy()}, nil
}

// believe adds the rule to the user's policy as it is now. Call it in locking.
func (a adoption) believe(d dirs, rule policy.Adoption, name artifact.Reference, found fetch.Result, evidence []fetch.Attachment, o fetch.Options, log *audit.Log) error {
	text, err := a.policy(d, rule)
	if err != nil {
		return err
	}
	if err := fetch.Keep(o, name, found, evidence...); err != nil {
		return err
	}
	// The record comes before the rule: nothing is believed that was not written down.
	if err := log.Append(audit.Record{Time: a.w.now(), Kind: audit.Adopt, Actor: actor(), Verb: "adopt", Note: a.why,
		Parts: []audit.Part{{Role: "image", Name: rule.Name, Digest: rule.Digest, Signers: []string{rule.Key.ID()},
			Evidence: []digest.Digest{evidence[0].Digest, evidence[1].Digest}}}}); err != nil {
		return err
	}
	if err := replaceFile(d.policy(), text, 0o600); err != nil {
		return err
	}
	// The name now means these bytes: whoever vouches again means the new ones.
	return errors.Join(forget(d, name), forget(d, name.As(artifact.MCP)))
}

// vouch signs the image, and an SBOM made from its bytes.
func (a adoption) vouch(ctx context.Context, source artifact.Reference, found fetch.Result, key sign.Key, name artifact.Reference, o fetch.Options) ([]fetch.Attachment, error) {
	signature, err := sign.Image(key, found.Root.Digest, name.Name())
	if err != nil {
		return nil, err
	}
	bill, err := a.w.describe(ctx, source, found.Manifest.Digest, "spdx-json", o)
	if err != nil {
		return nil, err
	}
	statement, err := sign.Statement(evidence.PredicateSPDX, bill, name.Name(), found.Manifest.Digest)
	if err != nil {
		return nil, err
	}
	billed, err := sign.Sign(key, statement)
	if err != nil {
		return nil, err
	}
	var all []fetch.Attachment
	for _, raw := range [][]byte{signature, billed} {
		if _, err := evidence.Parse(raw); err != nil {
			return nil, err
		}
		all = append(all, fetch.Attachment{Where: fetch.Stored, From: "adopt", Subject: found.Root.Digest,
			Digest: digest.FromBytes(raw), MediaType: evidence.MediaType, ArtifactType: evidence.MediaType, Raw: raw})
	}
	return all, nil
}

// policy is the user's policy with the rule added.
func (a adoption) policy(d dirs, rule policy.Adoption) ([]byte, error) {
	existing, err := os.ReadFile(d.policy())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &reason.Error{Code: reason.FileUnreadable, What: "read " + d.policy(), Err: err}
	}
	return policy.Adopt(existing, d.policy(), func(name string) ([]byte, error) { return readCapped(name, trust.MaxKeySize) }, rule)
}

// ownKey is the operator's own key, made on first use. It has no passphrase:
// who can read the file is who may adopt.
func ownKey(d dirs) (sign.Key, trust.Key, error) {
	raw, err := os.ReadFile(d.adoptKey())
	if errors.Is(err, fs.ErrNotExist) {
		pair, err := sign.Generate(nil)
		if err != nil {
			return sign.Key{}, trust.Key{}, err
		}
		if err := os.MkdirAll(d.Config, 0o700); err != nil {
			return sign.Key{}, trust.Key{}, &reason.Error{Code: reason.FileUnwritable, What: "make the folder " + d.Config, Err: err}
		}
		if err := writeNew(d.adoptKey(), pair.Private, 0o600); err != nil {
			return sign.Key{}, trust.Key{}, err
		}
		raw = pair.Private
	} else if err != nil {
		return sign.Key{}, trust.Key{}, &reason.Error{Code: reason.FileUnreadable, What: "read " + d.adoptKey(), Err: err}
	}
	key, err := sign.Load(raw, nil)
	if err != nil {
		return sign.Key{}, trust.Key{}, err
	}
	public, err := trust.ParseKey(key.Public())
	return key, public, err
}

// days reads 30d, 12h and the like.
func days(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		if d, err := strconv.Atoi(n); err == nil && d > 0 && d <= 3650 {
			return time.Duration(d) * 24 * time.Hour, nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return d, nil
	}
	return 0, wrong("read --expires "+s, "a time span such as 30d or 12h", "--expires 30d")
}

// actor says who runs ztlaunch.
func actor() string { return "uid " + strconv.Itoa(caller()) }
