// Package report turns a decision into one verdict object, and verdicts into
// views: text for people, JSON for machines, SARIF, JUnit and GitHub's workflow
// commands for the pages that show what a gate said. Views are functions of the
// verdicts alone. They add nothing; what a reader's limits keep out is counted and
// said; and whatever is not allowed fails in every one of them.
//
// The JSON form, schema "ztlaunch.verdict/v1", is a contract: members keep their
// names and meaning, new ones may be added. result is "allowed", "denied", or
// "undecided" when it could not be told (the findings then hold the one error), and
// exit is the exit status that goes with it. What is wrong before any policy is
// asked, as a layer of other bytes, is denied; what is usage, unreadable, stale or a
// fault is undecided. Digests are
// "sha256:HEX", times RFC 3339 in UTC, absent things are left out. Several
// verdicts are one object of schema "ztlaunch.verdicts/v1" with the worst exit.
//
// named says which line of which file named the artifact, if one did.
//
// Text is not a contract. What an artifact's makers wrote is shown without
// control characters, and without what a runner would take for a command.
package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/evidence"
	"github.com/ztlaunch/ztlaunch/verify/policy"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Schema names the JSON form of a Verdict.
const Schema = "ztlaunch.verdict/v1"

// ManySchema names the JSON form of several verdicts.
const ManySchema = "ztlaunch.verdicts/v1"

// The results.
const (
	Allowed   = "allowed"
	Denied    = "denied"
	Undecided = "undecided"
)

// Verdict is what verification says about one artifact.
type Verdict struct {
	Schema         string    `json:"schema"`
	Result         string    `json:"result"`
	Exit           int       `json:"exit"`
	Subject        Subject   `json:"subject"`
	Named          *Place    `json:"named,omitempty"`
	Purpose        string    `json:"purpose,omitempty"`
	Time           string    `json:"time,omitempty"`
	Until          string    `json:"until,omitempty"` // when the decision's own inputs run out
	Local          bool      `json:"local"`           // no network was used
	Policy         *Policy   `json:"policy,omitempty"`
	Root           *Root     `json:"root,omitempty"`
	DenyFeed       uint64    `json:"denyFeed,omitempty"` // serial
	DenyFeedIssued string    `json:"denyFeedIssued,omitempty"`
	Adopted        *Adopted  `json:"adopted,omitempty"`
	Files          *Files    `json:"files,omitempty"`
	Signers        []Signer  `json:"signers"`
	Findings       []Finding `json:"findings"`
}

// Subject is what the verdict is about.
type Subject struct {
	Reference string `json:"reference"`
	Name      string `json:"name,omitempty"`
	Kind      string `json:"kind,omitempty"`
	Digest    string `json:"digest,omitempty"` // the manifest that runs
	Index     string `json:"index,omitempty"`  // through which it was resolved
	Config    string `json:"config,omitempty"`
	Platform  string `json:"platform,omitempty"`
	Tree      string `json:"tree,omitempty"`
}

// Place is a line of a file that people wrote or reviewed.
type Place struct {
	File string `json:"file"` // an absolute path
	Line int    `json:"line"` // from 1
}

// Policy is the policy that decided.
type Policy struct {
	Path   string `json:"path,omitempty"`
	Digest string `json:"digest"`
}

// Root is the root of trust that claims were proved with.
type Root struct {
	Digest string `json:"digest"`
	Date   string `json:"date,omitempty"` // on which the Sigstore root is known to have been current
}

// Adopted says that the operator vouched for exactly these bytes.
type Adopted struct {
	Reasons []string `json:"reasons"`
}

// Files counts the artifact's files by who vouches for them.
type Files struct {
	SBOM      string `json:"sbom"` // the envelope
	Total     int    `json:"total"`
	Listed    int    `json:"listed"`
	ByPackage int    `json:"byPackage"`
	Excepted  int    `json:"excepted"`
	Uncovered int    `json:"uncovered"`
}

