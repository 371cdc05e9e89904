package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ztlaunch/ztlaunch/verify"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/fetch"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// trustFlags say whom to believe: a policy file, or one exact signer for this
// one run in cosign's words.
type trustFlags struct {
	policy, key, identity, issuer, chain, root string
}

func (f *trustFlags) declare(fs *pflag.FlagSet) {
	fs.Var(once{&f.policy}, "policy", "policy file (default /etc/ztlaunch/policy.yaml, else the user's)")
	fs.Var(once{&f.key}, "key", "believe this public key, and nobody else, for this once")
	fs.Var(once{&f.identity}, "certificate-identity", "believe this certificate name, exactly, for this once")
	fs.Var(once{&f.issuer}, "certificate-oidc-issuer", "the issuer of --certificate-identity")
	fs.Var(once{&f.chain}, "certificate-chain", "or the PEM certificates of the private authority of --certificate-identity")
	fs.Var(once{&f.root}, "trusted-root", "trusted_root.json, for this once (default: the root in force, see ztlaunch trust show)")
}

// trustRoot is the Sigstore root of this run, without keys. It opens no socket.
func (f *trustFlags) trustRoot(w world) (trust.Root, error) {
	if f.root == "" {
		in, err := w.dirs().rootInForce()
		return in.root, err
	}
	in, _, err := namedRoot(f.root)
	return in.root, err
}

// load finds the policy for some references. Only files that the operator named, the host's and the
// user's count: never one in the working folder.
func (f *trustFlags) load(w world, refs ...artifact.Reference) (policy.Policy, trust.Root, error) {
	p, err := f.find(w, refs)
	if err != nil {
		return policy.Policy{}, trust.Root{}, err
	}
	root, err := f.rootFor(w, p)
	if err != nil {
		return policy.Policy{}, trust.Root{}, err
	}
	return p, root, nil
}

// rootFor is whom a policy needs to believe.
func (f *trustFlags) rootFor(w world, p policy.Policy) (trust.Root, error) {
	root := trust.Root{}
	if p.Keyless() || f.root != "" {
		var err error
		if root, err = f.trustRoot(w); err != nil {
			return trust.Root{}, err
		}
	}
	return root.With(p.Keys()...).WithAuthorities(p.Authorities()...), nil
}

func (f *trustFlags) find(w world, refs []artifact.Reference) (policy.Policy, error) {
	switch {
	case f.key != "" && (f.identity != "" || f.policy != ""), f.policy != "" && f.identity != "":
		return policy.Policy{}, wrong("read the flags", "one of --policy, --key and --certificate-identity", "drop the others")
	case (f.identity == "") != (f.issuer == "" && f.chain == "") || f.issuer != "" && f.chain != "":
		return policy.Policy{}, wrong("read the flags", "--certificate-identity together with --certificate-oidc-issuer or --certificate-chain", "give it and one of them")
	case f.key != "":
		key, err := readKey(f.key)
		if err != nil {
			return policy.Policy{}, err
		}
		return policy.OneRun(policy.Signer{Key: key}, refs...)
	case f.chain != "":
		raw, err := readCapped(f.chain, trust.MaxAuthoritySize)
		if err != nil {
			return policy.Policy{}, err
		}
		authority, err := trust.ParseAuthority(raw)
		if err != nil {
			return policy.Policy{}, err
		}
		return policy.OneRun(policy.Signer{Authority: authority, SAN: f.identity}, refs...)
	case f.identity != "":
		return policy.OneRun(policy.Signer{Issuer: f.issuer, SAN: f.identity}, refs...)
	case f.policy != "":
		return readPolicy(f.policy)
	}
	places := w.policies()
	for _, file := range places {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return readPolicy(file)
	}
	return policy.Policy{}, &reason.Error{Code: reason.PolicyAbsent, What: "find a policy",
		Expected: "--policy FILE, " + places[0] + cmp.Or(orElse(places), ""), Found: "none", Next: nextPolicy(refs)}
}

// words are the flags that were typed, as they are typed again.
func (f *trustFlags) words() string {
	words := ""
	for _, flag := range [][2]string{{"--policy", f.policy}, {"--key", f.key}, {"--certificate-identity", f.identity}, {"--certificate-oidc-issuer", f.issuer},
		{"--certificate-chain", f.chain}, {"--trusted-root", f.root}} {
		if flag[1] != "" {
			words += " " + flag[0] + " " + reason.Word(flag[1])
		}
	}
	return words
}

// believed is whom the flags name in place of a policy file, for the record.
func (f *trustFlags) believed() string {
	switch {
	case f.key != "":
		if k, err := readKey(f.key); err == nil {
			return "for this once: key " + k.ID()
		}
	case f.identity != "":
		return "for this once: " + f.identity + " of " + cmp.Or(f.issuer, "the authority in "+f.chain)
	}
	return ""
}

