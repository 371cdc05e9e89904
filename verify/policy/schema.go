package policy

import (
	_ "embed"
	"encoding/json"
	"strings"
)

// schema describes the file for editors and other programs (JSON Schema, draft
// 2020-12). Tests hold it against the reader, key by key; what a schema cannot say
// (identities that are named, thresholds that can be met), the reader alone does.
//
//go:embed policy.schema.json
var schema string

// Schema is the JSON Schema of the policy file.
func Schema() []byte { return []byte(schema) }

// sketch is what is read of a schema to say what a key is for.
type sketch struct {
	Ref         string            `json:"$ref"`
	Description string            `json:"description"`
	Properties  map[string]sketch `json:"properties"`
	Items       *sketch           `json:"items"`
	Others      *sketch           `json:"additionalProperties"`
	Defs        map[string]sketch `json:"$defs"`
}

// UnmarshalJSON takes the schemas true and false for one that says nothing.
func (s *sketch) UnmarshalJSON(raw []byte) error {
	type plain sketch
	if string(raw) == "true" || string(raw) == "false" {
		return nil
	}
	return json.Unmarshal(raw, (*plain)(s))
}

// target follows references, the nearest description standing.
func (s sketch) target(root sketch) sketch {
	for s.Ref != "" {
		to := root.Defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
		if s.Description != "" {
			to.Description = s.Description
		}
		s = to
	}
	return s
}
