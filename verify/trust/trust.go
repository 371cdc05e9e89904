// Package trust owns the roots of trust: whom ztlaunch believes, and for how
// long. A Root holds any number of public keys and of private certificate
// authorities, and at most one Sigstore trusted root (certificate authorities,
// transparency logs, timestamp authorities and certificate-transparency logs,
// each with its validity).
//
// # Keys
//
// A key file holds exactly one PEM block, "PUBLIC KEY" (SubjectPublicKeyInfo,
// RFC 5280); explanatory text may stand before it, as RFC 7468 allows, and
// nothing after it. The key is ECDSA on P-256, P-384 or P-521, Ed25519, or RSA
// of 2048 to 8192 bits. Its name is the lower-case hex SHA-256 of the DER
// bytes, written sha256:HEX. One key has one name, however often and in
// whatever file it is listed, so a threshold of distinct signers cannot be met
// with copies of one key.
//
// # Private authorities
//
// An authority's file holds one to sixteen PEM blocks CERTIFICATE, at most
// 256 KiB, with whatever text between them and nothing after the last; no
// certificate twice. Each must be allowed to issue certificates (basic
// constraints cA; key usage, where it is stated, keyCertSign) and have a key of
// the kinds above. Those that are signed by themselves are roots, at least one;
// the others are intermediates and help to build a chain. A root's name is the
// SHA-256 of its SubjectPublicKeyInfo, written sha256:HEX.
//
// # Sigstore trusted roots
//
// The file is the JSON form of dev.sigstore.trustroot.v1.TrustedRoot, media
// type application/vnd.dev.sigstore.trustedroot+json;version=0.1, at most
// 4 MiB. Unknown fields, duplicate fields and trailing data are refused, and
// beyond what sigstore-go demands every authority and log must say since when
// it is valid, must not end before it starts, and no log may be listed twice.
//
// Embedded is the root of the public-good instance as it stood on EmbeddedDate.
// It is a copy of targets/trusted_root.json of github.com/sigstore/root-signing
// at commit 60cf2ce8 (Apache-2.0). The package never touches the network and
// speaks no TUF (package trust/tuf does): a newer root is another file. The
// embedded root, and one that was installed, are parsed when the first
// certificate is checked against them, not before, because most starts check
// none.
//
// # An installed root
//
// A Record, JSON of schema RecordSchema without unknown or double members and at
// most 16 KiB, says which file took the embedded root's place: its digest, from
// where, when, since when known to be current, and, of a root that came through
// TUF, the digest and version of each metadata file. Installed believes no bytes
// but those.
//
// One root follows another (Diff) if it adds parts or retires them. It rewinds if
// a part of the one before is gone, or was given a validity that starts at
// another time or ends later: an older root does that, or another instance's.
//
// # What it does not check
//
// Nothing here decides whether a root deserves trust, how old it may be (Date
// is for the policy to judge), or which identity may sign what. Revocation lists
// of private authorities are not read: take the authority, or the signer's name,
// out of the policy.
package trust

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	prototrust "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// EmbeddedDate is the day on which the embedded public-good root was current.
const EmbeddedDate = "2026-08-21"

// EmbeddedSource is where the embedded public-good root comes from.
const EmbeddedSource = "github.com/sigstore/root-signing@60cf2ce8 targets/trusted_root.json"

// MaxRootSize caps a trusted_root.json, in bytes.
const MaxRootSize = 4 << 20

//go:embed public_good.json
var publicGood []byte

// Root is whom a check may believe. The zero Root believes nobody.
type Root struct {
	keys        []Key       // sorted by name, then window; no duplicates
	authorities []Authority // sorted by Sum; no duplicates
	sigstore    *sigstore
}

// sigstore is a trusted root that is parsed when it is first needed.
type sigstore struct {
	sum  digest.Digest
	date time.Time // zero if unknown
	load func() (material, error)
}

// material is a parsed root, as the library has it and as the file does.
type material struct {
	*root.TrustedRoot
	file *prototrust.TrustedRoot
}

// FromJSON reads a Sigstore trusted root. It is parsed here and now, so that a
// broken file is reported when it is named and not when it is first needed.
func FromJSON(raw []byte) (Root, error) {
	m, err := parse(raw)
	if err != nil {
		return Root{}, err
	}
	return Root{sigstore: &sigstore{
		sum:  digest.FromBytes(raw),
		load: func() (material, error) { return m, nil },
	}}, nil
}

// Embedded is the public-good root of EmbeddedDate, unparsed until needed.
func Embedded() Root {
	date, _ := time.Parse(time.DateOnly, EmbeddedDate)
	return later(publicGood, date)
}

// Installed is the root that a record speaks of, unparsed until needed: it was
// parsed when it was installed. Other bytes are refused with
// trust-root-changed.
func Installed(raw []byte, r Record) (Root, error) {
	if sum := digest.FromBytes(raw); sum != r.Root {
		return Root{}, &reason.Error{Code: reason.TrustRootChanged, What: "read the installed root", Expected: string(r.Root),
			Found: string(sum), Next: "ztlaunch trust add --replace FILE"}
	}
	return later(raw, r.Date), nil
}

