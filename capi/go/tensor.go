// SPDX-License-Identifier: Apache-2.0

package streamer

/*
#include "native.h"
*/
import "C"

import (
	"sync"
	"unsafe"
)

// Tensor is one yielded item and its memory, which is the library's, not Go's.
type Tensor struct {
	handle *C.streamer_tensor
	view   C.streamer_tensor_view
	name   string
	shape  []uint64
	once   sync.Once
}

func newTensor(handle *C.streamer_tensor) *Tensor {
	view := C.native_tensor_view(handle)
	return &Tensor{handle: handle, view: view, name: C.GoStringN(view.name, C.int(view.name_size)),
		shape: shapeOf(view.shape, view.rank)}
}

// Release returns the memory to the load; on any goroutine, also after the load was closed. Slices that Bytes
// returned must not be used afterwards: the next tensors are read into that memory. No finalizer does this,
// since the collector does not see such slices.
func (t *Tensor) Release() {
	t.once.Do(func() {
		C.native_tensor_release(t.handle)
		t.handle, t.view.data, t.view.bytes = nil, nil, 0
	})
}

// Bytes are the tensor's, row-major and dense, until Release; nil if they are on a device, and after Release.
// The caller may write to them. Copy returns memory of Go's.
func (t *Tensor) Bytes() []byte {
	if t.view.device.kind != C.STREAMER_DEVICE_HOST || t.view.data == nil {
		return nil
	}
	return unsafe.Slice((*byte)(t.view.data), int(t.view.bytes))
}

// Copy returns the bytes in memory that is Go's.
func (t *Tensor) Copy() []byte {
	return append([]byte(nil), t.Bytes()...)
}

// Name is that of the tensor in the checkpoint.
func (t *Tensor) Name() string { return t.name }

// DType is "BF16", as safetensors spells it.
func (t *Tensor) DType() string { return C.GoString(C.native_dtype_name(t.view.dtype)) }

// Shape is that of the part: a slice's dimension is cut, and bytes are one row of U8.
func (t *Tensor) Shape() []uint64 { return t.shape }

// Number is the tensor's in the checkpoint.
func (t *Tensor) Number() int { return int(t.view.tensor) }

// Item is its number among the items of the load: those that Matching added, then Items.
func (t *Tensor) Item() int { return int(t.view.item) }

// Size is how many bytes it has, wherever they are; 0 after Release.
func (t *Tensor) Size() uint64 { return uint64(t.view.bytes) }

// Pointer is where the bytes are, in the device's memory; nil after Release.
func (t *Tensor) Pointer() unsafe.Pointer { return t.view.data }

// Device is DLPack's number of the kind (0: the host, 2: CUDA), and the device's number.
func (t *Tensor) Device() (kind, number int) {
	return int(t.view.device.kind), int(t.view.device.number)
}
