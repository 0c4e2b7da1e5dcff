// SPDX-License-Identifier: Apache-2.0

package streamer

/*
#include "native.h"
*/
import "C"

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Item is a part of a tensor to load, a slice or bytes. The zero values of all but Tensor are the whole of it.
type Item struct {
	Tensor int    // its number in the checkpoint
	Slice  *Slice // along a dimension
	Bytes  *Range // of its bytes
}

// Slice is [Start, Stop) along a dimension.
type Slice struct {
	Dimension   int
	Start, Stop uint64
}

// Range is Size bytes from Offset on.
type Range struct {
	Offset, Size uint64
}

// LoadOptions says what to load, and how; the zero value is every tensor, to host memory.
type LoadOptions struct {
	Settings Settings // of this load; they win over those of the checkpoint
	// Only tensors whose name matches one of these, or that are in Items: * ? [..], where * also matches '/'
	// and '.'. A pattern that matches none is InvalidArgument. If both are nil, every tensor; if they are
	// empty and one is not nil, nothing: the load ends at once.
	Matching []string
	Items    []Item
	// InStorageOrder yields tensors in the order in which they are read, otherwise each as soon as its last
	// byte has arrived.
	InStorageOrder bool
	Device         string // "" or "host"; "cuda:0"
}

// Load is one pass that reads tensors into memory. It is for one goroutine at a time, except Close, Cancel and
// Stats. It should be closed; one that nobody has any more is closed some time by the collector.
type Load struct {
	ctx    context.Context
	began  time.Time
	shared *sharedLoad
	tensor *Tensor
	err    error
	isOver bool
}

// sharedLoad is what other goroutines use of a load. The one that waits for the context has this only, so that
// the collector can see that nobody has the Load.
type sharedLoad struct {
	mutex  sync.RWMutex     // never held by who waits
	handle *C.streamer_load // nil: it is closed
	last   []uint64         // the stats when it was closed
	ready  *os.File         // a duplicate of the load's descriptor, which Go's poller watches
	stop   func()
	close  sync.Once
}

// Load starts reading, and returns at once. The load ends with the context, or when it is closed.
func (c *Checkpoint) Load(ctx context.Context, options LoadOptions) (*Load, error) {
	c.mutex.RLock()
	defer c.mutex.RUnlock()
	if c.handle == nil {
		return nil, errClosed("checkpoint")
	}
	if err := ctx.Err(); err != nil {
		return nil, cancelled(err)
	}
	began := time.Now()
	var failure *C.streamer_error
	var plan *C.streamer_plan
	if status := C.native_plan_new(c.handle, &plan, &failure); status != C.STREAMER_OK {
		return nil, take(status, failure)
	}
	defer C.native_plan_free(plan)
	if err := fill(plan, options); err != nil {
		return nil, err
	}
	settings, err := options.Settings.native()
	if err != nil {
		return nil, err
	}
	defer C.native_settings_free(settings)
	order, device := C.int32_t(C.STREAMER_ORDER_COMPLETION), options.Device
	if options.InStorageOrder {
		order = C.STREAMER_ORDER_PLAN
	}
	if device == "" {
		device = "host"
	}
	text, err := cText("Device", device)
	if err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(text))
	shared := &sharedLoad{}
	status := C.native_load_start(plan, order, text, settings, &shared.handle, &failure)
	if status != C.STREAMER_OK {
		return nil, take(status, failure)
	}
	if shared.ready, err = watched(shared.handle); err != nil {
		C.native_load_close(shared.handle)
		return nil, err
	}
	shared.stop = watch(ctx, shared.cancel)
	load := &Load{ctx: ctx, began: began, shared: shared}
	// Not in the goroutine of all finalizers: closing waits for reads in progress.
	runtime.SetFinalizer(load, func(l *Load) { go l.shared.end() })
	return load, nil
}

func fill(plan *C.streamer_plan, options LoadOptions) error {
	var failure *C.streamer_error
	globs, isEverything := options.Matching, options.Matching == nil && options.Items == nil
	if isEverything {
		globs = []string{"*"}
	}
	for i, glob := range globs {
		text, err := cText(fmt.Sprintf("Matching[%d]", i), glob)
		if err != nil {
			return err
		}
		var added C.size_t
		status := C.native_plan_add_matching(plan, text, &added, &failure)
		C.free(unsafe.Pointer(text))
		if status != C.STREAMER_OK {
			return take(status, failure)
		}
		if added == 0 && !isEverything {
			return newError(InvalidArgument, fmt.Sprintf("%q matches no tensor", glob))
		}
	}
	for i, item := range options.Items {
		if wrong := item.check(); wrong != "" {
			return newError(InvalidArgument, fmt.Sprintf("Items[%d] %s", i, wrong))
		}
		part, dimension, first, second := C.STREAMER_PART_WHOLE, 0, uint64(0), uint64(0)
		if item.Slice != nil {
			part, dimension = C.STREAMER_PART_SLICE, item.Slice.Dimension
			first, second = item.Slice.Start, item.Slice.Stop
		} else if item.Bytes != nil {
			part, first, second = C.STREAMER_PART_BYTES, item.Bytes.Offset, item.Bytes.Size
		}
		status := C.native_plan_add(plan, C.size_t(item.Tensor), C.int32_t(part), C.uint32_t(dimension),
			C.uint64_t(first), C.uint64_t(second), &failure)
		if status != C.STREAMER_OK {
			return take(status, failure)
		}
	}
	return nil
}

