// SPDX-License-Identifier: Apache-2.0

// Package streamer moves model weights from storage to memory: safe wrappers over libstreamer's C ABI.
//
//	library, err := streamer.Open("")
//	checkpoint, err := library.OpenCheckpoint(ctx, []string{"/models/llama"}, nil)
//	defer checkpoint.Close()
//	load, err := checkpoint.Load(ctx, streamer.LoadOptions{})
//	defer load.Close()
//	for load.Next() {
//		tensor := load.Tensor()
//		fmt.Println(tensor.Name(), tensor.DType(), tensor.Shape(), len(tensor.Bytes()))
//		tensor.Release()
//	}
//	if err := load.Err(); err != nil { ... }
//
// The library is opened at run time; to build, cgo and a C compiler are enough. A context ends the call
// that it is given to, and a load as long as it runs. Errors are *Error, for errors.As, and match
// context.Canceled and fs.ErrNotExist and the like, for errors.Is. Loads wait in Go's poller and hold no
// thread meanwhile.
//
// Memory of tensors is not Go's: see [Tensor.Bytes] for how long it is there.
package streamer

/*
#cgo CFLAGS: -I${SRCDIR}/..
#cgo LDFLAGS: -ldl
#include "native.h"
*/
import "C"

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// Library is the opened libstreamer.so, from Open. There is one in a process, which stays until its end.
type Library struct{}

var opening struct {
	sync.Mutex
	isOpen bool
	path   string
}

// Open opens the library at a path; "" is the path in the environment variable STREAMER_LIBRARY or,
// without it, libstreamer.so.0 where the loader finds it. Once it is open, later calls return the same
// library, and fail if they name another path.
func Open(path string) (*Library, error) {
	if path == "" {
		path = os.Getenv("STREAMER_LIBRARY")
	}
	if path == "" {
		path = "libstreamer.so.0"
	}
	text, err := cText("path", path)
	if err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(text))
	opening.Lock()
	defer opening.Unlock()
	if opening.isOpen {
		if path != opening.path {
			return nil, newError(Unsupported, fmt.Sprintf(
				"%s is open already; a process has one libstreamer, not also %s", opening.path, path))
		}
		return &Library{}, nil
	}
	why := C.native_open(text)
	if why != nil {
		defer C.free(unsafe.Pointer(why))
		return nil, newError(Unsupported, C.GoString(why))
	}
	opening.isOpen, opening.path = true, path
	return &Library{}, nil
}

// cText makes a text of C, which the caller frees; name is that of the argument.
func cText(name, text string) (*C.char, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, newError(InvalidArgument, name+" contains a NUL")
	}
	return C.CString(text), nil
}

func checkOpen() error {
	opening.Lock()
	defer opening.Unlock()
	if !opening.isOpen {
		return newError(Unsupported, "the library is not open: call streamer.Open")
	}
	return nil
}

// Version is that of the library: "MAJOR.MINOR.PATCH"; "" if it is not open.
func (*Library) Version() string {
	if checkOpen() != nil {
		return ""
	}
	return C.GoString(C.native_version_string())
}

// BuildInfo is what is in the library's build, for humans: lines "NAME: VALUE"; "" if it is not open.
func (*Library) BuildInfo() string {
	if checkOpen() != nil {
		return ""
	}
	return C.GoString(C.native_build_info())
}

// Settings by name, as "streamer settings" lists them; those that are not here come from the environment,
// or are the defaults.
type Settings map[string]string

// native makes what the library takes; the caller frees it.
func (settings Settings) native() (*C.streamer_settings, error) {
	if len(settings) == 0 {
		return nil, nil
	}
	var made *C.streamer_settings
	var failure *C.streamer_error
	if status := C.native_settings_new(&made, &failure); status != C.STREAMER_OK {
		return nil, take(status, failure)
	}
	for name, value := range settings {
		if err := set(made, name, value); err != nil {
			C.native_settings_free(made)
			return nil, err
		}
	}
	return made, nil
}

