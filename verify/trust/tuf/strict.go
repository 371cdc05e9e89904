package tuf

import (
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
	var names []string
	var err error
	switch strings.TrimLeft(name, "0123456789.") {
	case "root.json":
		var m *metadata.Metadata[metadata.RootType]
		if m, err = metadata.Root().FromBytes(raw); err == nil && (hasNil(m.Signed.Keys) || hasNil(m.Signed.Roles)) {
			return malformed("a key or role that is null", nil)
		}
	case "timestamp.json":
		var m *metadata.Metadata[metadata.TimestampType]
		if m, err = metadata.Timestamp().FromBytes(raw); err == nil {
			if m.Signed.Meta["snapshot.json"] == nil || hasNil(m.Signed.Meta) {
				return malformed("no version of snapshot.json", nil)
			}
			names = slices.Sorted(maps.Keys(m.Signed.Meta))
		}
	case "snapshot.json":
		var m *metadata.Metadata[metadata.SnapshotType]
		if m, err = metadata.Snapshot().FromBytes(raw); err == nil {
			if m.Signed.Meta["targets.json"] == nil || hasNil(m.Signed.Meta) {
				return malformed("no version of targets.json", nil)
			}
			names = slices.Sorted(maps.Keys(m.Signed.Meta))
		}
	case "targets.json":
		var m *metadata.Metadata[metadata.TargetsType]
		if m, err = metadata.Targets().FromBytes(raw); err == nil {
			if hasNil(m.Signed.Targets) {
				return malformed("a target that is null", nil)
			}
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

func hasNil[T any](m map[string]*T) bool {
	for _, v := range m {
		if v == nil {
			return true
		}
	}
	return false
}
