# SPDX-License-Identifier: Apache-2.0
"""Calls that wait for a store, and that Ctrl-C, a timeout or another thread can end."""
import asyncio
import ctypes
import functools
import threading
from typing import NamedTuple, Optional

from . import _native
from ._native import library
from .errors import InvalidArgumentError, call, take_error

# How long a cancelled call may take to tidy up: it ends within milliseconds unless the disk is slow.
_TIDY_UP_S = 10
_TICK_S = 0.1


class Progress(NamedTuple):
    """How far the pulls and snapshots of an operation have got."""

    bytes_total: int
    bytes_done: int
    bytes_skipped: int  # of bytes_done: already present
    files_total: int
    files_done: int
    files_skipped: int


class Operation(_native.Unshared):
    """Limits calls that may take long: they end when it is cancelled, or when its time is up, which
    counts from now for all of its calls together. timeout: seconds. Thread-safe."""

    def __init__(self, timeout: Optional[float] = None):
        self.handle = ctypes.c_void_p()
        milliseconds = -1 if timeout is None else max(int(timeout * 1000), 0)
        call(library.operation_new, milliseconds, ctypes.byref(self.handle))

    def cancel(self) -> None:
        """Makes current and later calls raise CancelledError."""
        library.operation_cancel(self.handle)

    def fileno(self) -> int:
        """A descriptor that becomes readable when the operation is cancelled, and stays so."""
        return library.operation_fd(self.handle)

    def progress(self) -> Progress:
        """Of pulls and snapshots, also while they run."""
        found = _native.Progress()
        library.operation_get_progress(self.handle, ctypes.byref(found))
        return Progress(*(getattr(found, name) for name in Progress._fields))

    def __del__(self):
        if getattr(self, "handle", None):
            library.operation_free(self.handle)


def operation_of(timeout, operation):
    """The operation that limits a call: the caller's, or a new one."""
    if operation is None:
        return Operation(timeout)
    if timeout is not None:
        raise InvalidArgumentError("both timeout and operation were given; an operation has its own "
                                   "timeout: Operation(timeout)", kind="invalid_argument", code=100)
    return operation


async def call_async(function, *arguments, timeout: Optional[float] = None,
                     operation: Optional[Operation] = None, **options):
    """Awaits function(*arguments, **options), one of open(), open_rank(), list(), list_model(),
    pull(), snapshot() and diagnose(), on a thread of the loop's executor. If the task is cancelled, so
    is the call, and its unfinished files are removed before CancelledError propagates."""
    operation = operation_of(timeout, operation)
    running = asyncio.get_running_loop().run_in_executor(None, functools.partial(
        function, *arguments, operation=operation, **options))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        operation.cancel()
        await asyncio.wait([running])
        running.exception()  # marks it as retrieved: it is only that of cancelling
        raise


def call_for_handle(function, *arguments, keep, free, operation=None, tick=None):
    """Calls function(*arguments, handle_out) and returns the handle; keep stays alive until then. tick
    is called now and then in the meantime.

    Only the main thread receives signals, and a signal does not end a call of the library: so the call
    runs on its own thread, and is cancelled if the wait is interrupted. Without an operation it cannot
    be cancelled: its result is then unused, and is freed with free().
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
                # Its unfinished files must be gone before the process may end.
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
