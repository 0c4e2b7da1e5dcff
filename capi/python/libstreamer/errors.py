# SPDX-License-Identifier: Apache-2.0
"""Exceptions, with every field that the library knows of an error."""
import ctypes

from ._native import ErrorInfo, library


class StreamerError(Exception):
    """An operation of libstreamer failed. str() is one line with the object and the cause.

    kind: "not_found", "corrupt", ...; code: its number. uri, offset, size: the object and the range
    of it that the error is about (size 0: the whole object). os_error: errno, 0 if none. http_status,
    service_code, request_id, host: what the store answered. attempts: the number of attempts.
    elapsed_ms: from the first attempt to the last.
    """

    kind = "unknown"
    code = 0

    def __init__(self, line, **fields):
        super().__init__(line)
        self.message = fields.pop("message", line)
        self.code = fields.pop("code", type(self).code)
        self.kind = fields.pop("kind", type(self).kind)
        self.uri = fields.pop("uri", "")
        self.offset = fields.pop("offset", 0)
        self.size = fields.pop("size", 0)
        self.os_error = fields.pop("os_error", 0)
        self.http_status = fields.pop("http_status", 0)
        self.service_code = fields.pop("service_code", "")
        self.request_id = fields.pop("request_id", "")
        self.host = fields.pop("host", "")
        self.attempts = fields.pop("attempts", 1)
        self.elapsed_ms = fields.pop("elapsed_ms", 0)
        if fields:
            raise TypeError(f"no such field: {', '.join(fields)}")

    def __reduce__(self):
        return _rebuild, (type(self), str(self), dict(self.__dict__))


def _rebuild(kind_of_error, line, fields):
    return kind_of_error(line, **fields)


class InvalidArgumentError(StreamerError, ValueError):
    """The call or a setting is wrong."""

    kind, code = "invalid_argument", 100


class UnsupportedError(StreamerError):
    """Not supported by this build or this system."""

    kind, code = "unsupported", 101


class CancelledError(StreamerError):
    """The caller cancelled it."""


class MemoryLimitError(StreamerError):
    """The memory limit leaves too little room."""


class NotFoundError(StreamerError, FileNotFoundError):
    """The object does not exist."""


class AccessError(StreamerError, PermissionError):
    """The store or the file system refused access, or the credentials are no longer accepted."""


class ObjectChangedError(StreamerError):
    """The object is not the version that was opened."""


class ReadError(StreamerError, OSError):
    """Reading failed: the network, the store or the disk."""


class CorruptError(StreamerError, ValueError):
    """The content breaks the format's rules."""


class OutOfMemoryError(StreamerError, MemoryError):
    """Memory could not be allocated, on the host or on a device."""


class DeviceError(StreamerError):
    """The device reported an error, or there is no such device."""


# By kind. Others are StreamerError itself.
_CLASSES = {
    "invalid_argument": InvalidArgumentError, "unsupported": UnsupportedError,
    "cancelled": CancelledError, "memory_limit": MemoryLimitError, "not_found": NotFoundError,
    "permission_denied": AccessError, "credentials_expired": AccessError, "clock_skew": AccessError,
    "object_changed": ObjectChangedError, "throttled": ReadError, "timed_out": ReadError,
    "io": ReadError, "untrusted": ReadError, "corrupt": CorruptError,
    "out_of_memory": OutOfMemoryError, "device": DeviceError,
}


def text_of(value):
    """A text of the library. It may hold the name of a file, which is not always UTF-8."""
    return (value or b"").decode("utf-8", "replace")


def take_error(status, error):
    """The exception for an error that a function stored; frees that. error: c_void_p."""
    if not error:
        return StreamerError(text_of(library.status_name(status)), code=status,
                             kind=text_of(library.status_name(status)))
    info = ErrorInfo()
    library.error_get_info(error, ctypes.byref(info))
    kind = text_of(library.status_name(info.status))
    exception = _CLASSES.get(kind, StreamerError)(
        text_of(library.error_line(error)), message=text_of(info.message), code=info.status, kind=kind,
        uri=text_of(info.uri),
        offset=info.range_offset, size=info.range_size, os_error=info.os_error,
        http_status=info.http_status, service_code=text_of(info.service_code),
        request_id=text_of(info.request_id), host=text_of(info.host), attempts=info.attempts,
        elapsed_ms=info.elapsed_ms)
    library.error_free(error)
    return exception


def clean_text(text):
    """text, cleaned of secrets as the library cleans its own texts."""
    error = ctypes.c_void_p(library.error_new(100, str(text).encode("utf-8", "replace")))
    try:
        return text_of(library.error_line(error))
    finally:
        library.error_free(error)


def call(function, *arguments):
    """Calls a function that can fail; raises its error, or returns its status below 100."""
    error = ctypes.c_void_p()
    status = function(*arguments, ctypes.byref(error))
    if status >= 100:
        raise take_error(status, error)
    return status
