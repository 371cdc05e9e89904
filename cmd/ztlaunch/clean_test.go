package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// TestRunnersCommands: what a registry answers is no command to the CI runner that
// reads our output, in text and in JSON.
func TestRunnersCommands(t *testing.T) {
	hostile := "##vso[task.setvariable variable=DEPLOY]yes ####[set-output name=verified;]true"
	err := &reason.Error{Code: reason.RegistryForbidden, What: "ask registry.example", Err: errors.New(hostile)}
	var text, raw bytes.Buffer
	refusal(&text, "tree", err)
	if e := writeJSON(&raw, asFailure(err, 3)); e != nil {
		t.Fatal(e)
	}
	if e := writeJSON(&raw, map[string]string{"subject": hostile}); e != nil {
		t.Fatal(e)
	}
	for _, out := range []string{text.String(), raw.String()} {
		if strings.Contains(out, "##") || !strings.Contains(out, "task.setvariable") {
			t.Errorf("%s", out)
		}
	}
}
