package verifytest

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Repository is a TUF repository in memory, with keys of its own. Its four roles
// are there to be changed; Put signs one and gives it out under its version.
type Repository struct {
	Root      *metadata.Metadata[metadata.RootType]
	Timestamp *metadata.Metadata[metadata.TimestampType]
	Snapshot  *metadata.Metadata[metadata.SnapshotType]
	Targets   *metadata.Metadata[metadata.TargetsType]
	Files     map[string][]byte // what it serves, by path
	signers   map[string][]signature.Signer
	until     time.Time
}

// NewRepository starts a repository whose metadata, all of version 1, is valid
// until then, with one target.
func NewRepository(t testing.TB, until time.Time, target []byte) *Repository {
	t.Helper()
	r := &Repository{Root: metadata.Root(until), Timestamp: metadata.Timestamp(until), Snapshot: metadata.Snapshot(until),
		Targets: metadata.Targets(until), Files: map[string][]byte{}, signers: map[string][]signature.Signer{}, until: until}
	r.Root.Signed.ConsistentSnapshot = true
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		r.key(t, role)
	}
	r.Offer(t, target)
	for _, role := range []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
		r.Put(t, role)
	}
	return r
}

// key gives a role one more key.
func (r *Repository) key(t testing.TB, role string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := metadata.KeyFromPublicKey(public)
	if err == nil {
		err = r.Root.Signed.AddKey(k, role)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := signature.LoadSigner(private, crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	r.signers[role] = append(r.signers[role], s)
}

// Offer makes target the target, in what Targets says and among the files.
func (r *Repository) Offer(t testing.TB, target []byte) {
	t.Helper()
	info, err := metadata.TargetFile().FromBytes("trusted_root.json", target, "sha256")
	if err != nil {
		t.Fatal(err)
	}
	r.Targets.Signed.Targets["trusted_root.json"] = info
	sum := sha256.Sum256(target)
	r.Files["targets/"+hex.EncodeToString(sum[:])+".trusted_root.json"] = target
}

// Publish offers a target in new versions of targets, snapshot and timestamp.
func (r *Repository) Publish(t testing.TB, target []byte) {
	t.Helper()
	r.Targets.Signed.Version++
	r.Snapshot.Signed.Version++
	r.Timestamp.Signed.Version++
	r.Snapshot.Signed.Meta["targets.json"].Version = r.Targets.Signed.Version
	r.Timestamp.Signed.Meta["snapshot.json"].Version = r.Snapshot.Signed.Version
	r.Offer(t, target)
	for _, role := range []string{metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
		r.Put(t, role)
	}
}

// Rotate replaces the keys of a role in a new version of the root role, signed by
// its old keys and its new ones. The role itself is not signed again.
func (r *Repository) Rotate(t testing.TB, role string) {
	t.Helper()
	old := r.signers[metadata.ROOT]
	r.signers[role] = nil
	r.Root.Signed.Roles[role].KeyIDs = nil
	r.key(t, role)
	r.Root.Signed.Version++
	all := r.signers[metadata.ROOT]
	if role == metadata.ROOT {
		r.signers[metadata.ROOT] = append(append([]signature.Signer{}, old...), all...)
	}
	r.Put(t, metadata.ROOT)
	r.signers[metadata.ROOT] = all
}

// Put signs a role as it stands and serves it.
func (r *Repository) Put(t testing.TB, role string) {
	t.Helper()
	switch role {
	case metadata.ROOT:
		put(t, r, role, fmt.Sprintf("%d.root.json", r.Root.Signed.Version), r.Root)
	case metadata.TIMESTAMP:
		put(t, r, role, "timestamp.json", r.Timestamp)
	case metadata.SNAPSHOT:
		put(t, r, role, fmt.Sprintf("%d.snapshot.json", r.Snapshot.Signed.Version), r.Snapshot)
	case metadata.TARGETS:
		put(t, r, role, fmt.Sprintf("%d.targets.json", r.Targets.Signed.Version), r.Targets)
	default:
		t.Fatalf("no role %s", role)
	}
}

func put[T metadata.Roles](t testing.TB, r *Repository, role, file string, m *metadata.Metadata[T]) {
	t.Helper()
	m.ClearSignatures()
	for _, s := range r.signers[role] {
		if _, err := m.Sign(s); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := m.ToBytes(true)
	if err != nil {
		t.Fatal(err)
	}
	r.Files[file] = raw
}

// Saved is what the repository serves now, for later.
func (r *Repository) Saved() map[string][]byte {
	files := maps.Clone(r.Files)
	for name, raw := range files {
		files[name] = bytes.Clone(raw)
	}
	return files
}

// WriteFiles makes a folder of a repository's files.
func WriteFiles(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for name, raw := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
