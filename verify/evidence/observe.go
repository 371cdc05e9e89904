package evidence

import (
	"encoding/hex"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/root"
	sigverify "github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust"
)

// logged proves each entry of a log that m knows, one by one, and says who those
// logs are. Every one of them must be right; entries of other logs count for
// nothing. The times are those that a log signed.
func (s signed) logged(m root.TrustedMaterial) (logs []Witness, times []witnessed, err error) {
	entries, err := s.TlogEntries()
	if err != nil {
		return nil, nil, s.refuse(reason.EnvelopeMalformed, "", "", err)
	}
	if len(entries) > maxEntries {
		return nil, nil, s.refuse(reason.EnvelopeMalformed, fmt.Sprintf("at most %d log entries", maxEntries), fmt.Sprint(len(entries)), nil)
	}
	type place struct {
		log   string
		index int64
	}
	seen := map[place]bool{}
	for _, entry := range entries {
		id := hex.EncodeToString([]byte(entry.LogKeyID()))
		if _, known := m.RekorLogs()[id]; !known {
			continue
		}
		at := place{id, entry.LogIndex()}
		if seen[at] {
			return nil, nil, s.refuse(reason.LogDuplicate, "each entry once", fmt.Sprintf("entry %d of log %s twice", at.index, id), nil)
		}
		seen[at] = true
		one := s
		one.only = entry
		signed, err := sigverify.VerifyTlogEntry(one, m, 1, true)
		if err != nil {
			return nil, nil, one.diagnoseLog(m, err)
		}
		w := Witness{Log: id, Source: TimeLog}
		for _, t := range signed {
			times = append(times, witnessed{t.Time, TimeLog})
			w.At = t.Time.UTC()
		}
		logs = append(logs, w)
	}
	return logs, times, nil
}

// maxEntries caps the log entries of one bundle.
const maxEntries = 32

// observed adds to a proof what the logs and timestamp authorities of the Root
// say about the signature; without a Sigstore root nobody says anything. by is
// the key that signed, for entries that name it; the zero verifier where a
// certificate does.
func (s signed) observed(p *proof, r trust.Root, by keyVerifier) error {
	v := s.GetVerificationMaterial()
	if !r.Keyless() || len(v.GetTlogEntries())+len(v.GetTimestampVerificationData().GetRfc3161Timestamps()) == 0 {
		return nil
	}
	sigstore, err := r.Sigstore()
	if err != nil {
		return err
	}
	all := material{key: by, TrustedMaterial: sigstore}
	if p.witnesses, p.times, err = s.logged(all); err != nil {
		return err
	}
	stamps, _, err := sigverify.VerifySignedTimestamp(s, all)
	if err != nil {
		return s.refuse(reason.EnvelopeMalformed, "", "", err)
	}
	for _, t := range stamps {
		p.times = append(p.times, witnessed{t.Time, TimeTSA})
	}
	p.witnesses = stamped(p.witnesses, p.times)
	return nil
}
