package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/ztlaunch/ztlaunch/verify/artifact"
	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// condition is how an exchange with a registry can end other than well. Each
// has a code of its own, and another one while evidence is sought, because
// "the image cannot be had" and "nobody can tell whether it is signed" call
// for different answers.
type condition uint8

const (
	absent       condition = iota // 404
	unauthorized                  // 401
	forbidden                     // 403
	throttled                     // 429
	failing                       // 5xx, other statuses, and no HTTP at all
	timedOut
	unreachable
	untrusted // TLS
	plainHTTP
	cut // the connection ended within a body
	conditions
)

func (c condition) code(evidence bool) reason.Code {
	if evidence {
		return [conditions]reason.Code{reason.ReferrersAbsent, reason.ReferrersUnauthorized, reason.ReferrersForbidden,
			reason.ReferrersThrottled, reason.ReferrersFailing, reason.ReferrersTimeout, reason.ReferrersUnreachable,
			reason.ReferrersTLS, reason.ReferrersPlainHTTP, reason.ReferrersCut}[c]
	}
	return [conditions]reason.Code{reason.ContentAbsent, reason.RegistryUnauthorized, reason.RegistryForbidden,
		reason.RegistryThrottled, reason.RegistryFailing, reason.RegistryTimeout, reason.RegistryUnreachable,
		reason.RegistryTLS, reason.RegistryPlainHTTP, reason.RegistryCut}[c]
}

// statusError is an HTTP status that is not the wanted one.
type statusError struct {
	status int
	detail string // from the body, as text
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("HTTP status %d %s", e.status, http.StatusText(e.status))
	if e.detail != "" {
		s += ": " + e.detail
	}
	return s
}

var (
	errPlainHTTP = errors.New("plain HTTP is for loopback only")
	errNotLocal  = errors.New("a loopback name leads elsewhere")
)

// stalled ends a transfer that delivers nothing, or too little.
type stalled string

const (
	nothing   stalled = "nothing came for too long"
	trickling stalled = "what came took too long"
)

func (s stalled) Error() string { return string(s) }
func (stalled) Timeout() bool   { return true }

func conditionOf(err error) condition {
	var verify *tls.CertificateVerificationError
	if errors.As(err, &verify) {
		return untrusted // before the status of a second try without TLS, on loopback
	}
	status := 0
	var se *statusError
	var te *transport.Error
	if errors.As(err, &se) {
		status = se.status
	} else if errors.As(err, &te) {
		status = te.StatusCode
	}
	switch {
	case status == http.StatusNotFound:
		return absent
	case status == http.StatusUnauthorized:
		return unauthorized
	case status == http.StatusForbidden:
		return forbidden
	case status == http.StatusTooManyRequests:
		return throttled
	case status != 0:
		return failing
	}
	var timeout interface{ Timeout() bool }
	var alert tls.AlertError
	var record tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return timedOut
	case errors.As(err, &alert):
		return untrusted
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return plainHTTP
	case errors.As(err, &op) && op.Op == "dial", errors.Is(err, errNotLocal):
		return unreachable
	case errors.As(err, &record):
		return untrusted
	case errors.Is(err, errPlainHTTP):
		return plainHTTP
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return cut
	}
	return failing
}

// passing reports whether the same request may well succeed soon.
func passing(err error) bool {
	switch c := conditionOf(err); c {
	case throttled, cut:
		return true
	case failing:
		var se *statusError
		var te *transport.Error
		switch {
		case errors.As(err, &se):
			return se.status >= 500
		case errors.As(err, &te):
			return te.StatusCode >= 500
		}
		return true
	}
	return false
}

// trouble puts an error of an exchange into words. An error that has a code
// already, and the end of the caller's context, keep what they are.
func (r *registry) trouble(ctx context.Context, what string, evidence bool, err error) error {
	if _, ok := reason.Of(err); ok {
		return err
	}
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return interrupted(r.ref, context.Canceled)
	}
	c := conditionOf(err)
	e := &reason.Error{Code: c.code(evidence), What: what, Expected: "an answer from " + r.repo.RegistryStr(), Err: err}
	switch c {
	case unauthorized:
		e.Expected, e.Next = "credentials for "+r.repo.RegistryStr(), "docker login "+r.repo.RegistryStr()
	case forbidden:
		e.Next = "docker login " + r.repo.RegistryStr()
	case untrusted:
		e.Next = "--registry-ca FILE"
	case plainHTTP:
		e.Expected = "HTTPS"
	}
	return e
}

func interrupted(ref artifact.Reference, err error) error {
	return &reason.Error{Code: reason.FetchInterrupted, What: "resolve " + ref.String(), Err: err}
}
