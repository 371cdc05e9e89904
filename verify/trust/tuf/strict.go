package tuf

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/ztlaunch/ztlaunch/verify/content"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// strict refuses metadata that two readers could read in two ways, that lacks
// what go-tuf takes for granted, or that has names that are no plain paths. It
// says nothing about signatures.
func strict(name string, raw []byte) error {
	malformed := func(found string, err error) error {
		return refuse(reason.TUFMalformed, "read "+name, "metadata of TUF 1.0, one JSON value without double members", found, err)
	}
	if err := content.CheckJSON(name, raw); err != nil {
		return malformed("", err)
	}
	var doc any
	err := json.Unmarshal(raw, &doc)
	if err == nil && hasNull(doc) { // where go-tuf takes an object for granted
		return malformed("a member that is null", nil)
	}
	var names []string
	switch strings.TrimLeft(name, "0123456789.") {
	case "root.json":
		_, err = metadata.Root().FromBytes(raw)
	case "timestamp.json":
		var m *metadata.Metadata[metadata.TimestampType]
		if m, err = metadata.Timestamp().FromBytes(raw); err == nil {
			if m.Signed.Meta["snapshot.json"] == nil {
				return malformed("no version of snapshot.json", nil)
			}
			names = slices.Sorted(maps.Keys(m.Signed.Meta))
		}
	case "snapshot.json":
		var m *metadata.Metadata[metadata.SnapshotType]
		if m, err = metadata.Snapshot().FromBytes(raw); err == nil {
			if m.Signed.Meta["targets.json"] == nil {
				return malformed("no version of targets.json", nil)
			}
			names = slices.Sorted(maps.Keys(m.Signed.Meta))
		}
	case "targets.json":
		var m *metadata.Metadata[metadata.TargetsType]
		if m, err = metadata.Targets().FromBytes(raw); err == nil {
			names = slices.Sorted(maps.Keys(m.Signed.Targets))
			if d := m.Signed.Delegations; d != nil {
				for _, r := range d.Roles {
					names = append(names, r.Name)
				}
			}
		}
	}
	if err != nil {
		return malformed("", err)
	}
	for _, file := range names {
		if !fs.ValidPath(file) || file == "." || strings.ContainsAny(file, "\\\x00\n") {
			return refuse(reason.TUFPath, "read "+name, "names that are plain relative paths", fmt.Sprintf("%.200q", file), nil)
		}
	}
	return nil
}

func hasNull(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return slices.ContainsFunc(v, hasNull)
	case map[string]any:
		for _, member := range v {
			if hasNull(member) {
				return true
			}
		}
	}
	return false
}
