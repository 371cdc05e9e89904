// Package cel holds conditions over a signed statement, for what typed policy
// fields cannot say. A condition is one expression of the Common Expression Language
// (https://github.com/google/cel-spec) that is true or false, over these variables:
//
//	predicate       the signed predicate: maps, lists, strings, numbers, booleans, null
//	predicateType   what it is, a string
//	subject         the artifact's digest by which the statement names it: "sha256:..."
//	subjects        everything that the statement names, a list of maps of strings: name,
//	                which is the signer's own word, and digest ("" if not by sha256)
//	signer.key      the name of the key that signed; "" for a certificate
//	signer.issuer, signer.san, signer.sanType, signer.repository, signer.ref,
//	signer.workflow, signer.trigger, signer.runner
//	                what the certificate says: URLs and words as it holds them, workflow
//	                the one that was started; "" for a key and for what it does not say
//	now             the time of the decision
//	signedAt        by when the signature is proved to have existed, or the zero time; it
//	                bounds no age: whoever has an old signature can have it seen anew
//
// All but predicate are typed: a mistyped name, or a comparison of a text with a
// number, does not compile. Only the two keys of a subject are looked up as it runs.
//
// There is no input or output: the language has none and no function is added.
// An expression is at most 4 KiB long and nested 32 deep; one evaluation may
// spend 100,000 cost units (about a millisecond) and is then refused with ErrCost. An
// expression that touches a member which the predicate lacks is an error, not
// false: use has().
//
// It is a package of its own because importing cel-go costs every start about a
// millisecond of initialisation; nothing is built before Compile is called.
package cel

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/interpreter"
)

// Statement is what a condition is about.
type Statement struct {
	PredicateType string
	Predicate     any // decoded JSON whose integers are int64 and other numbers float64
	Subject       string
	Subjects      []Subject
	Signer        Signer
	SignedAt      time.Time
}

// Subject is one artifact that a statement names.
type Subject struct{ Name, Digest string }

// Signer is who signed a statement.
type Signer struct {
	Key, Issuer, SAN, SANType, Repository, Ref, Workflow, Trigger, Runner string
}

// fields are the signer's variables.
func (s Signer) fields() map[string]string {
	return map[string]string{
		"signer.key": s.Key, "signer.issuer": s.Issuer, "signer.san": s.SAN, "signer.sanType": s.SANType,
		"signer.repository": s.Repository, "signer.ref": s.Ref, "signer.workflow": s.Workflow,
		"signer.trigger": s.Trigger, "signer.runner": s.Runner,
	}
}

// ErrCost is a condition that would take too long.
var ErrCost = errors.New("the condition costs more than one evaluation may spend")

const (
	maxSource = 4 << 10
	maxDepth  = 32
	maxCost   = 100_000
)

// Program is a compiled condition. The zero Program is not one.
type Program struct{ program cel.Program }

// Zero reports whether there is no condition.
func (p Program) Zero() bool { return p.program == nil }

// Compile checks and prepares a condition. Errors are one line.
func Compile(source string) (Program, error) {
	if len(source) > maxSource {
		return Program{}, fmt.Errorf("%d bytes, at most %d", len(source), maxSource)
	}
	options := []cel.EnvOption{
		cel.Variable("predicate", cel.DynType),
		cel.Variable("predicateType", cel.StringType),
		cel.Variable("subject", cel.StringType),
		cel.Variable("subjects", cel.ListType(cel.MapType(cel.StringType, cel.StringType))),
		cel.Variable("now", cel.TimestampType),
		cel.Variable("signedAt", cel.TimestampType),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserRecursionLimit(maxDepth),
		cel.ParserExpressionSizeLimit(maxSource),
	}
	for name := range (Signer{}).fields() {
		options = append(options, cel.Variable(name, cel.StringType))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return Program{}, oneLine(err)
	}
	checked, issues := env.Compile(source)
	if issues.Err() != nil {
		return Program{}, oneLine(issues.Err())
	}
	if t := checked.OutputType(); t != cel.BoolType && t != cel.DynType {
		return Program{}, fmt.Errorf("a condition of type %s, bool is needed", t)
	}
	program, err := env.Program(checked, cel.CostLimit(maxCost))
	if err != nil {
		return Program{}, oneLine(err)
	}
	return Program{program}, nil
}

// Holds evaluates the condition.
func (p Program) Holds(st Statement, now time.Time) (bool, error) {
	if p.Zero() {
		return false, errors.New("no condition")
	}
	subjects := make([]map[string]string, 0, len(st.Subjects))
	for _, s := range st.Subjects {
		subjects = append(subjects, map[string]string{"name": s.Name, "digest": s.Digest})
	}
	variables := map[string]any{"predicate": st.Predicate, "predicateType": st.PredicateType,
		"subject": st.Subject, "subjects": subjects, "now": now, "signedAt": st.SignedAt}
	for name, value := range st.Signer.fields() {
		variables[name] = value
	}
	out, _, err := p.program.Eval(variables)
	var cancelled interpreter.EvalCancelledError
	switch {
	case errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded:
		return false, ErrCost
	case err != nil:
		return false, oneLine(err)
	}
	held, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("the condition is %s, not true or false", out.Type().TypeName())
	}
	return held, nil
}

// oneLine keeps the first line of a message, bounded and free of control
// characters.
func oneLine(err error) error {
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	line = strings.TrimPrefix(line, "ERROR: <input>:")
	line = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return -1
		}
		return r
	}, line)
	if len(line) > 200 {
		line = strings.ToValidUTF8(line[:200], "") + "..."
	}
	return errors.New(line)
}
