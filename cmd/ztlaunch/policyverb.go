package main

import (
	"context"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/launch/audit"
	"github.com/ztlaunch/ztlaunch/verify"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// policyVerb writes policy files; policylint.go reads, explains and tests them.
func policyVerb(ctx context.Context, w world, args []string) int {
	if len(args) > 0 {
		switch args[0] {
		case "init":
			return policyInit(ctx, w, args[1:])
		case "check":
			return policyCheck(w, args[1:])
		case "explain":
			return policyExplain(w, args[1:])
		case "test":
			return policyTest(w, args[1:])
		case "schema":
			return policySchema(w, args[1:])
		}
	}
	fs := newFlags("policy", true)
	if err := w.parse(fs, "init REF | check FILE... | explain PLACE|REF | test DIR | schema   (each has --help)", args); err != nil {
		return w.parsed("policy", err)
	}
	return w.fail("policy", strange("policy", fs.Args(), "init", "check", "explain", "test", "schema"))
}

// policyInit proves who signed an image, a model or a server and writes the policy that says so.
func policyInit(ctx context.Context, w world, args []string) int {
	fs := newFlags("policy init", true)
	var from fetchFlags
	var t trustFlags
	key := fs.String("key", "", "prove the signature with this public key (default: keyless, by the trusted root)")
	fs.StringVar(&t.root, "trusted-root", "", "trusted_root.json, for this once (default: the root in force, see ztlaunch trust show)")
	choice := fs.Int("identity", 0, "which signer, where there are several")
	as := fs.String("as", "", "the name that the policy's rule matches")
	fs.StringVar(as, "name", "", "the same as --as")
	kind := fs.String("kind", "image", "image or server: by which rules an image is judged")
	write := fs.Bool("write", false, "make it this user's policy, if there is none yet (default: print it)")
	from.declare(fs)
	if err := w.parse(fs, "[flags] REF | model:DIR", args); err != nil {
		return w.parsed("policy", err)
	}
	if fs.NArg() != 1 {
		return w.fail("policy", wrong("read the command", "one reference", ""))
	}
	ref, err := kindRef(fs.Arg(0), *as, *kind)
	if err != nil {
		return w.fail("policy", err)
	}
	var keys []trust.Key
	root := trust.Root{}
	if *key != "" {
		k, err := readKey(*key)
		if err != nil {
			return w.fail("policy", err)
		}
		keys = append(keys, k)
	} else if root, err = t.trustRoot(w); err != nil {
		return w.fail("policy", err)
	}
	o, err := from.options(w)
	if err != nil {
		return w.fail("policy", err)
	}
	input, err := verify.Gather(ctx, ref, verify.Inputs{Fetch: o, Root: root.With(keys...), Now: w.now(), Purpose: policy.Run})
	if err != nil {
		return w.fail("policy", err)
	}
	text, err := policy.Init(input, keys, *choice)
	if err != nil {
		return w.fail("policy", err)
	}
	var signers []string
	for _, s := range policy.Signers(input) {
		fmt.Fprintf(w.err, "signed by %s\n", clean(s.String()))
		signers = append(signers, s.String())
	}
	drafted := struct {
		header
		Signers []string `json:"signers"`
		Policy  string   `json:"policy"`
		File    string   `json:"file,omitempty"`
	}{header{"ztlaunch.policy-draft/v1", 0}, signers, string(text), ""}
	if !*write {
		return w.done("policy", drafted, string(text))
	}
	if drafted.File, err = w.firstPolicy(text, input.Artifact, signers); err != nil {
		return w.fail("policy", err)
	}
	fmt.Fprintf(w.err, "wrote %s\n", drafted.File)
	return w.done("policy", drafted, "")
}

// firstPolicy writes the user's policy, and never over one that is there or that
// counts before it. The record comes first: nothing is believed that was not written
// down.
func (w world) firstPolicy(text []byte, a artifact.Artifact, signers []string) (string, error) {
	d := w.dirs()
	for _, file := range w.policies() {
		if _, err := os.Lstat(file); err == nil {
			return "", &reason.Error{Code: reason.PolicyPresent, What: "write " + d.policy(), Expected: "no policy yet", Found: file,
				Next: "run it again without --write, and add to that file what it prints"}
		}
	}
	log, err := audit.Open(d.audit(), d.trust(), w.now())
	if err != nil {
		return "", err
	}
	defer func() { _ = log.Close() }() // every record was synced when it was written
	if err := os.MkdirAll(d.Config, 0o700); err != nil {
		return "", &reason.Error{Code: reason.FileUnwritable, What: "make the folder " + d.Config, Err: err}
	}
	if err := log.Append(audit.Record{Time: w.now(), Kind: audit.Policy, Actor: actor(), Verb: "policy", Path: d.policy(),
		Policy: digest.FromBytes(text), Parts: []audit.Part{{Role: a.Kind().String(), Name: a.Ref().Name(), Signers: signers}}}); err != nil {
		return "", err
	}
	return d.policy(), writeNew(d.policy(), text, 0o600)
}