// Signer is one claim that met a demand.
type Signer struct {
	Identity      string   `json:"identity"` // the policy's name
	PredicateType string   `json:"predicateType"`
	Subject       string   `json:"subject"`
	Level         string   `json:"level"` // "index", "manifest", or "files" for a model's signature
	Key           string   `json:"key,omitempty"`
	Authority     string   `json:"authority,omitempty"` // the root of the private authority that certified san
	Issuer        string   `json:"issuer,omitempty"`
	SAN           string   `json:"san,omitempty"`
	Repository    string   `json:"repository,omitempty"`
	Ref           string   `json:"ref,omitempty"`
	Commit        string   `json:"commit,omitempty"`
	Workflow      string   `json:"workflow,omitempty"` // that was started (build config)
	SignedBy      string   `json:"signedBy,omitempty"` // the workflow that signed (build signer); another one where it is reusable
	Trigger       string   `json:"trigger,omitempty"`
	Runner        string   `json:"runner,omitempty"`
	Run           string   `json:"run,omitempty"`
	Time          string   `json:"time,omitempty"`
	TimeSource    string   `json:"timeSource"`     // "tlog", "tsa" or "none"
	Logs          []string `json:"logs,omitempty"` // transparency logs that hold it, by ID
	Envelope      string   `json:"envelope"`
}

// Finding is one check.
type Finding struct {
	Result   string   `json:"result"` // "pass", "fail" or "skip"
	Rule     string   `json:"rule,omitempty"`
	Line     int      `json:"line,omitempty"` // in the policy file
	What     string   `json:"what"`
	Code     string   `json:"code,omitempty"`
	Class    string   `json:"class,omitempty"`
	Expected string   `json:"expected,omitempty"`
	Found    string   `json:"found,omitempty"`
	Next     string   `json:"next,omitempty"`
	Signers  []string `json:"signers,omitempty"`
	Evidence []string `json:"evidence,omitempty"`
}

// Origin is what a decision does not know about itself.
type Origin struct {
	Local    bool
	RootDate time.Time // zero = unknown
}

// Of is the verdict of a decision.
func Of(d policy.Decision, o Origin) Verdict {
	v := Verdict{Schema: Schema, Result: Denied, Exit: d.Exit(), Local: o.Local, Purpose: string(d.Purpose()),
		Time: stamp(d.Time()), Until: stamp(d.Until()), DenyFeed: d.Feed().Serial, DenyFeedIssued: stamp(d.Feed().Issued), Signers: []Signer{}, Findings: []Finding{}}
	if d.Allowed() {
		v.Result = Allowed
	}
	v.Subject = subject(d)
	if sum, path := d.Policy(); sum != "" {
		v.Policy = &Policy{Path: path, Digest: sum.String()}
	}
	if sum := d.Root(); sum != "" {
		v.Root = &Root{Digest: sum.String()}
		if !o.RootDate.IsZero() {
			v.Root.Date = o.RootDate.UTC().Format(time.DateOnly)
		}
	}
	if yes, reasons := d.Adopted(); yes {
		v.Adopted = &Adopted{Reasons: reasons}
	}
	if f := d.Vouched(); f.Files > 0 {
		v.Files = &Files{f.SBOM.String(), f.Files, f.Listed, f.ByPackage, f.Excepted, f.Uncovered}
	}
	for _, p := range d.Proved() {
		v.Signers = append(v.Signers, signer(p))
	}
	for _, f := range d.Findings() {
		v.Findings = append(v.Findings, finding(f))
	}
	return v
}

// Failed is the verdict when no policy was asked about what the operator named. An
// error that is no refusal of ours is an internal fault.
func Failed(reference string, err error) Verdict {
	f, class := failure(reference, err)
	result := Undecided
	if class == reason.Denied {
		result = Denied
	}
	return Verdict{Schema: Schema, Result: result, Exit: class.Exit(), Subject: Subject{Reference: reference}, Signers: []Signer{}, Findings: []Finding{f}}
}

// Refused is the verdict with one more reason to deny, which no policy knows of:
// what a lock says is not what was found.
func (v Verdict) Refused(err error) Verdict {
	f, class := failure(v.Subject.Reference, err)
	v.Findings = append(slices.Clone(v.Findings), f)
	v.Result, v.Exit = Denied, reason.Worst(v.Exit, class.Exit())
	return v
}

