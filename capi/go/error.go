// SPDX-License-Identifier: Apache-2.0

package streamer

/*
#include "native.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"
)

// ErrorKind is what a caller can act on: one kind for each way to react. A newer library may have more.
type ErrorKind int32

// The kinds, by their numbers in streamer.h.
const (
	InvalidArgument    ErrorKind = C.STREAMER_ERROR_INVALID_ARGUMENT
	Unsupported        ErrorKind = C.STREAMER_ERROR_UNSUPPORTED
	Cancelled          ErrorKind = C.STREAMER_ERROR_CANCELLED
	MemoryLimit        ErrorKind = C.STREAMER_ERROR_MEMORY_LIMIT
	NotFound           ErrorKind = C.STREAMER_ERROR_NOT_FOUND
	PermissionDenied   ErrorKind = C.STREAMER_ERROR_PERMISSION_DENIED
	CredentialsExpired ErrorKind = C.STREAMER_ERROR_CREDENTIALS_EXPIRED
	ObjectChanged      ErrorKind = C.STREAMER_ERROR_OBJECT_CHANGED
	Throttled          ErrorKind = C.STREAMER_ERROR_THROTTLED
	TimedOut           ErrorKind = C.STREAMER_ERROR_TIMED_OUT
	IO                 ErrorKind = C.STREAMER_ERROR_IO
	Untrusted          ErrorKind = C.STREAMER_ERROR_UNTRUSTED
	ClockSkew          ErrorKind = C.STREAMER_ERROR_CLOCK_SKEW
	Corrupt            ErrorKind = C.STREAMER_ERROR_CORRUPT
	OutOfMemory        ErrorKind = C.STREAMER_ERROR_OUT_OF_MEMORY
	Device             ErrorKind = C.STREAMER_ERROR_DEVICE
	Internal           ErrorKind = C.STREAMER_ERROR_INTERNAL
)

// Error is every error of this package, for errors.As. No text contains a secret.
type Error struct {
	Kind        ErrorKind
	Message     string // what was tried, what happened, what to do; without URI and range
	URI         string // the object, if the error is about one
	RangeOffset uint64
	RangeSize   uint64        // 0: the error is about the whole object
	OSError     syscall.Errno // 0: none
	HTTPStatus  int           // 0: none
	ServiceCode string        // what the store calls it
	RequestID   string
	Host        string // of the endpoint that the request went to
	Attempts    uint32 // at least 1
	Elapsed     time.Duration

	line    string
	context error // why the context ended, if it did
}

// Error is one line: where, what, and what to do.
func (e *Error) Error() string {
	return e.line
}

// Unwrap is the context's error if it ended the call, otherwise that of the system.
func (e *Error) Unwrap() error {
	if e.context != nil {
		return e.context
	}
	if e.OSError != 0 {
		return e.OSError
	}
	return nil
}

// Is matches the errors of package fs of the same meaning, whatever the store is.
func (e *Error) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Kind == NotFound
	case fs.ErrPermission:
		return e.Kind == PermissionDenied || e.Kind == CredentialsExpired
	case fs.ErrInvalid:
		return e.Kind == InvalidArgument
	}
	return false
}

func newError(kind ErrorKind, message string) error {
	return &Error{Kind: kind, Message: message, Attempts: 1, line: message}
}

// cancelled is the error of a call whose context had ended before it.
func cancelled(why error) error {
	made := &Error{Kind: Cancelled, Message: why.Error(), Attempts: 1, context: why}
	if errors.Is(why, context.DeadlineExceeded) {
		made.Kind, made.Message = TimedOut, "the context's deadline passed before the call"
	}
	made.line = made.Message
	return made
}

// ended is the error of a call that began then, with the context's part in it.
func ended(err error, ctx context.Context, began time.Time) error {
	made, isMade := err.(*Error)
	if !isMade || made.Kind != Cancelled {
		return err
	}
	made.context = ctx.Err()
	if errors.Is(made.context, context.DeadlineExceeded) {
		made.Kind, made.Elapsed = TimedOut, time.Since(began)
		message := fmt.Sprintf("the context's deadline passed after %v: %s",
			made.Elapsed.Round(time.Millisecond), made.Message)
		made.line = strings.Replace(made.line, made.Message, message, 1)
		made.Message = message
	}
	return made
}

// take makes an Error of what the library stored, and frees that.
func take(status C.streamer_status, failure *C.streamer_error) error {
	if failure == nil { // only if memory is too short for the error itself
		return newError(ErrorKind(status), "there is no memory for the error")
	}
	defer C.native_error_free(failure)
	info := C.native_error_info(failure)
	return &Error{
		Kind:        ErrorKind(info.status),
		Message:     C.GoString(info.message),
		URI:         C.GoString(info.uri),
		RangeOffset: uint64(info.range_offset),
		RangeSize:   uint64(info.range_size),
		OSError:     syscall.Errno(info.os_error),
		HTTPStatus:  int(info.http_status),
		ServiceCode: C.GoString(info.service_code),
		RequestID:   C.GoString(info.request_id),
		Host:        C.GoString(info.host),
		Attempts:    uint32(info.attempts),
		Elapsed:     time.Duration(info.elapsed_ms) * time.Millisecond,
		line:        C.GoString(C.native_error_line(failure)),
	}
}
