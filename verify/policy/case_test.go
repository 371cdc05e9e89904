package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/ztlaunch/ztlaunch/sbom"
	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/tree"
	"github.com/ztlaunch/ztlaunch/verify/trust"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// actor is somebody with a key.
type actor struct {
	private verifytest.Key
	public  trust.Key
}

// cast are the actors of the cases, made once. Nothing of theirs belongs to one
// test; a key that cannot be made ends in a panic.
var cast = sync.OnceValue(func() map[string]actor {
	everybody := new(testing.T)
	out := map[string]actor{}
	for _, name := range []string{"release", "security", "other"} {
		k := verifytest.NewKey(everybody)
		p, err := trust.ParseKey(k.Public(everybody))
		if err != nil {
			panic(err)
		}
		out[name] = actor{k, p}
	}
	return out
})

// authority is a private authority of nobody's, made once.
var authority = sync.OnceValue(func() []byte { return verifytest.NewPrivate(new(testing.T), verifytest.PrivateConfig{}).PEM() })

// keyFile reads keys/NAME.pub of the cast; a copy has a name of its own. ca.pem
// is an authority.
func keyFile(name string) ([]byte, error) {
	if strings.HasSuffix(name, "/ca.pem") {
		return authority(), nil
	}
	base := strings.TrimSuffix(name[strings.LastIndexByte(name, '/')+1:], ".pub")
	if a, ok := cast()[strings.TrimSuffix(base, "-copy")]; ok {
		return a.public.PEM(), nil
	}
	if base == "broken" {
		return []byte("no key\n"), nil
	}
	return nil, os.ErrNotExist
}

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// sums of a case's artifact.
var (
	manifestSum = digest.FromString("manifest")
	indexSum    = digest.FromString("index")
	configSum   = digest.FromString("config")
	layerSum    = digest.FromString("layer")
	diffSum     = digest.FromString("diff")
	otherSum    = digest.FromString("other")
)

var namedSums = map[string]digest.Digest{"manifest": manifestSum, "index": indexSum, "config": configSum,
	"layer": layerSum, "diff": diffSum, "other": otherSum}

// types are the predicate types by the words that cases use.
var types = map[string]string{
	"sign": evidence.PredicateCosignSign, "slsa": evidence.PredicateSLSAProvenanceV1, "slsa02": "https://slsa.dev/provenance/v0.2",
	"spdx": evidence.PredicateSPDX, "cyclonedx": evidence.PredicateCycloneDX, "vulns": "https://in-toto.io/attestation/vulns/v0.2",
	"pin": PredicatePin, "test": "https://in-toto.io/attestation/test-result/v0.1", "model": evidence.PredicateModelSignature,
}

// scene is one case, ready to be decided.
type scene struct {
	archive *txtar.Archive
	policy  Policy
	perr    error
	in      Input
}

