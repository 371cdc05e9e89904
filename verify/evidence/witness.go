package evidence

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	sigverify "github.com/sigstore/sigstore-go/pkg/verify"
)

// Witness is one transparency log or timestamp authority of the Root that
// vouches for a signature.
type Witness struct {
	Log    string    // the log's ID in lower-case hex; "" for a timestamp authority
	At     time.Time // by when the signature existed; zero for a log that signs no time
	Source TimeSource
}

// Witnesses are all that vouch for the signature, logs first.
func (c Claim) Witnesses() []Witness { return slices.Clone(c.witnesses) }

// Certificates are the SHA-256 digests of the certificate that signed, in DER, and
// of every certificate of the Root that may have issued it; none for a key.
func (c Claim) Certificates() []digest.Digest { return slices.Clone(c.certificates) }

// alone is a signature of which one log entry is looked at.
type alone struct {
	signed
	entry *tlog.Entry
}

// TlogEntries is that entry.
func (a alone) TlogEntries() ([]*tlog.Entry, error) { return []*tlog.Entry{a.entry}, nil }

// witnesses says who of those that the root knows vouches for a signature that is
// proved already, at these times. Where there are several log entries each is asked
// alone, because the proof of all does not say which of them counted.
func (s signed) witnesses(m root.TrustedMaterial, proved []witnessed) ([]Witness, error) {
	entries, err := s.TlogEntries()
	if err != nil {
		return nil, err
	}
	var all []Witness
	for _, e := range entries {
		w := Witness{Log: hex.EncodeToString([]byte(e.LogKeyID())), Source: TimeLog}
		if _, known := m.RekorLogs()[w.Log]; !known {
			continue
		}
		if len(entries) == 1 {
			for _, t := range proved {
				if t.source == TimeLog {
					w.At = t.at.UTC()
				}
			}
			all = append(all, w)
			continue
		}
		times, err := sigverify.VerifyTlogEntry(alone{s, e}, m, 1, true)
		if err != nil {
			continue // it was passed over: nobody was told that this log knows
		}
		for _, t := range times {
			w.At = t.Time.UTC()
		}
		all = append(all, w)
	}
	for _, t := range proved {
		if t.source == TimeTSA {
			all = append(all, Witness{At: t.at.UTC(), Source: TimeTSA})
		}
	}
	return all, nil
}

// issuers are the digests of a certificate and of the authorities of the root above
// it, found by name: an authority that shares the name of the one that issued it is
// among them, whichever of the two did.
func issuers(leaf *x509.Certificate, m root.TrustedMaterial) []digest.Digest {
	all := []digest.Digest{digest.FromBytes(leaf.Raw)}
	var known []*x509.Certificate
	for _, ca := range m.FulcioCertificateAuthorities() {
		if f, ok := ca.(*root.FulcioCertificateAuthority); ok {
			known = append(append(known, f.Intermediates...), f.Root)
		}
	}
	below := []*x509.Certificate{leaf}
	for len(below) > 0 {
		child := below[0]
		below = below[1:]
		for _, above := range known {
			if above == nil || !bytes.Equal(child.RawIssuer, above.RawSubject) {
				continue
			}
			if sum := digest.FromBytes(above.Raw); !slices.Contains(all, sum) {
				all = append(all, sum)
				below = append(below, above)
			}
		}
	}
	return all
}
