// Package cel holds conditions over a predicate, for what typed policy fields
// cannot say. A condition is one expression of the Common Expression Language
// (https://github.com/google/cel-spec) that is true or false, over these variables:
//
//	predicate   the signed predicate: maps, lists, strings, numbers, booleans, null
//	now         the time of the decision
//	signedAt    the proved time of the signature, or the zero time
//
// There is no input or output: the language has none and no function is added.
// An expression is at most 4 KiB long and nested 32 deep; one evaluation may
// spend 100,000 cost units (about a millisecond) and is then refused. An
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
)

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
	env, err := cel.NewEnv(
		cel.Variable("predicate", cel.DynType),
		cel.Variable("now", cel.TimestampType),
		cel.Variable("signedAt", cel.TimestampType),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserRecursionLimit(maxDepth),
		cel.ParserExpressionSizeLimit(maxSource),
	)
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

// Holds evaluates the condition. predicate is decoded JSON whose integers are
// int64 and other numbers float64.
func (p Program) Holds(predicate any, now, signedAt time.Time) (bool, error) {
	if p.Zero() {
		return false, errors.New("no condition")
	}
	out, _, err := p.program.Eval(map[string]any{"predicate": predicate, "now": now, "signedAt": signedAt})
	if err != nil {
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