// check finds what C's types cannot say.
func (item Item) check() string {
	switch {
	case item.Tensor < 0:
		return fmt.Sprintf("has Tensor %d; the first is 0", item.Tensor)
	case item.Slice != nil && item.Bytes != nil:
		return "has both Slice and Bytes; one part is one of them"
	case item.Slice != nil && uint64(item.Slice.Dimension) > math.MaxUint32:
		return fmt.Sprintf("has Dimension %d, which no tensor has", item.Slice.Dimension)
	}
	return ""
}

// watched gives the load's descriptor to Go's poller: a duplicate, since the poller closes what it has.
func watched(load *C.streamer_load) (*os.File, error) {
	var fd C.int
	var failure *C.streamer_error
	if status := C.native_load_fd(load, &fd, &failure); status != C.STREAMER_OK {
		return nil, take(status, failure)
	}
	own, _, failed := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 0)
	if failed != 0 {
		return nil, newError(IO, fmt.Sprintf("the load's descriptor cannot be duplicated: %v", failed))
	}
	if err := syscall.SetNonblock(int(own), true); err != nil {
		syscall.Close(int(own))
		return nil, newError(IO, fmt.Sprintf("the load's descriptor cannot be watched: %v", err))
	}
	return os.NewFile(own, "streamer_load"), nil
}

// Next waits for the next tensor and reports whether there is one: Tensor returns it. At the end, or after
// an error, it reports false: Err says which. The caller releases every tensor.
func (l *Load) Next() bool {
	l.tensor = nil
	if l.isOver {
		return false
	}
	l.err = nil
	status := C.streamer_status(C.STREAMER_NOT_READY)
	var tensor *C.streamer_tensor
	var failure *C.streamer_error
	connection, err := l.shared.ready.SyscallConn()
	if err == nil {
		// Called now, and again whenever the descriptor is readable, until it returns true.
		err = connection.Read(func(uintptr) bool {
			l.shared.mutex.RLock()
			defer l.shared.mutex.RUnlock()
			if l.shared.handle == nil {
				return true
			}
			status = C.native_load_next(l.shared.handle, &tensor, &failure)
			return status != C.STREAMER_NOT_READY
		})
	}
	switch {
	case status == C.STREAMER_NOT_READY && l.shared.isClosed():
		l.err, l.isOver = errClosed("load"), true
	case err != nil:
		l.err, l.isOver = newError(IO, fmt.Sprintf("the load's descriptor cannot be watched: %v", err)), true
	case status == C.STREAMER_OK:
		l.tensor = newTensor(tensor)
	case status == C.STREAMER_END:
		l.isOver = true
	default:
		// Once tensors are released, a load goes on after MemoryLimit.
		l.err = ended(take(status, failure), l.ctx, l.began)
		l.isOver = ErrorKind(status) != MemoryLimit
	}
	return l.tensor != nil
}

// Tensor is what the last call of Next found. It is the caller's.
func (l *Load) Tensor() *Tensor {
	return l.tensor
}

// Err is why Next reported false: nil at the end.
func (l *Load) Err() error {
	return l.err
}

// Each calls use for every tensor, and releases it afterwards; an error from it ends the loop and is returned.
func (l *Load) Each(use func(*Tensor) error) error {
	for l.Next() {
		tensor := l.Tensor()
		err := use(tensor)
		tensor.Release()
		if err != nil {
			return err
		}
	}
	return l.Err()
}

// Cancel stops reading; Next fails with Cancelled. Any goroutine may call it.
func (l *Load) Cancel() {
	l.shared.cancel()
}

func (s *sharedLoad) cancel() {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	if s.handle != nil {
		C.native_load_cancel(s.handle)
	}
}

func (s *sharedLoad) isClosed() bool {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	return s.handle == nil
}

// Close cancels what is left, and waits for reads in progress; any goroutine may call it. Next, also one that
// waits, fails with InvalidArgument then, unless the load had ended. Tensors stay until they are released.
func (l *Load) Close() {
	runtime.SetFinalizer(l, nil)
	l.shared.end()
}

func (s *sharedLoad) end() {
	s.close.Do(func() {
		s.stop()
		s.mutex.Lock()
		handle := s.handle
		s.handle, s.last = nil, stats(handle)
		s.mutex.Unlock()
		s.ready.Close() // wakes Next
		C.native_load_close(handle)
	})
}

// Stats returns everything that a load counts, by name; see streamer_stat_get_info() in streamer.h. After
// Close it returns the last ones. Any goroutine may call it.
func (l *Load) Stats() map[string]uint64 {
	l.shared.mutex.RLock()
	values := l.shared.last
	if l.shared.handle != nil {
		values = stats(l.shared.handle)
	}
	l.shared.mutex.RUnlock()
	named := make(map[string]uint64, len(values))
	for i, value := range values {
		named[C.GoString(C.native_stat_name(C.size_t(i)))] = value
	}
	return named
}

func stats(load *C.streamer_load) []uint64 {
	values := make([]uint64, int(C.native_stat_count()))
	if len(values) != 0 {
		C.native_load_stats(load, (*C.uint64_t)(unsafe.Pointer(&values[0])), C.size_t(len(values)))
	}
	return values
}