// policies are where a policy is looked for; the first that is there counts.
func (w world) policies() []string {
	if w.root != "" {
		return []string{w.dirs().policy()}
	}
	return []string{hostPolicy(w), w.dirs().policy()}
}

// nextPolicy is how a first policy comes to be.
func nextPolicy(refs []artifact.Reference) string {
	if len(refs) == 0 {
		return "ztlaunch help policy"
	}
	word := reason.Word(refs[0].String())
	unsigned := "ztlaunch sign --key KEY " + word
	if refs[0].Kind() == artifact.Image {
		unsigned = "ztlaunch adopt " + word + " --as NAME"
	}
	return policy.Proposal(refs[0], "") + " shows who signed it (with --key KEY.pub, if it is signed by a key), and --write believes them; if nobody signed it: " + unsigned
}

func orElse(places []string) string {
	if len(places) < 2 {
		return ""
	}
	return " or " + places[1]
}

// readPolicy reads a policy file and the key and certificate files that it names.
func readPolicy(file string) (policy.Policy, error) {
	raw, err := readCapped(file, 1<<20)
	if err != nil {
		return policy.Policy{}, err
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return policy.Policy{}, &reason.Error{Code: reason.FileUnreadable, What: "find " + file, Err: err}
	}
	return policy.Parse(raw, abs, func(name string) ([]byte, error) { return readCapped(name, trust.MaxAuthoritySize) })
}

// readKey reads a public key file.
func readKey(file string) (trust.Key, error) {
	raw, err := readCapped(file, trust.MaxKeySize)
	if err != nil {
		return trust.Key{}, err
	}
	k, err := trust.ParseKey(raw)
	if e, ok := reason.Of(err); ok && e.Code == reason.TrustKeyMalformed && e.Next == "" {
		e.Next = otherHalf(file, ".key", ".pub")
	}
	return k, err
}

// fetchFlags say where bytes come from.
type fetchFlags struct {
	pull, platform, ca string
	mirrors, evidence  []string
}

func (f *fetchFlags) declare(fs *pflag.FlagSet) {
	fs.StringVar(&f.pull, "pull", "missing", "missing, always or never")
	fs.StringVar(&f.platform, "platform", "", "os/arch[/variant] of an image for several")
	f.reach(fs)
	fs.StringArrayVar(&f.evidence, "evidence", nil, "a detached Sigstore bundle file")
}

// reach declares how registries are reached, for verbs that take an image as it is.
func (f *fetchFlags) reach(fs *pflag.FlagSet) {
	fs.StringVar(&f.ca, "registry-ca", "", "PEM certificates to trust for registries, besides the system's")
	fs.StringArrayVar(&f.mirrors, "registry-mirror", nil, "REGISTRY=MIRROR: where to ask instead")
}

// options opens the store and says how to fetch.
func (f *fetchFlags) options(w world) (fetch.Options, error) {
	o := fetch.Options{CAFile: f.ca, Evidence: f.evidence, Mirrors: map[string]string{}, Now: w.now()}
	for _, name := range f.evidence {
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return o, &reason.Error{Code: reason.FileUnreadable, What: "read evidence " + name, Expected: "a Sigstore bundle", Err: err}
		}
	}
	var ok bool
	if o.Pull, ok = fetch.ParsePull(cmp.Or(f.pull, "missing")); !ok {
		return o, wrong("read --pull "+f.pull, "missing, always or never", "")
	}
	o.Platform = artifact.Platform{OS: "linux", Architecture: runtime.GOARCH}
	var err error
	if f.platform != "" {
		if o.Platform, err = artifact.ParsePlatform(f.platform); err != nil {
			return o, err
		}
	}
	for _, m := range f.mirrors {
		from, to, ok := strings.Cut(m, "=")
		if !ok {
			return o, wrong("read --registry-mirror "+m, "REGISTRY=MIRROR", "")
		}
		o.Mirrors[from] = to
	}
	home, _ := w.env("HOME")
	o.AuthFiles = fetch.AuthFiles(func(name string) string { v, _ := w.env(name); return v }, home)
	o.Proxy = fetch.Proxy
	o.Store, err = content.Open(w.dirs().store())
	return o, err
}

// inputs are everything that a decision about some references depends on.
func (w world) inputs(t *trustFlags, f *fetchFlags, purpose policy.Purpose, refs ...artifact.Reference) (verify.Inputs, error) {
	p, root, err := t.load(w, refs...)
	if err != nil {
		return verify.Inputs{}, err
	}
	o, err := f.options(w)
	if err != nil {
		return verify.Inputs{}, err
	}
	feed, err := w.denyFeed(p, root)
	if err != nil {
		return verify.Inputs{}, err
	}
	return verify.Inputs{Fetch: o, Policy: p, Feed: feed, Root: root, Now: w.now(), Purpose: purpose}, nil
}
