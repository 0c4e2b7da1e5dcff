// SPDX-License-Identifier: Apache-2.0

package streamer

/*
#include "native.h"
*/
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"unsafe"
)

// Checkpoint is one or more safetensors objects as one set of tensors, each object pinned to the version it
// had when it was opened. Immutable; any number of goroutines may use it. It may be closed before its loads.
type Checkpoint struct {
	mutex  sync.RWMutex
	handle *C.streamer_checkpoint // nil: it is closed
}

func errClosed(what string) error {
	return newError(InvalidArgument, "the "+what+" is closed")
}

// TensorInfo is a tensor as it is stored.
type TensorInfo struct {
	Number       int // in the checkpoint
	Name         string
	DType        string   // "BF16", as safetensors spells it
	Shape        []uint64 // empty for a scalar
	Bytes        uint64
	Object       int    // the number of the object that holds it
	ObjectOffset uint64 // of its first byte in the object
}

// ObjectInfo is one stored file of a checkpoint.
type ObjectInfo struct {
	URI         string
	Bytes       uint64
	TensorCount int
	Version     string // differs if the bytes may differ
}

// OpenCheckpoint opens safetensors files, folders or prefixes, and shard indexes, as one checkpoint. It reads
// the headers, and checks every rule of the format. Its loads inherit the settings.
func (*Library) OpenCheckpoint(ctx context.Context, uris []string, settings Settings) (*Checkpoint, error) {
	// Memory of C, since C's pointers may not point to pointers of Go.
	size := C.size_t(unsafe.Sizeof((*C.char)(nil)))
	texts := (**C.char)(C.calloc(C.size_t(len(uris)+1), size))
	defer C.free(unsafe.Pointer(texts))
	for i, uri := range uris {
		text, err := cText(fmt.Sprintf("uris[%d]", i), uri)
		if err != nil {
			return nil, err
		}
		defer C.free(unsafe.Pointer(text))
		unsafe.Slice(texts, len(uris))[i] = text
	}
	checkpoint := &Checkpoint{}
	err := call(ctx, settings, func(native *C.streamer_settings, operation *C.streamer_operation,
		failure **C.streamer_error) C.streamer_status {
		return C.native_checkpoint_open(texts, C.size_t(len(uris)), native, operation,
			&checkpoint.handle, failure)
	})
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(checkpoint, (*Checkpoint).Close)
	return checkpoint, nil
}

// Close frees it. Afterwards it is empty, and what can fail is InvalidArgument; its loads and tensors go on.
func (c *Checkpoint) Close() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.handle != nil {
		runtime.SetFinalizer(c, nil)
		C.native_checkpoint_close(c.handle)
		c.handle = nil
	}
}

// Bytes of all tensors together.
func (c *Checkpoint) Bytes() uint64 {
	c.mutex.RLock()
	defer c.mutex.RUnlock()
	if c.handle == nil {
		return 0
	}
	return uint64(C.native_checkpoint_bytes(c.handle))
}

// Notes says which files of folders were left out and why, one line each.
func (c *Checkpoint) Notes() string {
	c.mutex.RLock()
	defer c.mutex.RUnlock()
	if c.handle == nil {
		return ""
	}
	return C.GoString(C.native_checkpoint_notes(c.handle))
}

// Tensors returns all of them, in storage order.
func (c *Checkpoint) Tensors() []TensorInfo {
	c.mutex.RLock()
	defer c.mutex.RUnlock()
	if c.handle == nil {
		return nil
	}
	tensors := make([]TensorInfo, int(C.native_checkpoint_tensor_count(c.handle)))
	for i := range tensors {
		tensors[i] = c.tensor(i)
	}
	return tensors
}

// Find returns the tensor of that name; NotFound if there is none.
func (c *Checkpoint) Find(name string) (TensorInfo, error) {
	c.mutex.RLock()
	defer c.mutex.RUnlock()
	if c.handle == nil {
		return TensorInfo{}, errClosed("checkpoint")
	}
	text := C.CString(name) // of any bytes: its size is given
	defer C.free(unsafe.Pointer(text))
	var number C.size_t
	var failure *C.streamer_error
	status := C.native_checkpoint_find(c.handle, text, C.size_t(len(name)), &number, &failure)
	if status != C.STREAMER_OK {
		return TensorInfo{}, take(status, failure)
	}
	return c.tensor(int(number)), nil
}

// Under the mutex.
func (c *Checkpoint) tensor(number int) TensorInfo {
	info := C.native_checkpoint_tensor(c.handle, C.size_t(number))
	return TensorInfo{
		Number:       number,
		Name:         C.GoStringN(info.name, C.int(info.name_size)),
		DType:        C.GoString(C.native_dtype_name(info.dtype)),
		Shape:        shapeOf(info.shape, info.rank),
		Bytes:        uint64(info.bytes),
		Object:       int(info.object),
		ObjectOffset: uint64(info.object_offset),
	}
}

// Objects returns the files, in the order of their numbers.
func (c *Checkpoint) Objects() []ObjectInfo {
	c.mutex.RLock()
	defer c.mutex.RUnlock()
	if c.handle == nil {
		return nil
	}
	objects := make([]ObjectInfo, int(C.native_checkpoint_object_count(c.handle)))
	for i := range objects {
		info := C.native_checkpoint_object(c.handle, C.size_t(i))
		objects[i] = ObjectInfo{C.GoString(info.uri), uint64(info.bytes), int(info.tensor_count),
			C.GoString(info.version)}
	}
	return objects
}

func shapeOf(shape *C.uint64_t, rank C.uint32_t) []uint64 {
	copied := make([]uint64, int(rank))
	copy(copied, unsafe.Slice((*uint64)(unsafe.Pointer(shape)), int(rank)))
	return copied
}
