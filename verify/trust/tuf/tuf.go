// Package tuf fetches a trusted_root.json from a repository of The Update
// Framework (TUF specification 1.0.31) and refuses what is older, expired, mixed
// or not signed by whom it must be. Signatures, thresholds and versions are
// go-tuf's; the order of steps, the caps, the names and the reasons are here.
//
// # A repository
//
// It is a set of files below one place, as the public-good instance has them:
//
//	N.root.json                     version N of the root role
//	timestamp.json                  the newest timestamp
//	[N.]snapshot.json               prefixed where the root role says consistent_snapshot
//	[N.]targets.json                the same
//	targets/[HASH.]trusted_root.json  the same; HASH is the SHA-256, or else the SHA-512
//
// # A refresh (section 5 of the specification)
//
// It starts at a root that the operator, or the last refresh, holds to be
// genuine, and takes N+1, N+2 ... until there is none, at most 256: each signed by
// the threshold of the one before and by its own. Then timestamp, snapshot and
// targets follow, each signed by the keys of the last root, not expired, of the
// version (and length and hashes, if given) that the one above names, and in
// nothing older than what was kept: not the timestamp, not what it says of the
// snapshot, not any file that the snapshot lists, not the targets. Kept metadata
// whose keys a newer root revoked protects no longer, so that a repository can
// recover from stolen keys. The target must have a SHA-256 or SHA-512.
//
// Every file is one JSON value without double members. Names of targets, roles
// and listed files must be plain relative paths, although none of them is ever
// used as one: what is fetched is named by constants, versions and hashes alone.
// Caps, in bytes: root 500 KiB, timestamp 16 KiB, snapshot 2 MiB, targets 4 MiB,
// target 4 MiB.
//
// # What this does not do
//
// It writes nothing: what a Refresh returns counts when the caller has kept it,
// and a refresh that fails changes nothing. Delegated targets are not followed.
// Whether the target is a usable root is for package trust to say.
package tuf

