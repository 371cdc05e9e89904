package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"time"

	notes "github.com/sigstore/rekor-tiles/v2/pkg/note"
	tiles "github.com/sigstore/rekor-tiles/v2/pkg/verify"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/signature"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// diagnoseLog names what is wrong with the log entries of a bundle that
// sigstore-go refused because of them. Without a better answer it is
// log-mismatch: the entry is sound, but of something else.
func (s signed) diagnoseLog(m root.TrustedMaterial, cause error) error {
	entries, err := s.TlogEntries()
	if err != nil {
		return s.refuse(reason.EnvelopeMalformed, "", "", err)
	}
	if len(entries) == 0 {
		return s.refuse(reason.LogAbsent, "an entry of a transparency log", "none", nil)
	}
	type place struct {
		log   string
		index int64
	}
	seen := map[place]bool{}
	known := 0
	for _, entry := range entries {
		at := place{entry.LogKeyID(), entry.LogIndex()}
		if seen[at] {
			return s.refuse(reason.LogDuplicate, "each entry once", fmt.Sprintf("entry %d of log %x twice", at.index, at.log), nil)
		}
		seen[at] = true
		log, ok := m.RekorLogs()[hex.EncodeToString([]byte(entry.LogKeyID()))]
		if !ok {
			continue
		}
		known++
		if err := s.diagnoseEntry(m, log, entry); err != nil {
			return err
		}
	}
	if known == 0 {
		return s.refuse(reason.LogUnknown, "an entry of a log of the root", fmt.Sprintf("%x", entries[0].LogKeyID()), nil)
	}
	return s.refuse(reason.LogMismatch, "a log entry of this signature", "", cause)
}

// diagnoseEntry returns nil when nothing is wrong with the entry itself.
func (s signed) diagnoseEntry(m root.TrustedMaterial, log *root.TransparencyLog, entry *tlog.Entry) error {
	if err := tlog.ValidateEntry(entry); err != nil {
		return s.refuse(reason.LogMismatch, "an entry of a signature", "", err)
	}
	if entry.HasInclusionPromise() {
		if err := tlog.VerifySET(entry, m.RekorLogs()); err != nil {
			return s.refuse(reason.LogPromiseInvalid, "a promise signed by the log in its time", "", err)
		}
	}
	if entry.HasInclusionProof() {
		if err := s.diagnoseProof(log, entry); err != nil {
			return err
		}
	}
	if at := entry.IntegratedTime(); !at.IsZero() {
		if leaf := leafOf(s.GetVerificationMaterial()); leaf != nil && (at.Before(leaf.NotBefore) || at.After(leaf.NotAfter)) {
			return s.refuse(reason.CertificateExpired,
				"a certificate valid at "+at.UTC().Format(time.RFC3339), span(leaf.NotBefore, leaf.NotAfter), nil)
		}
		if tried, ok := m.(material); ok && !tried.key.key.Zero() {
			if err := s.inWindow(tried.key.key, at); err != nil {
				return err
			}
		}
	}
	if d := s.GetDsseEnvelope(); d != nil {
		sum := sha256.Sum256(d.GetPayload())
		if logged, ok := entry.GetDssePayloadHash(); ok && string(logged) != string(sum[:]) {
			return s.refuse(reason.LogMismatch, fmt.Sprintf("an entry of payload sha256:%x", sum), fmt.Sprintf("sha256:%x", logged), nil)
		}
	}
	return nil
}

// diagnoseProof tells a proof that does not hold from a checkpoint that the
// log did not sign.
func (s signed) diagnoseProof(log *root.TransparencyLog, entry *tlog.Entry) error {
	checkpoint := func(err error) error {
		return s.refuse(reason.LogCheckpointInvalid, "a checkpoint signed by the log, of the tree in the proof", "", err)
	}
	v, err := signature.LoadVerifier(log.PublicKey, log.SignatureHashFunc)
	if err != nil {
		return checkpoint(err)
	}
	if !entry.IsRekorV2() {
		tle := entry.TransparencyLogEntry()
		p := tle.GetInclusionProof()
		if p.GetLogIndex() < 0 || p.GetTreeSize() < 0 {
			return s.refuse(reason.LogProofInvalid, "a place in a tree", fmt.Sprintf("%d of %d", p.GetLogIndex(), p.GetTreeSize()), nil)
		}
		leaf := rfc6962.DefaultHasher.HashLeaf(tle.GetCanonicalizedBody())
		err := merkle.VerifyInclusion(rfc6962.DefaultHasher, uint64(p.GetLogIndex()), uint64(p.GetTreeSize()), leaf, p.GetHashes(), p.GetRootHash())
		if err != nil {
			return s.refuse(reason.LogProofInvalid, "a proof that the entry is in the tree", "", err)
		}
		if err := tlog.VerifyInclusion(entry, v); err != nil {
			return checkpoint(err)
		}
		return nil
	}
	u, err := url.Parse(log.BaseURL)
	if err != nil {
		return checkpoint(err)
	}
	name, err := notes.NewNoteVerifier(u.Hostname(), v)
	if err != nil {
		return checkpoint(err)
	}
	cp, err := tiles.VerifyCheckpoint(entry.TransparencyLogEntry().GetInclusionProof().GetCheckpoint().GetEnvelope(), name)
	if err != nil {
		return checkpoint(err)
	}
	if err := tiles.VerifyInclusionProof(entry.TransparencyLogEntry(), cp); err != nil {
		return s.refuse(reason.LogProofInvalid, "a proof that the entry is in the tree", "", err)
	}
	return nil
}