func later(raw []byte, date time.Time) Root {
	return Root{sigstore: &sigstore{
		sum:  digest.FromBytes(raw),
		date: date,
		load: sync.OnceValues(func() (material, error) { return parse(raw) }),
	}}
}

// With adds keys. The receiver is unchanged.
func (r Root) With(keys ...Key) Root {
	all := slices.DeleteFunc(slices.Concat(r.keys, keys), Key.Zero)
	slices.SortFunc(all, compareKeys)
	r.keys = slices.CompactFunc(all, func(a, b Key) bool { return compareKeys(a, b) == 0 })
	return r
}

// WithAuthorities adds private authorities. The receiver is unchanged.
func (r Root) WithAuthorities(authorities ...Authority) Root {
	all := slices.DeleteFunc(slices.Concat(r.authorities, authorities), Authority.Zero)
	slices.SortFunc(all, func(a, b Authority) int { return strings.Compare(a.Sum(), b.Sum()) })
	r.authorities = slices.CompactFunc(all, func(a, b Authority) bool { return a.Sum() == b.Sum() })
	return r
}

// Authorities are the private authorities.
func (r Root) Authorities() []Authority { return slices.Clone(r.authorities) }

// Keys are the trusted keys, sorted by name.
func (r Root) Keys() []Key { return slices.Clone(r.keys) }

// Zero says that the Root believes nobody.
func (r Root) Zero() bool { return len(r.keys)+len(r.authorities) == 0 && r.sigstore == nil }

// Keyless says whether there is a Sigstore root to check certificates against.
func (r Root) Keyless() bool { return r.sigstore != nil }

// Date is the day on which the Sigstore root is known to have been current;
// zero when unknown.
func (r Root) Date() time.Time {
	if r.sigstore == nil {
		return time.Time{}
	}
	return r.sigstore.date
}

// Sigstore is the Sigstore root, parsed. Without one it refuses with
// trust-root-absent.
func (r Root) Sigstore() (root.TrustedMaterial, error) {
	if r.sigstore == nil {
		return nil, &reason.Error{
			Code: reason.TrustRootAbsent, What: "find a Sigstore root",
			Expected: "a trusted root for certificates and logs", Found: fmt.Sprintf("%d keys and %d private authorities only", len(r.keys), len(r.authorities)),
			Next: "--trusted-root FILE, or once for all: ztlaunch trust add FILE",
		}
	}
	m, err := r.sigstore.load()
	if err != nil {
		return nil, err
	}
	return m.TrustedRoot, nil
}

// File is the digest of the Sigstore root's file; empty without one.
func (r Root) File() digest.Digest {
	if r.sigstore == nil {
		return ""
	}
	return r.sigstore.sum
}

// Digest covers every input: the bytes of the Sigstore root, the name and window
// of every key, and every certificate of every private authority. Two Roots with one digest believe the same.
func (r Root) Digest() digest.Digest {
	var b strings.Builder
	b.WriteString("ztlaunch trust root v1\n")
	if r.sigstore != nil {
		fmt.Fprintf(&b, "sigstore %s\n", r.sigstore.sum)
	}
	for _, k := range r.keys {
		fmt.Fprintf(&b, "key %s %s %s\n", k.id, stamp(k.from), stamp(k.until))
	}
	for _, a := range r.authorities {
		fmt.Fprintf(&b, "authority %s\n", a.Sum())
	}
	sum := sha256.Sum256([]byte(b.String()))
	return digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(sum[:]))
}

// stamp is a bound of a window as the digest covers it; an open bound is "-".
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// parse is the strict reading of a trusted_root.json.
func parse(raw []byte) (material, error) {
	const what = "read trusted root"
	if len(raw) > MaxRootSize {
		return material{}, &reason.Error{
			Code: reason.TrustRootTooLarge, What: what,
			Expected: fmt.Sprintf("at most %d bytes", MaxRootSize), Found: fmt.Sprintf("%d", len(raw)),
		}
	}
	pb, err := root.NewTrustedRootProtobuf(raw)
	if err == nil && pb.GetMediaType() != root.TrustedRootMediaType01 {
		err = fmt.Errorf("media type %q", pb.GetMediaType())
	}
	if err != nil {
		return material{}, &reason.Error{Code: reason.TrustRootMalformed, What: what, Expected: root.TrustedRootMediaType01, Err: err}
	}
	if err := windows(pb); err != nil {
		return material{}, &reason.Error{
			Code: reason.TrustRootWindow, What: what,
			Expected: "each authority and log with the start of its validity", Err: err,
		}
	}
	m, err := root.NewTrustedRootFromProtobuf(pb)
	if err != nil {
		return material{}, &reason.Error{Code: reason.TrustRootMalformed, What: what, Err: err}
	}
	return material{m, pb}, nil
}