func set(settings *C.streamer_settings, name, value string) error {
	cName, err := cText("a setting's name", name)
	if err != nil {
		return err
	}
	defer C.free(unsafe.Pointer(cName))
	// Not shown: it may be a secret.
	cValue, err := cText("the value of "+name, value)
	if err != nil {
		return err
	}
	defer C.free(unsafe.Pointer(cValue))
	var failure *C.streamer_error
	if status := C.native_settings_set(settings, cName, cValue, &failure); status != C.STREAMER_OK {
		return take(status, failure)
	}
	return nil
}

// call runs a call of the library that waits for a store, and cancels it when the context ends.
func call(ctx context.Context, settings Settings, run func(*C.streamer_settings, *C.streamer_operation,
	**C.streamer_error) C.streamer_status) error {
	if err := checkOpen(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return cancelled(err)
	}
	began := time.Now()
	native, err := settings.native()
	if err != nil {
		return err
	}
	defer C.native_settings_free(native)
	var operation *C.streamer_operation
	var failure *C.streamer_error
	if status := C.native_operation_new(&operation, &failure); status != C.STREAMER_OK {
		return take(status, failure)
	}
	defer C.native_operation_free(operation)
	stop := watch(ctx, func() { C.native_operation_cancel(operation) })
	status := run(native, operation, &failure)
	stop()
	if status != C.STREAMER_OK {
		return ended(take(status, failure), ctx, began)
	}
	return nil
}

// watch calls cancel once if the context ends before stop is called; after stop it is not running.
func watch(ctx context.Context, cancel func()) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	over, left := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(left)
		select {
		case <-ctx.Done():
			cancel()
		case <-over:
		}
	}()
	return func() {
		close(over)
		<-left
	}
}

// Entry is a file or a folder under a URI.
type Entry struct {
	URI      string // of a folder it ends in '/'
	Bytes    uint64 // 0 for a folder
	IsFolder bool
	ETag     string // as the store writes it; "" for folders and files, or if it sends none
}

// List returns what is directly under a URI, sorted by URI; for a file, the file itself.
func (*Library) List(ctx context.Context, uri string, settings Settings) ([]Entry, error) {
	return list(ctx, uri, settings, 0)
}

// ListAll returns everything below a URI, without folders.
func (*Library) ListAll(ctx context.Context, uri string, settings Settings) ([]Entry, error) {
	return list(ctx, uri, settings, 1)
}

func list(ctx context.Context, uri string, settings Settings, isDeep C.int) ([]Entry, error) {
	text, err := cText("uri", uri)
	if err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(text))
	var listing *C.streamer_listing
	err = call(ctx, settings, func(native *C.streamer_settings, operation *C.streamer_operation,
		failure **C.streamer_error) C.streamer_status {
		return C.native_listing_open(isDeep, text, native, operation, &listing, failure)
	})
	if err != nil {
		return nil, err
	}
	defer C.native_listing_close(listing)
	entries := make([]Entry, int(C.native_listing_count(listing)))
	for i := range entries {
		info := C.native_listing_entry(listing, C.size_t(i))
		entries[i] = Entry{C.GoString(info.uri), uint64(info.bytes), info.is_folder != 0,
			C.GoString(info.etag)}
	}
	return entries, nil
}

// Snapshot returns a local folder with a model's small files (configuration, tokenizer, index), made once
// for each version of them; see streamer_snapshot() in streamer.h. A local folder is its own snapshot.
func (*Library) Snapshot(ctx context.Context, uri string, settings Settings) (string, error) {
	text, err := cText("uri", uri)
	if err != nil {
		return "", err
	}
	defer C.free(unsafe.Pointer(text))
	var files *C.streamer_files
	err = call(ctx, settings, func(native *C.streamer_settings, operation *C.streamer_operation,
		failure **C.streamer_error) C.streamer_status {
		return C.native_snapshot(text, native, operation, &files, failure)
	})
	if err != nil {
		return "", err
	}
	defer C.native_files_close(files)
	return C.GoString(C.native_files_folder(files)), nil
}
