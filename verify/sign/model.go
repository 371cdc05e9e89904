package sign

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// File is one file of a model: its path under the model's folder, with forward
// slashes, and the SHA-256 of its bytes.
type File struct {
	Name   string
	SHA256 digest.Digest
}

// Model signs a model folder by the key method of OpenSSF Model Signing v1.0,
// serialisation "files". The files are listed in order of their names' code
// points; the subject is the SHA-256 over their raw digests in that order.
// ignore are the paths that the signer left out, files or whole folders: they
// are recorded and not covered.
func Model(k Key, name string, files []File, ignore ...string) ([]byte, error) {
	type resource struct {
		Name      string `json:"name"`
		Digest    string `json:"digest"`
		Algorithm string `json:"algorithm"`
	}
	var predicate struct {
		Serialization struct {
			Method        string   `json:"method"`
			HashType      string   `json:"hash_type"`
			AllowSymlinks bool     `json:"allow_symlinks"`
			IgnorePaths   []string `json:"ignore_paths"`
		} `json:"serialization"`
		Resources []resource `json:"resources"`
	}
	if name == "" || len(files) == 0 {
		return nil, errors.New("sign model: no name or no files")
	}
	predicate.Serialization.Method, predicate.Serialization.HashType = "files", "sha256"
	predicate.Serialization.IgnorePaths = append([]string{}, ignore...)
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	root := sha256.New()
	for i, f := range sorted {
		if !fs.ValidPath(f.Name) || f.Name == "." || strings.ContainsRune(f.Name, 0) {
			return nil, fmt.Errorf("sign model: file name %q", f.Name)
		}
		if i > 0 && sorted[i-1].Name == f.Name {
			return nil, fmt.Errorf("sign model: file %q twice", f.Name)
		}
		if err := f.SHA256.Validate(); err != nil || f.SHA256.Algorithm() != digest.SHA256 {
			return nil, fmt.Errorf("sign model: file %q: digest %q is no sha256", f.Name, f.SHA256)
		}
		sum, err := hex.DecodeString(f.SHA256.Encoded())
		if err != nil {
			return nil, fmt.Errorf("sign model: file %q: %w", f.Name, err)
		}
		root.Write(sum)
		predicate.Resources = append(predicate.Resources, resource{f.Name, f.SHA256.Encoded(), "sha256"})
	}
	raw, err := json.Marshal(predicate)
	if err != nil {
		return nil, fmt.Errorf("sign model: %w", err)
	}
	st, err := Statement("https://model_signing/signature/v1.0", raw, name, digest.NewDigest(digest.SHA256, root))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(k.Public())
	return bundle(k, st, hex.EncodeToString(sum[:]))
}