import (
	"crypto"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Target is the name of what is fetched.
const Target = "trusted_root.json"

// PublicGood is where the public-good instance of Sigstore has its repository.
const PublicGood = "https://tuf-repo-cdn.sigstore.dev"

// publicGood is version 14 of the root role of PublicGood: 14.root.json of
// github.com/sigstore/root-signing (Apache-2.0), as sigstore-go v1.3.0 carries it.
//
//go:embed public_good_root.json
var publicGood []byte

// PublicGoodRoot is the root.json that refreshes of PublicGood start from.
func PublicGoodRoot() []byte { return publicGood }

// Caps.
const (
	MaxRoot      = 500 << 10
	maxTimestamp = 16 << 10
	maxSnapshot  = 2 << 20
	maxTargets   = 4 << 20
	maxTarget    = 4 << 20
	maxRotations = 256
)

// Kept is the metadata that a refresh starts from and ends with. Only Root is
// needed to start.
type Kept struct{ Root, Timestamp, Snapshot, Targets []byte }

// Versions are those of the four roles.
type Versions struct{ Root, Timestamp, Snapshot, Targets int64 }

// Update is what a refresh found.
type Update struct {
	Kept     Kept
	Versions Versions
	Target   []byte
}

// Fetch reads a file of the repository, at most limit bytes. Of a file that is not
// there, the error's cause is fs.ErrNotExist.
type Fetch func(name string, limit int64) ([]byte, error)

// client is one refresh.
type client struct {
	trusted *trustedmetadata.TrustedMetadata
	fetch   Fetch
	kept    Kept // as it was
	next    Kept // as it will be
}

// Refresh brings kept up to date at the time now, and fetches the target. It
// refuses with the codes tuf-*, and with those of fetch.
func Refresh(kept Kept, fetch Fetch, now time.Time) (Update, error) {
	trusted, err := anchor(kept.Root)
	if err != nil {
		return Update{}, err
	}
	trusted.RefTime = now
	c := client{trusted, fetch, kept, kept}
	var target []byte
	for _, step := range []func() error{c.root, c.timestamp, c.snapshot, c.targets, func() (err error) { target, err = c.target(); return err }} {
		if err := step(); err != nil {
			return Update{}, err
		}
	}
	return Update{c.next, Versions{c.trusted.Root.Signed.Version, c.trusted.Timestamp.Signed.Version,
		c.trusted.Snapshot.Signed.Version, c.trusted.Targets[metadata.TARGETS].Signed.Version}, target}, nil
}

// CheckRoot refuses with tuf-root-invalid what no refresh can start from.
func CheckRoot(raw []byte) error {
	_, err := anchor(raw)
	return err
}

func anchor(raw []byte) (*trustedmetadata.TrustedMetadata, error) {
	const what = "read the TUF root to start from"
	if len(raw) > MaxRoot {
		return nil, refuse(reason.TUFRootInvalid, what, fmt.Sprintf("at most %d bytes", MaxRoot), fmt.Sprint(len(raw)), nil)
	}
	err := strict("root.json", raw)
	if err == nil {
		var trusted *trustedmetadata.TrustedMetadata
		if trusted, err = trustedmetadata.New(raw); err == nil {
			return trusted, nil
		}
	}
	return nil, refuse(reason.TUFRootInvalid, what, "a root.json that its own keys signed", "", err)
}

// root follows the root role to its newest version.
func (c *client) root() error {
	for range maxRotations {
		want := c.trusted.Root.Signed.Version + 1
		name := fmt.Sprintf("%d.root.json", want)
		raw, err := c.fetch(name, MaxRoot)
		if errors.Is(err, fs.ErrNotExist) {
			if now := c.trusted.RefTime; c.trusted.Root.Signed.IsExpired(now) {
				return expired(fmt.Sprintf("%d.root.json, the newest", want-1), c.trusted.Root.Signed.Expires, now)
			}
			return nil
		}
		if err == nil {
			err = strict(name, raw)
		}
		if err != nil {
			return err
		}
		if _, err := c.trusted.UpdateRoot(raw); errors.Is(err, &metadata.ErrBadVersionNumber{}) {
			code := reason.TUFMismatch
			found, perr := metadata.Root().FromBytes(raw)
			if perr == nil && found.Signed.Version < want {
				code = reason.TUFRollback
			}
			return refuse(code, "check "+name, fmt.Sprintf("version %d", want), "", err)
		} else if err != nil {
			return wrong(name, err)
		}
		c.next.Root = raw
	}
	return refuse(reason.TUFTooLarge, "follow the root role", fmt.Sprintf("at most %d new versions at once", maxRotations), "more", nil)
}

func (c *client) timestamp() error {
	const name = "timestamp.json"
	if len(c.kept.Timestamp) > 0 {
		if _, err := c.trusted.UpdateTimestamp(c.kept.Timestamp); err != nil && !outlived(err) {
			return wrong("the kept "+name, err)
		}
	}
	kept := c.trusted.Timestamp
	raw, err := c.file(name, maxTimestamp)
	if err != nil {
		return err
	}
	found, err := metadata.Timestamp().FromBytes(raw)
	if err != nil {
		return wrong(name, err)
	}
	_, err = c.trusted.UpdateTimestamp(raw)
	switch {
	case errors.Is(err, &metadata.ErrExpiredMetadata{}):
		return expired(name, c.trusted.Timestamp.Signed.Expires, c.trusted.RefTime)
	case errors.Is(err, &metadata.ErrEqualVersionNumber{}): // before the next, which includes it
		if kept.Signed.IsExpired(c.trusted.RefTime) {
			return expired(name, kept.Signed.Expires, c.trusted.RefTime)
		}
		return nil
	case errors.Is(err, &metadata.ErrBadVersionNumber{}):
		return refuse(reason.TUFRollback, "check "+name, fmt.Sprintf("version %d or newer, naming snapshot %d or newer", kept.Signed.Version,
			kept.Signed.Meta["snapshot.json"].Version), fmt.Sprintf("version %d, naming snapshot %d", found.Signed.Version, found.Signed.Meta["snapshot.json"].Version), nil)
	case err != nil:
		return wrong(name, err)
	}
	c.next.Timestamp = raw
	return nil
}

func (c *client) snapshot() error {
	listed := c.trusted.Timestamp.Signed.Meta["snapshot.json"]
	name := c.versioned("snapshot.json", listed.Version)
	if len(c.kept.Snapshot) > 0 {
		if _, err := c.trusted.UpdateSnapshot(c.kept.Snapshot, true); err != nil && !outlived(err) && c.trusted.Snapshot == nil {
			return wrong("the kept snapshot.json", err)
		}
	}
	kept := c.trusted.Snapshot
	raw, err := c.file(name, limit(listed.Length, maxSnapshot))
	if err != nil {
		return err
	}
	found, err := metadata.Snapshot().FromBytes(raw)
	if err == nil {
		_, err = c.trusted.UpdateSnapshot(raw, false)
	}
	switch {
	case errors.Is(err, &metadata.ErrExpiredMetadata{}):
		return expired(name, found.Signed.Expires, c.trusted.RefTime)
	case err != nil && kept != nil && c.trusted.Snapshot == kept && older(kept, found):
		return refuse(reason.TUFRollback, "check "+name, "no file older than in the snapshot that was seen before", "", err)
	case errors.Is(err, &metadata.ErrBadVersionNumber{}):
		return refuse(reason.TUFMismatch, "check "+name, fmt.Sprintf("version %d, as timestamp.json says", listed.Version), "", err)
	case err != nil:
		return wrong(name, err)
	}
	c.next.Snapshot = raw
	return nil
}

// older says that a snapshot lists less, or lists something older, than the one
// before.
func older(before, after *metadata.Metadata[metadata.SnapshotType]) bool {
	if after == nil {
		return false
	}
	for name, was := range before.Signed.Meta {
		if is := after.Signed.Meta[name]; is == nil || is.Version < was.Version {
			return true
		}
	}
	return false
}

func (c *client) targets() error {
	listed := c.trusted.Snapshot.Signed.Meta["targets.json"]
	name := c.versioned("targets.json", listed.Version)
	raw, err := c.file(name, limit(listed.Length, maxTargets))
	if err != nil {
		return err
	}
	found, err := c.trusted.UpdateTargets(raw)
	switch {
	case errors.Is(err, &metadata.ErrExpiredMetadata{}):
		return refuse(reason.TUFExpired, "check "+name, "metadata that has not expired", "", err)
	case errors.Is(err, &metadata.ErrBadVersionNumber{}):
		return refuse(reason.TUFMismatch, "check "+name, fmt.Sprintf("version %d, as snapshot.json says", listed.Version), "", err)
	case err != nil:
		return wrong(name, err)
	}
	if len(c.kept.Targets) > 0 {
		was, err := metadata.Targets().FromBytes(c.kept.Targets)
		if err == nil && c.trusted.Root.VerifyDelegate(metadata.TARGETS, was) == nil && found.Signed.Version < was.Signed.Version {
			return refuse(reason.TUFRollback, "check "+name, fmt.Sprintf("version %d or newer", was.Signed.Version), fmt.Sprint(found.Signed.Version), nil)
		}
	}
	c.next.Targets = raw
	return nil
}

// target fetches what all this was for.
func (c *client) target() ([]byte, error) {
	info := c.trusted.Targets[metadata.TARGETS].Signed.Targets[Target]
	if info == nil {
		return nil, refuse(reason.TUFTargetAbsent, "find "+Target, "a target of that name in targets.json", "none", nil)
	}
	if info.Length > maxTarget {
		return nil, refuse(reason.TUFTooLarge, "find "+Target, fmt.Sprintf("at most %d bytes", maxTarget), fmt.Sprint(info.Length), nil)
	}
	sum := info.Hashes["sha256"]
	if len(sum) == 0 {
		sum = info.Hashes["sha512"]
	}
	if len(sum) != crypto.SHA256.Size() && len(sum) != crypto.SHA512.Size() || info.Length < 1 {
		return nil, refuse(reason.TUFMalformed, "find "+Target, "its length, and its SHA-256 or SHA-512", "neither, or not both", nil)
	}
	name := "targets/" + Target
	if c.trusted.Root.Signed.ConsistentSnapshot {
		name = "targets/" + hex.EncodeToString(sum) + "." + Target
	}
	raw, err := c.get(name, info.Length)
	if err != nil {
		return nil, err
	}
	if err := info.VerifyLengthHashes(raw); err != nil {
		return nil, wrong(name, err)
	}
	return raw, nil
}

func (c *client) versioned(name string, version int64) string {
	if c.trusted.Root.Signed.ConsistentSnapshot {
		return fmt.Sprintf("%d.%s", version, name)
	}
	return name
}

// get reads a file that must be there.
func (c *client) get(name string, limit int64) ([]byte, error) {
	raw, err := c.fetch(name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refuse(reason.TUFAbsent, "read "+name, "a repository that has it", "", err)
	}
	return raw, err
}

// file reads metadata that must be there.
func (c *client) file(name string, limit int64) ([]byte, error) {
	raw, err := c.get(name, limit)
	if err == nil {
		err = strict(name, raw)
	}
	return raw, err
}

func limit(length, most int64) int64 {
	if length > 0 && length < most {
		return length
	}
	return most
}

// outlived says that kept metadata protects no longer, or is only the floor for
// what replaces it.
func outlived(err error) bool {
	return errors.Is(err, &metadata.ErrExpiredMetadata{}) || errors.Is(err, &metadata.ErrBadVersionNumber{}) || unsigned(err)
}

// unsigned says that the last root does not vouch for it.
func unsigned(err error) bool {
	_, is := errors.AsType[*metadata.ErrUnsignedMetadata](err)
	return is
}

// wrong is a refusal by go-tuf's checks that are the same for every role.
func wrong(name string, err error) error {
	switch _, mixed := errors.AsType[*metadata.ErrLengthOrHashMismatch](err); {
	case unsigned(err):
		return refuse(reason.TUFSignature, "check "+name, "the signatures of as many keys as its role demands", "", err)
	case mixed:
		return refuse(reason.TUFMismatch, "check "+name, "the length and hashes that the metadata above it names", "", err)
	}
	return refuse(reason.TUFMalformed, "check "+name, "metadata of TUF 1.0", "", err)
}

func expired(name string, at, now time.Time) error {
	return refuse(reason.TUFExpired, "check "+name, "metadata that has not expired at "+now.UTC().Format(time.RFC3339),
		"expired at "+at.UTC().Format(time.RFC3339), nil)
}

func refuse(code reason.Code, what, expected, found string, err error) error {
	e := &reason.Error{Code: code, What: what, Expected: expected, Found: found, Err: err}
	switch code {
	case reason.TUFRootInvalid:
		e.Next = "--tuf-root FILE with a root.json of the repository"
	case reason.TUFExpired, reason.TUFRollback:
		e.Next = "ztlaunch trust update --from another mirror, or the same later; compare this host's clock with another"
	default:
		e.Next = "ztlaunch trust update --from another mirror; if it stays so, tell who keeps the repository"
	}
	return e
}
