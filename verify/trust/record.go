package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// RecordSchema names the form of a record of an installed root.
const RecordSchema = "ztlaunch.trust-record/v1"

// MaxRecordSize caps a record, in bytes.
const MaxRecordSize = 16 << 10

// Record says which Sigstore root is installed, and where it is from.
type Record struct {
	Schema    string        `json:"schema"`
	Root      digest.Digest `json:"root"`          // of the trusted_root.json
	Source    string        `json:"source"`        // a path or URL
	Date      time.Time     `json:"date,omitzero"` // when it was known to be current; zero if nobody knows
	Installed time.Time     `json:"installed"`     // by this host's clock
	Signed    bool          `json:"signed"`        // it is the target of TUF's metadata, not a file that somebody named
	TUF       *Metadata     `json:"tuf,omitempty"` // nil before the first update
}

// Metadata is the newest metadata of a TUF repository that this host has seen.
// It outlives a root that was installed from a file, so that the repository
// cannot be rolled back behind it.
type Metadata struct {
	Anchor    digest.Digest `json:"anchor"` // the first root.json, which the operator chose
	Root      Version       `json:"root"`
	Timestamp Version       `json:"timestamp"`
	Snapshot  Version       `json:"snapshot"`
	Targets   Version       `json:"targets"`
}

// Version is one metadata file.
type Version struct {
	Version int64         `json:"version"`
	Digest  digest.Digest `json:"digest"`
}

// Encode writes the record.
func (r Record) Encode() ([]byte, error) {
	r.Schema = RecordSchema
	raw, err := json.MarshalIndent(r, "", "  ")
	return append(raw, '\n'), err
}

// ParseRecord reads a record strictly. It refuses with trust-record-malformed.
func ParseRecord(raw []byte) (Record, error) {
	malformed := func(err error) (Record, error) {
		return Record{}, &reason.Error{Code: reason.TrustRecordMalformed, What: "read the record of the installed root",
			Expected: RecordSchema, Err: err, Next: "ztlaunch trust add --replace FILE"}
	}
	if len(raw) > MaxRecordSize {
		return malformed(fmt.Errorf("more than %d bytes", MaxRecordSize))
	}
	var r Record
	if err := content.DecodeJSON("record", raw, &r); err != nil {
		return malformed(err)
	}
	r = Record{}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return malformed(err)
	}
	digests := []digest.Digest{r.Root}
	if r.TUF != nil {
		digests = append(digests, r.TUF.Anchor)
		for _, v := range []Version{r.TUF.Root, r.TUF.Timestamp, r.TUF.Snapshot, r.TUF.Targets} {
			if v.Version < 1 {
				return malformed(fmt.Errorf("version %d", v.Version))
			}
			digests = append(digests, v.Digest)
		}
	}
	for _, d := range digests {
		if err := content.CheckDigest(d); err != nil {
			return malformed(err)
		}
	}
	switch {
	case r.Schema != RecordSchema:
		return malformed(fmt.Errorf("schema %q", r.Schema))
	case r.Installed.IsZero():
		return malformed(errors.New("no time of installation"))
	case r.Signed && (r.TUF == nil || r.Date.IsZero()):
		return malformed(errors.New("signed without metadata and date"))
	}
	return r, nil
}
