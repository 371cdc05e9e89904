package trust

import (
	"errors"
	"fmt"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	prototrust "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
)

// windows holds every authority and log of the root to one rule: it says since
// when it is valid and does not end before that. A missing start would be read
// as "always" by a library that treats a zero time as unbounded. Logs must
// also differ, because a second entry with the same ID would replace the first.
func windows(pb *prototrust.TrustedRoot) error {
	for i, ca := range pb.GetCertificateAuthorities() {
		if err := window(ca.GetValidFor()); err != nil {
			return fmt.Errorf("certificateAuthorities[%d] %s: %w", i, ca.GetUri(), err)
		}
	}
	for i, tsa := range pb.GetTimestampAuthorities() {
		if err := window(tsa.GetValidFor()); err != nil {
			return fmt.Errorf("timestampAuthorities[%d] %s: %w", i, tsa.GetUri(), err)
		}
	}
	if err := logs("tlogs", pb.GetTlogs()); err != nil {
		return err
	}
	return logs("ctlogs", pb.GetCtlogs())
}

func logs(field string, all []*prototrust.TransparencyLogInstance) error {
	seen := map[string]bool{}
	for i, log := range all {
		if err := window(log.GetPublicKey().GetValidFor()); err != nil {
			return fmt.Errorf("%s[%d] %s: %w", field, i, log.GetBaseUrl(), err)
		}
		id := string(log.GetLogId().GetKeyId())
		if seen[id] {
			return fmt.Errorf("%s[%d] %s: log %x is listed twice", field, i, log.GetBaseUrl(), id)
		}
		seen[id] = true
	}
	return nil
}

func window(r *protocommon.TimeRange) error {
	switch {
	case r.GetStart().CheckValid() != nil: // also when there is none
		return errors.New("no start of validity")
	case r.GetEnd() != nil && r.GetEnd().CheckValid() != nil:
		return errors.New("end of validity is no time")
	case r.GetEnd() != nil && r.GetEnd().AsTime().Before(r.GetStart().AsTime()):
		return errors.New("validity ends before it starts")
	}
	return nil
}
