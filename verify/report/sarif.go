package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// What GitHub's code scanning shows of one file: results of a run, and the bytes of
// the compressed file (10 MB), of which the text before compression stays below.
const (
	maxResults    = 5000
	maxResultSize = 8 << 20
)

type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Invocations []sarifInvocation `json:"invocations"`
		ColumnKind  string            `json:"columnKind"`
		Results     []sarifResult     `json:"results"`
		Properties  map[string]int    `json:"properties"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string            `json:"id"`
		ShortDescription sarifText         `json:"shortDescription"`
		FullDescription  sarifText         `json:"fullDescription"`
		Help             sarifText         `json:"help"`
		Default          sarifLevel        `json:"defaultConfiguration"`
		Properties       map[string]string `json:"properties"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifLevel struct {
		Level string `json:"level"`
	}
	sarifInvocation struct {
		Successful    bool                `json:"executionSuccessful"`
		Exit          int                 `json:"exitCode"`
		Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level   string    `json:"level"`
		Message sarifText `json:"message"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Kind         string            `json:"kind"`
		Level        string            `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Related      []sarifLocation   `json:"relatedLocations,omitempty"`
		Fingerprints map[string]string `json:"partialFingerprints"`
		Properties   map[string]string `json:"properties"`
	}
	sarifLocation struct {
		ID       int           `json:"id,omitempty"`
		Message  *sarifText    `json:"message,omitempty"`
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
)

// SARIF writes verdicts as one run of a SARIF 2.1.0 log (OASIS, errata 01): a result
// of kind fail and level error for each finding that denies, whether decided or not,
// and a rule for each reason code among them. Findings that passed are counted in the
// run's properties and are no results: code scanning takes every result for an alert,
// whatever its kind.
//
// A result lies where the artifact was named, else at the policy's line; where neither
// is known, at line 1 of a file with the reference's name, since code scanning refuses
// a file with a result that lies nowhere. Its fingerprint covers kind, reference
// without digest, code and check: no line, no time, no digest of what was built, so
// that an alert stays one alert.
func SARIF(base string, all ...Verdict) ([]byte, error) {
	all = whole(all)
	items, left := failures(all, maxResults)
	run := sarifRun{ColumnKind: "unicodeCodePoints", Results: []sarifResult{}, Properties: map[string]int{}}
	run.Tool.Driver = sarifDriver{Name: "ztlaunch", InformationURI: "https://github.com/ztlaunch/ztlaunch", Rules: rules(items)}
	seen := map[string]int{}
	size := 0
	for n, i := range items {
		r := i.result(base, run.Tool.Driver.Rules, seen)
		raw, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("write SARIF: %w", err)
		}
		if size += len(raw); size > maxResultSize {
			left += len(items) - n
			break
		}
		run.Results = append(run.Results, r)
	}
	_, _, undecided := results(all)
	done := sarifInvocation{Successful: undecided == 0 && Exit(all...) != reason.Internal.Exit(), Exit: Exit(all...)}
	if left > 0 {
		done.Notifications = []sarifNotification{{"error", sarifText{fmt.Sprintf("%d more results are left out: the JSON report has them all.", left)}}}
	}
	run.Invocations = []sarifInvocation{done}
	run.Properties["verdicts"] = len(all)
	run.Properties["passed"], run.Properties["skipped"] = count(all)
	run.Properties["leftOut"] = left
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(sarifLog{"https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json", "2.1.0", []sarifRun{run}}); err != nil {
		return nil, fmt.Errorf("write SARIF: %w", err)
	}
	return Unsigned(b.Bytes()), nil
}

// rules describes each code once, sorted.
func rules(items []item) []sarifRule {
	out := []sarifRule{}
	for _, i := range items {
		code := reason.Code(i.f.Code)
		means := code.Means()
		if means == "" {
			means = "an unlisted cause"
		}
		out = append(out, sarifRule{ID: i.f.Code, ShortDescription: sarifText{prose(means)}, FullDescription: sarifText{prose(means)},
			Help: sarifText{prose(code.Next())}, Default: sarifLevel{"error"}, Properties: map[string]string{"class": code.Class().String()}})
	}
	slices.SortFunc(out, func(a, b sarifRule) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(out, func(a, b sarifRule) bool { return a.ID == b.ID })
}

func (i item) result(base string, rules []sarifRule, seen map[string]int) sarifResult {
	r := sarifResult{RuleID: i.f.Code, Kind: "fail", Level: "error", Properties: map[string]string{"result": i.v.Result, "artifact": brief(i.v.Subject.Reference)}}
	r.RuleIndex = slices.IndexFunc(rules, func(r sarifRule) bool { return r.ID == i.f.Code })
	text := i.v.Subject.Reference + ": " + i.f.What
	for _, row := range i.f.rows() {
		text += "; " + row[0] + ": " + row[1]
	}
	r.Message.Text = prose(text)
	if d := i.v.Subject.Digest; d != "" {
		r.Properties["digest"] = d
	}
	if i.f.Rule != "" {
		r.Properties["rule"] = brief(i.f.Rule)
	}
	for n, p := range i.places() {
		at := sarifLocation{Physical: sarifPhysical{sarifArtifact{uri(base, p.File)}, sarifRegion{p.Line}}}
		if n == 0 {
			r.Locations = []sarifLocation{at}
			continue
		}
		at.ID, at.Message = n, &sarifText{"the policy's demand"}
		r.Related = append(r.Related, at)
	}
	if r.Locations == nil {
		r.Locations = []sarifLocation{{Physical: sarifPhysical{sarifArtifact{uri("", i.v.Subject.Reference)}, sarifRegion{1}}}}
	}
	r.Fingerprints = i.fingerprints(seen)
	return r
}

// fingerprints are ours, and the one name that code scanning reads. A cause that
// shows twice gets a number.
func (i item) fingerprints(seen map[string]int) map[string]string {
	h := sha256.New()
	for _, part := range []string{"ztlaunch/v1", i.v.Subject.Kind, undigested(i.v.Subject.Reference), i.f.Code, i.f.What} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	sum := hex.EncodeToString(h.Sum(nil))
	seen[sum]++
	sum = fmt.Sprintf("%s:%d", sum[:32], seen[sum])
	return map[string]string{"ztlaunch/v1": sum, "primaryLocationLineHash": sum}
}

// prose is text for a SARIF message (section 3.11): braces are doubled, since a
// single one begins a placeholder, and nothing in it is a link.
func prose(s string) string {
	return strings.NewReplacer("{", "{{", "}", "}}", "](", "] (").Replace(cut(plain(s), 4*maxText))
}
