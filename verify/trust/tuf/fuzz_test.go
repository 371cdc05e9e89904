package tuf_test

import (
	"bytes"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/ztlaunch/ztlaunch/verify/reason"
	"github.com/ztlaunch/ztlaunch/verify/trust/tuf"
	"github.com/ztlaunch/ztlaunch/verify/verifytest"
)

// FuzzRefresh puts anything in a role's place, as it is and signed by the role's own
// keys: whoever steals those may stop an update, and ends nothing in a fault.
func FuzzRefresh(f *testing.F) {
	r := verifytest.NewRepository(f, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), []byte("first"))
	names := []string{"2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"}
	f.Add(uint8(0), []byte(`{"signatures":[],"signed":{"_type":"root","version":2,"roles":{"root":null}}}`))
	f.Add(uint8(1), []byte(`{"signatures":[],"signed":{"_type":"timestamp","version":1,"meta":{"snapshot.json":null}}}`))
	f.Add(uint8(2), []byte(`{"signatures":[],"signed":{"_type":"snapshot","version":1,"meta":{"../x":{"version":1}}}}`))
	f.Add(uint8(3), []byte(`{"signatures":[],"signed":{"_type":"targets","version":1,"targets":{"a":null}}}`))
	for i, name := range []string{"1.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"} {
		f.Add(uint8(i), r.Files[name])
	}
	f.Fuzz(func(t *testing.T, which uint8, raw []byte) {
		name := names[int(which)%len(names)]
		for _, raw := range [][]byte{raw, stolen(t, r, name, raw)} {
			files := maps.Clone(r.Files)
			files[name] = raw
			if _, err := tuf.Refresh(tuf.Kept{Root: r.Files["1.root.json"]}, serve(files), now); err != nil {
				if _, ok := reason.Of(err); !ok && !strings.Contains(err.Error(), "too large") {
					t.Fatalf("refused without a reason: %v", err)
				}
			}
			if err := tuf.CheckRoot(raw); err != nil {
				if _, ok := reason.Of(err); !ok {
					t.Fatalf("refused without a reason: %v", err)
				}
			}
		}
	})
}

// stolen is raw signed with the role's keys, or nothing if it is no metadata of that
// role.
func stolen(t *testing.T, r *verifytest.Repository, name string, raw []byte) []byte {
	t.Helper()
	if bytes.Contains(raw, []byte("null")) { // go-tuf's own reader does not stand all of it
		return nil
	}
	thief := *r
	thief.Files = map[string][]byte{}
	role := strings.TrimSuffix(strings.TrimLeft(name, "0123456789."), ".json")
	var err error
	switch role {
	case metadata.ROOT:
		thief.Root, err = metadata.Root().FromBytes(raw)
	case metadata.TIMESTAMP:
		thief.Timestamp, err = metadata.Timestamp().FromBytes(raw)
	case metadata.SNAPSHOT:
		thief.Snapshot, err = metadata.Snapshot().FromBytes(raw)
	case metadata.TARGETS:
		thief.Targets, err = metadata.Targets().FromBytes(raw)
	}
	if err != nil {
		return nil
	}
	thief.Put(t, role)
	for _, signed := range thief.Files {
		return signed
	}
	return nil
}
