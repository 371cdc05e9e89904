// Package reason owns the vocabulary of refusals: every cause for which ztlaunch
// says no has one stable, kebab-case code, and every code belongs to one class
// that fixes the exit status.
//
// The classes keep five answers apart that other tools blur: the caller asked
// for something malformed (Usage), the evidence is authoritatively absent or
// wrong (Denied), nobody can tell because something was unreachable or
// unreadable (CannotTell), what was found is too old or was rolled back
// (Stale), and ztlaunch itself is at fault (Internal).
//
// A code never changes its meaning once released. The package decides nothing:
// it only names what other packages found.
package reason

import (
	"errors"
	"fmt"
	"strings"
)

// Class groups codes by what the caller can do about them.
type Class uint8

// The classes, in no order of weight; see Worst for that.
const (
	Denied     Class = iota + 1 // the evidence is absent or wrong: exit 1
	Usage                       // the command line or a configuration file is wrong: exit 2
	CannotTell                  // unreachable, throttled or unreadable: exit 3
	Stale                       // too old, or rolled back: exit 4
	Internal                    // a fault of ztlaunch: exit 5
	Host                        // this host cannot do what was asked: exit 125 for run, 3 elsewhere
)

// Exit is the exit status of a verification or file verb that ends with a
// reason of this class. An unknown class exits as Internal: never as success.
func (c Class) Exit() int {
	switch c {
	case Denied:
		return 1
	case Usage:
		return 2
	case CannotTell, Host:
		return 3
	case Stale:
		return 4
	}
	return 5
}

// String is the class as reports print it.
func (c Class) String() string {
	switch c {
	case Denied:
		return "denied"
	case Usage:
		return "usage"
	case CannotTell:
		return "cannot-tell"
	case Stale:
		return "stale"
	case Host:
		return "host"
	}
	return "internal"
}

// Worst orders exit statuses of several results: 5, then 2, 1, 4, 3, 0.
func Worst(a, b int) int {
	for _, s := range [...]int{5, 2, 1, 4, 3} {
		if a == s || b == s {
			return s
		}
	}
	return 0
}

// Code names one cause of refusal, in kebab-case, unique per cause.
type Code string

// Class looks the code up in the table; an unlisted code is Internal.
func (c Code) Class() Class {
	for _, rows := range tables() {
		for _, r := range rows {
			if r.Code == c {
				return r.Class
			}
		}
	}
	return Internal
}

// Error is a refusal: what was being done, what was expected, what was found
// and what the reader can type or change next. Only Code and What are
// required.
type Error struct {
	Code     Code
	What     string // the act and its object: "read manifest sha256:ab..."
	Expected string
	Found    string
	Next     string // the exact command, or the smallest policy change
	Err      error  // the cause, if a caller may branch on it
}

// Error reads `read manifest sha256:ab...: digest-mismatch-manifest (expected X, found Y)`.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.What, e.Code)
	switch {
	case e.Expected != "" && e.Found != "":
		fmt.Fprintf(&b, " (expected %s, found %s)", e.Expected, e.Found)
	case e.Expected != "":
		fmt.Fprintf(&b, " (expected %s)", e.Expected)
	case e.Found != "":
		fmt.Fprintf(&b, " (found %s)", e.Found)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// Of finds the refusal inside an error.
func Of(err error) (*Error, bool) {
	var e *Error
	if errors.As(err, &e) {
		return e, true
	}
	return nil, false
}

// Panicked is the refusal for what recover found. A goroutine that another waits for
// hands it over: nobody could catch it there, and Go would end the process with a
// status that means something else.
func Panicked(what string, fault any) *Error {
	return &Error{Code: InternalFault, What: what, Found: fmt.Sprint(fault)}
}
