// SPDX-License-Identifier: Apache-2.0

// Streams a checkpoint to host memory and prints each tensor as soon as it is there. streamer.h is
// needed to build it; libstreamer.so is loaded at run time.
//
//	CGO_CFLAGS=-I/path/to/capi go build load_checkpoint.go
//	./load_checkpoint /path/to/libstreamer.so URI
package main

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>

#include "streamer.h"

// Go calls no pointers to functions: each has a function of C in front of it.
#define EACH_FUNCTION(F) \
  F(checkpoint_open) F(checkpoint_close) F(plan_new) F(plan_add_matching) F(plan_free) \
  F(load_start) F(load_next) F(load_close) F(tensor_get_view) F(tensor_release) F(dtype_name) \
  F(error_line) F(error_free)
#define POINTER(name) static __typeof__(&streamer_##name) name;
EACH_FUNCTION(POINTER)

// What is missing; NULL if all is there.
static const char *find_all(void *library) {
#define FIND(name) \
  name = (__typeof__(name))dlsym(library, "streamer_" #name); \
  if (name == NULL) return #name;
  EACH_FUNCTION(FIND)
  return NULL;
}

static streamer_status open_one(const char *uri, streamer_checkpoint **out, streamer_error **error) {
  return checkpoint_open(&uri, 1, NULL, NULL, out, error);
}
static void close_checkpoint(streamer_checkpoint *checkpoint) { checkpoint_close(checkpoint); }
// A load of every tensor. The plan is not needed once it has begun.
static streamer_status load_all(streamer_checkpoint *checkpoint, streamer_load **out,
                                streamer_error **error) {
  streamer_plan *plan = NULL;
  streamer_status status = plan_new(checkpoint, &plan, error);
  if (status == STREAMER_OK) status = plan_add_matching(plan, NULL, NULL, error);
  if (status == STREAMER_OK) status = load_start(plan, NULL, NULL, out, error);
  plan_free(plan);
  return status;
}
static streamer_status next_tensor(streamer_load *load, streamer_tensor **out,
                                   streamer_error **error) {
  return load_next(load, -1, out, error);
}
static void end_load(streamer_load *load) { load_close(load); }
static streamer_tensor_view view_of(const streamer_tensor *tensor) {
  streamer_tensor_view view = STREAMER_TENSOR_VIEW_INIT;
  tensor_get_view(tensor, &view);
  return view;
}
static void release(streamer_tensor *tensor) { tensor_release(tensor); }
static const char *name_of(int32_t dtype) { return dtype_name(dtype); }
static const char *line_of(const streamer_error *error) { return error_line(error); }
static void drop(streamer_error *error) { error_free(error); }
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"unsafe"
)

func openLibrary(path string) error {
	text := C.CString(path)
	defer C.free(unsafe.Pointer(text))
	library := C.dlopen(text, C.RTLD_NOW)
	if library == nil {
		return errors.New(C.GoString(C.dlerror()))
	}
	if missing := C.find_all(library); missing != nil {
		return errors.New("libstreamer has no streamer_" + C.GoString(missing))
	}
	return nil
}

func take(failure *C.streamer_error) error {
	defer C.drop(failure)
	return errors.New(C.GoString(C.line_of(failure)))
}

func run(uri string) (tensors int, bytes uint64, err error) {
	text := C.CString(uri)
	defer C.free(unsafe.Pointer(text))
	var failure *C.streamer_error
	var checkpoint *C.streamer_checkpoint
	if C.open_one(text, &checkpoint, &failure) != C.STREAMER_OK {
		return 0, 0, take(failure)
	}
	defer C.close_checkpoint(checkpoint)
	var load *C.streamer_load
	if C.load_all(checkpoint, &load, &failure) != C.STREAMER_OK {
		return 0, 0, take(failure)
	}
	defer C.end_load(load)
	for {
		var tensor *C.streamer_tensor
		switch C.next_tensor(load, &tensor, &failure) {
		case C.STREAMER_OK:
			view := C.view_of(tensor)
			shape := unsafe.Slice((*uint64)(unsafe.Pointer(view.shape)), int(view.rank))
			fmt.Println(C.GoStringN(view.name, C.int(view.name_size)),
				C.GoString(C.name_of(view.dtype)), shape)
			tensors++
			bytes += uint64(view.bytes)
			C.release(tensor)
		case C.STREAMER_END:
			return tensors, bytes, nil
		default:
			return tensors, bytes, take(failure)
		}
	}
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "load_checkpoint LIBSTREAMER URI")
		os.Exit(2)
	}
	if err := openLibrary(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	tensors, bytes, err := run(os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%d tensors, %d bytes\n", tensors, bytes)
}