// At is the verdict with the line that named the artifact.
func (v Verdict) At(file string, line int) Verdict {
	v.Named = &Place{File: file, Line: line}
	return v
}

func failure(reference string, err error) (Finding, reason.Class) {
	e, ok := reason.Of(err)
	if !ok {
		e = &reason.Error{Code: reason.InternalFault, What: "verify " + reference, Err: err}
	}
	class := e.Code.Class()
	f := Finding{Result: "fail", What: e.What, Code: string(e.Code), Class: class.String(), Expected: cmp.Or(e.Expected, e.Code.Expected()), Found: e.Found, Next: cmp.Or(e.Next, e.Code.Next())}
	if e.Err != nil {
		f.Found = join(f.Found, e.Err.Error())
	}
	return f, class
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + ": " + b
}

func subject(d policy.Decision) Subject {
	a := d.Artifact()
	if a.Zero() {
		return Subject{Tree: d.Tree().String()}
	}
	s := Subject{Reference: a.Ref().String(), Name: a.Ref().Name(), Kind: a.Kind().String(), Digest: a.Digest().String(),
		Index: a.Index().String(), Config: a.ConfigDigest().String(), Tree: d.Tree().String()}
	if a.Kind() != artifact.Model && !a.Platform().Zero() {
		s.Platform = a.Platform().String()
	}
	return s
}

func signer(p policy.Proved) Signer {
	s := Signer{Identity: p.Identity, PredicateType: p.Predicate, Subject: p.Subject.String(), Level: "manifest",
		Key: p.Signer.Key, Authority: p.Signer.Authority, Issuer: p.Signer.Issuer, SAN: p.Signer.SAN, Repository: p.Signer.SourceRepositoryURI,
		Ref: p.Signer.SourceRepositoryRef, Commit: p.Signer.SourceRepositoryDigest, Workflow: p.Signer.BuildConfigURI, SignedBy: p.Signer.BuildSignerURI,
		Trigger: p.Signer.BuildTrigger, Runner: p.Signer.RunnerEnvironment, Run: p.Signer.RunInvocationURI,
		Time: stamp(p.Time), TimeSource: p.Source.String(), Logs: p.Logs, Envelope: p.Envelope.String()}
	switch {
	case p.Index:
		s.Level = "index"
	case p.Predicate == evidence.PredicateModelSignature:
		s.Level = "files"
	}
	return s
}

func finding(f policy.Finding) Finding {
	out := Finding{Result: "fail", Rule: f.Rule, Line: f.Line, What: f.What, Code: string(f.Code), Expected: f.Expected, Found: f.Found, Next: f.Next, Signers: f.Signers}
	switch {
	case f.Pass:
		out.Result = "pass"
	case f.Skipped:
		out.Result = "skip"
	default:
		out.Class, out.Next = f.Code.Class().String(), cmp.Or(f.Next, f.Code.Next())
	}
	for _, d := range f.Evidence {
		out.Evidence = append(out.Evidence, d.String())
	}
	return out
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// Exit is the exit status of a verb that ends with these verdicts; without any
// it is that of an internal fault, since nothing was verified.
func Exit(all ...Verdict) int {
	if len(all) == 0 {
		return reason.Internal.Exit()
	}
	status := 0
	for _, v := range all {
		status = reason.Worst(status, v.Exit)
	}
	return status
}

// JSON writes one verdict, or several as one object, indented and with a final
// newline.
func JSON(all ...Verdict) ([]byte, error) {
	var v any
	if len(all) == 1 {
		v = all[0]
	} else {
		if all == nil {
			all = []Verdict{}
		}
		v = struct {
			Schema   string    `json:"schema"`
			Exit     int       `json:"exit"`
			Verdicts []Verdict `json:"verdicts"`
		}{ManySchema, Exit(all...), all}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("write verdict: %w", err)
	}
	return Unsigned(b.Bytes()), nil
}

// Unsigned writes the second of two number signs in a JSON text as an escape, which
// means the same: a runner takes ##[...] and ##vso[...] anywhere in its output for a
// command.
func Unsigned(raw []byte) []byte { return bytes.ReplaceAll(raw, []byte("##"), []byte("#\\u0023")) }
