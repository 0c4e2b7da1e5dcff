# SPDX-License-Identifier: Apache-2.0
"""Calls that may block for as long as a store takes, and that Ctrl-C, a time or another thread ends."""
import asyncio
import ctypes
import functools
import threading
from typing import NamedTuple, Optional

from . import _native
from ._native import library
from .errors import InvalidArgumentError, call, take_error

# How long a call that was cancelled may take to tidy up: it is over within milliseconds, unless the
# disk is not.
_TIDY_UP_S = 10
_TICK_S = 0.1


class Progress(NamedTuple):
    """How far the pulls and snapshots of an operation are."""

    bytes_total: int
    bytes_done: int
    bytes_skipped: int  # of bytes_done: were there already
    files_total: int
    files_done: int
    files_skipped: int


class Operation:
    """Bounds calls that may take long: they end when it is cancelled, or when its time is up, which is
    counted from now on for all of its calls together. timeout: seconds. Thread-safe."""

    def __init__(self, timeout: Optional[float] = None):
        self.handle = ctypes.c_void_p()
        milliseconds = -1 if timeout is None else max(int(timeout * 1000), 0)
        call(library.operation_new, milliseconds, ctypes.byref(self.handle))

    def cancel(self) -> None:
        """Calls under way and to come raise CancelledError."""
        library.operation_cancel(self.handle)

    def fileno(self) -> int:
        """A descriptor that is readable once it was cancelled, for good."""
        return library.operation_fd(self.handle)

    def progress(self) -> Progress:
        """Of pulls and snapshots, also while they run."""
        found = _native.Progress()
        library.operation_get_progress(self.handle, ctypes.byref(found))
        return Progress(*(getattr(found, name) for name in Progress._fields))

    def __del__(self):
        if getattr(self, "handle", None):
            library.operation_free(self.handle)

    def __reduce__(self):
        raise TypeError("an operation cannot be pickled")


def operation_of(timeout, operation):
    """What bounds a call: the caller's operation, or one of its own."""
    if operation is None:
        return Operation(timeout)
    if timeout is not None:
        raise InvalidArgumentError("timeout and operation were given; an operation has a time of its "
                                   "own: Operation(timeout)", kind="invalid_argument", code=100)
    return operation


async def call_async(function, *arguments, timeout: Optional[float] = None,
                     operation: Optional[Operation] = None, **options):
    """Awaits function(*arguments, **options), which is open(), open_rank(), list(), list_model(),
    pull(), snapshot() or diagnose(), on a thread of the loop's executor. If the task is cancelled, so
    is the call, and what it began on disk is gone before CancelledError goes on."""
    operation = operation_of(timeout, operation)
    running = asyncio.get_running_loop().run_in_executor(None, functools.partial(
        function, *arguments, operation=operation, **options))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        operation.cancel()
        await asyncio.wait([running])
        running.exception()  # is of the cancelling
        raise


def call_for_handle(function, *arguments, keep, free, operation=None, tick=None):
    """Calls function(*arguments, handle_out) and returns the handle; keep lives as long as that takes.
    tick is called now and then meanwhile.

    Signals come to the main thread only, and a call of the library does not end for one: it runs on
    a thread of its own, and is cancelled if the wait was interrupted. Without an operation nobody
    takes its result then, and free() ends it.
    """
    if tick is None and threading.current_thread() is not threading.main_thread():
        handle = ctypes.c_void_p()
        call(function, *arguments, ctypes.byref(handle))
        return handle
    running = _Running(function, arguments, (keep, operation), free)
    threading.Thread(target=running.run, name="libstreamer", daemon=True).start()
    return running.wait(operation, tick)


class _Running:
    def __init__(self, function, arguments, keep, free):
        self._function, self._arguments = function, arguments
        self._keep, self._free = keep, free
        self._handle, self._error = ctypes.c_void_p(), ctypes.c_void_p()
        self._status = None
        self._lock = threading.Lock()
        self._is_left = False
        self._finished = threading.Event()

    def run(self):
        status = self._function(*self._arguments, ctypes.byref(self._handle),
                                ctypes.byref(self._error))
        with self._lock:
            self._status = status
            if self._is_left:
                self._drop()
        self._finished.set()

    def wait(self, operation, tick):
        try:
            while not self._finished.wait(_TICK_S if tick else None):
                tick()
            if tick:
                tick()
        except BaseException:
            if operation is not None:
                operation.cancel()
                # What it began on disk is gone before the process may be.
                self._finished.wait(_TIDY_UP_S)
            with self._lock:
                self._is_left = True
                if self._status is not None:
                    self._drop()
            raise
        if self._status >= 100:
            raise take_error(self._status, self._error)
        return self._handle

    def _drop(self):
        if self._status >= 100:
            take_error(self._status, self._error)
        else:
            self._free(self._handle)