func part(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func loadScene(t testing.TB, file string) scene {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return newScene(t, a)
}

func newScene(t testing.TB, a *txtar.Archive) scene {
	t.Helper()
	s := scene{archive: a}
	raw := part(a, "policy.yaml")
	if at := strings.TrimSpace(part(a, "policy")); at != "" {
		b, err := os.ReadFile("testdata/" + at)
		if err != nil {
			t.Fatal(err)
		}
		raw = string(b)
	}
	s.policy, s.perr = Parse([]byte(expand(t, raw, nil)), "policy.yaml", keyFile)
	s.in = Input{Now: now, Purpose: Run}
	set := settings(t, part(a, "input"))
	s.artifact(t, set)
	files := s.tree(t, part(a, "tree"))
	root := trust.Root{}
	for _, who := range cast() {
		root = root.With(who.public)
	}
	s.in.Root = root.Digest()
	for _, line := range set["claim"] {
		s.claim(t, line, root, files, false)
	}
	for _, line := range set["legacy"] {
		s.claim(t, line, root, files, true)
	}
	for _, line := range set["unproved"] {
		f := strings.Fields(line)
		s.in.Unproved = append(s.in.Unproved, Unproved{Envelope: otherSum, Where: "referrers-api", Type: types[f[0]],
			Err: &reason.Error{Code: reason.Code(f[1]), What: "prove envelope"}})
	}
	for _, line := range set["layout"] {
		s.layout(t, line, root)
	}
	for _, line := range set["problem"] {
		s.in.Problems = append(s.in.Problems, &reason.Error{Code: reason.Code(line), What: "list referrers", Next: "try again later"})
	}
	for _, line := range set["feed"] {
		f := strings.Fields(line)
		serial, _ := strconv.ParseUint(f[0], 10, 64)
		until, err := time.Parse(time.DateOnly, f[1])
		if err != nil {
			t.Fatal(err)
		}
		s.in.Feed = Feed{Serial: serial, Until: until, Denied: map[digest.Digest]string{}}
		for _, w := range f[2:] {
			s.in.Feed.Denied[namedSums[w]] = "backdoor"
		}
	}
	s.feed(t, set, root)
	for _, line := range set["format"] {
		f := strings.Fields(line)
		if s.in.Formats == nil {
			s.in.Formats = map[string]string{}
		}
		s.in.Formats[f[0]] = f[1]
	}
	for _, p := range set["purpose"] {
		s.in.Purpose = Purpose(p)
	}
	return s
}

// feed reads the part deny.json, as release signed it or whom the input names, and
// believes it as the policy does; one that no policy names is believed as it is. A
// policy that names one and has none gets an empty one, signed by security.
func (s *scene) feed(t testing.TB, set map[string][]string, root trust.Root) {
	text := part(s.archive, "deny.json")
	by := append(set["feed-by"], "release")[0]
	switch {
	case s.perr != nil || text == "" && s.policy.DenyFeed() == "":
		return
	case text == "":
		text, by = `{"schema": "ztlaunch.deny/v1", "serial": 7, "issued": "2026-06-01T00:00:00Z", "until": "2026-07-01T00:00:00Z"}`, "security"
	}
	raw := []byte(expand(t, text, nil))
	var err error
	if s.policy.DenyFeed() == "" {
		s.in.Feed, err = ParseFeed(raw, "deny.json")
	} else {
		s.in.Feed, err = s.policy.Feed(raw, feedClaim(t, by, raw, root), now)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// feedClaim is what an actor's signature over a feed proves.
func feedClaim(t testing.TB, by string, raw []byte, root trust.Root) evidence.Claim {
	t.Helper()
	envelope, err := evidence.Parse(cast()[by].private.SignBlob(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	c, err := evidence.CheckBlob(envelope, root, raw, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// settings reads lines of "key: value".
func settings(t testing.TB, text string) map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			t.Fatalf("input line %q", line)
		}
		out[k] = append(out[k], v)
	}
	return out
}

func (s *scene) artifact(t testing.TB, set map[string][]string) {
	name := "registry.example/agents/coder:1.4"
	if len(set["name"]) > 0 {
		name = set["name"][0]
	}
	ref, err := artifact.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	pinned := artifact.Pinned{Ref: ref, Index: indexSum, Manifest: manifestSum, ConfigDigest: configSum,
		Platform: artifact.Platform{OS: "linux", Architecture: "amd64"},
		Layers:   []artifact.Layer{{Digest: layerSum, DiffID: diffSum, MediaType: ocispec.MediaTypeImageLayerGzip, Size: 10}}}
	pinned.Config.RootFS.DiffIDs = []digest.Digest{diffSum}
	for _, line := range set["label"] {
		name, value, _ := strings.Cut(line, " ")
		if pinned.Config.Config.Labels == nil {
			pinned.Config.Config.Labels = map[string]string{}
		}
		pinned.Config.Config.Labels[name] = value
	}
	pinned.Config.OS, pinned.Config.Architecture = "linux", "amd64"
	if len(set["kind"]) > 0 {
		switch set["kind"][0] {
		case "model":
			ref, _ = artifact.Parse("model:./small")
			pinned = artifact.Pinned{Ref: ref.Named(name), Manifest: manifestSum}
		case "mcp":
			pinned.Ref = ref.As(artifact.MCP)
		}
	}
	if len(set["as"]) > 0 {
		ref, _ = artifact.Parse("oci-layout:./layout")
		pinned.Ref = ref.Named(set["as"][0])
	}
	if s.in.Artifact, err = artifact.Pin(pinned); err != nil {
		t.Fatal(err)
	}
}

// tree reads lines of "MODE PATH CONTENT"; a mode of "link" is a symlink.
func (s *scene) tree(t testing.TB, text string) map[string]string {
	files := map[string]string{}
	var entries []tree.Entry
	if text == "" {
		text = "0755 usr/bin/agent program\n0644 etc/agent.conf settings\n"
	}
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if f[0] == "link" {
			entries = append(entries, tree.Entry{Path: f[1], Type: tree.Symlink, Mode: 0o777, Link: f[2]})
			continue
		}
		mode, err := strconv.ParseUint(f[0], 8, 32)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(f[2]))
		files[f[1]] = hex.EncodeToString(sum[:])
		entries = append(entries, tree.Entry{Path: f[1], Type: tree.File, Mode: uint32(mode), Size: int64(len(f[2])), Digest: digest.FromString(f[2])})
	}
	var err error
	if s.in.Tree, err = tree.FromFiles(entries); err != nil {
		t.Fatal(err)
	}
	return files
}

var placeholder = regexp.MustCompile(`\$\{([^}]*)\}`)

// expand puts sums into a text: ${manifest} a named one, ${/PATH} that of a file
// of the tree in hex, ${id NAME} the name of an actor's key.
func expand(t testing.TB, text string, files map[string]string) string {
	return placeholder.ReplaceAllStringFunc(text, func(m string) string {
		word := m[2 : len(m)-1]
		if d, ok := namedSums[word]; ok {
			return d.String()
		}
		if p, ok := strings.CutPrefix(word, "/"); ok && files[p] != "" {
			return files[p]
		}
		if content, ok := strings.CutPrefix(word, "sum "); ok {
			return digest.FromString(content).String()
		}
		if who, ok := strings.CutPrefix(word, "id "); ok {
			return cast()[who].public.ID()
		}
		if who, ok := cast()[word]; ok {
			return strings.TrimSuffix(strings.ReplaceAll(string(who.public.PEM()), "\n", "\\n"), "\\n")
		}
		t.Fatalf("unknown %s", m)
		return ""
	})
}

// claim makes and proves one: "SIGNER TYPE SUBJECT [FILE]", as a bundle or as
// cosign 2 keeps it.
func (s *scene) claim(t testing.TB, line string, root trust.Root, files map[string]string, legacy bool) {
	f := strings.Fields(line)
	predicate := "{}"
	if len(f) > 3 {
		if predicate = part(s.archive, f[3]); predicate == "" {
			b, err := os.ReadFile("testdata/" + f[3])
			if err != nil {
				t.Fatal(err)
			}
			predicate = string(b)
		}
	}
	predicateType, ok := types[f[1]]
	if !ok {
		predicateType = f[1]
	}
	who, subject := cast()[f[0]].private, namedSums[f[2]]
	var statement []byte
	if f[1] == "model" {
		statement = modelStatement(t, files, f[2] == "partial")
	} else {
		statement = verifytest.Statement(t, predicateType, json.RawMessage(expand(t, predicate, files)), subject.Encoded())
	}
	raw := who.Attest(t, statement)
	if legacy {
		raw = cosigned(t, who, f[1], subject, statement)
	}
	envelope, err := evidence.Parse(raw)
	if err != nil {
		t.Fatalf("claim %q: %v", line, err)
	}
	about := []digest.Digest{subject}
	if f[1] == "model" {
		for _, of := range envelope.Preview().Subjects {
			about = []digest.Digest{of.SHA256}
		}
	}
	c, err := evidence.Check(envelope, root, about, now)
	if err != nil {
		t.Fatalf("claim %q: %v", line, err)
	}
	s.in.Claims = append(s.in.Claims, c)
	if legacy {
		if s.in.Places == nil {
			s.in.Places = map[digest.Digest]string{}
		}
		s.in.Places[c.Envelope()] = "registry.example/agents/coder:sha256-" + f[2]
	}
}

// cosigned is what cosign 2 keeps.
func cosigned(t testing.TB, who verifytest.Key, kind string, subject digest.Digest, statement []byte) []byte {
	t.Helper()
	l := who.Attest2(t, subject, statement)
	if kind == "sign" {
		l = who.Sign2(t, subject, verifytest.Simple(t, subject, nil))
	}
	raw, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// modelStatement is an OpenSSF model signature's statement over the files, or
// over all but the weights.
func modelStatement(t testing.TB, files map[string]string, partial bool) []byte {
	var resources []any
	root := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if partial && name == "weights.bin" {
			continue
		}
		raw, err := hex.DecodeString(files[name])
		if err != nil {
			t.Fatal(err)
		}
		root.Write(raw)
		resources = append(resources, map[string]any{"name": name, "algorithm": "sha256", "digest": files[name]})
	}
	return verifytest.Statement(t, evidence.PredicateModelSignature, map[string]any{
		"serialization": map[string]any{"method": "files", "hash_type": "sha256", "allow_symlinks": false}, "resources": resources,
	}, hex.EncodeToString(root.Sum(nil)))
}

// show prints a decision for the golden part; keys, which differ from run to run,
// by their actors' names.
func show(d Decision) string {
	var b strings.Builder
	word := "denied"
	if d.Allowed() {
		word = "allowed"
	}
	fmt.Fprintf(&b, "%s, exit %d\n", word, d.Exit())
	for _, f := range d.Findings() {
		mark := "FAIL"
		if f.Pass {
			mark = "pass"
		} else if f.Skipped {
			mark = "skip"
		}
		fmt.Fprintf(&b, "%s %s:%d %s\n", mark, f.Rule, f.Line, f.What)
		for _, p := range []struct{ name, value string }{{"code", string(f.Code)}, {"expected", f.Expected}, {"found", f.Found}, {"next", f.Next}} {
			if p.value != "" {
				fmt.Fprintf(&b, "\t%s: %s\n", p.name, p.value)
			}
		}
		if len(f.Evidence) > 0 || len(f.Signers) > 0 {
			fmt.Fprintf(&b, "\tevidence: %d, signers: %s\n", len(f.Evidence), strings.Join(f.Signers, " "))
		}
	}
	if v := d.Vouched(); v.Files > 0 {
		fmt.Fprintf(&b, "vouched %s\n", v)
	}
	if yes, why := d.Adopted(); yes {
		fmt.Fprintf(&b, "adopted %q\n", why)
	}
	if !d.Until().IsZero() {
		fmt.Fprintf(&b, "until %s\n", stamp(d.Until()))
	}
	if d.Pin() != nil {
		fmt.Fprintf(&b, "pin %s\n", d.Pin())
	}
	return mask(b.String())
}

// mask replaces the cast's key names and the sums of a case by words.
func mask(s string) string {
	for name, a := range cast() {
		s = strings.ReplaceAll(s, a.public.ID(), "<"+name+">")
		s = strings.ReplaceAll(s, "own-"+strings.TrimPrefix(a.public.ID(), "sha256:")[:8], "own-<"+name+">")
		s = strings.ReplaceAll(s, strings.ReplaceAll(string(a.public.PEM()), "\n", "\\n"), "<"+name+" PEM>")
		s = strings.ReplaceAll(s, string(a.public.PEM()), "<"+name+" PEM>\n")
	}
	for name, sum := range namedSums {
		s = strings.ReplaceAll(s, sum.String(), "<"+name+">")
	}
	return madeAuthority.ReplaceAllString(s, "authority <made>") // anew in each run
}

var madeAuthority = regexp.MustCompile(`authority sha256:[0-9a-f]{64}`)

type (
	digestOf   = digest.Digest
	coverageOf = sbom.Coverage
)
