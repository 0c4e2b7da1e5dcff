# SPDX-License-Identifier: Apache-2.0
"""Calls that may block for as long as a store takes, and that Ctrl-C ends."""
import ctypes
import threading

from .errors import call, take_error


def call_for_handle(function, *arguments, keep, free):
    """Calls function(*arguments, handle_out) and returns the handle; keep lives as long as that takes.

    Signals come to the main thread only, and a call of the library does not end for one: it runs on
    a thread of its own, whose result nobody takes, and free() ends, if the wait was interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        handle = ctypes.c_void_p()
        call(function, *arguments, ctypes.byref(handle))
        return handle
    running = _Running(function, arguments, keep, free)
    threading.Thread(target=running.run, name="libstreamer", daemon=True).start()
    return running.wait()


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

    def wait(self):
        try:
            self._finished.wait()
        except BaseException:
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
