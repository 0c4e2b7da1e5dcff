# SPDX-License-Identifier: Apache-2.0
"""The five functions of the native library, as the original wraps them."""
import ctypes
from typing import List, Optional, Tuple

from runai_model_streamer.libstreamer import dll, t_streamer

dll.runai_start.restype = ctypes.c_int
dll.runai_start.argtypes = [ctypes.POINTER(t_streamer)]
dll.runai_end.restype = None
dll.runai_end.argtypes = [t_streamer]
dll.runai_request.restype = ctypes.c_int
dll.runai_request.argtypes = [
    t_streamer, ctypes.c_uint, ctypes.POINTER(ctypes.c_char_p), ctypes.POINTER(ctypes.c_size_t),
    ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(ctypes.c_void_p),
    ctypes.POINTER(ctypes.c_uint), ctypes.POINTER(ctypes.POINTER(ctypes.c_size_t)),
    *[ctypes.c_char_p] * 5]
dll.runai_response.restype = ctypes.c_int
dll.runai_response.argtypes = [t_streamer, ctypes.POINTER(ctypes.c_uint),
                               ctypes.POINTER(ctypes.c_uint)]
dll.runai_response_str.restype = ctypes.c_char_p
dll.runai_response_str.argtypes = [ctypes.c_int]

_FINISHED = 1


def runai_start() -> t_streamer:
    """A new handle."""
    streamer = t_streamer(0)
    code = dll.runai_start(ctypes.byref(streamer))
    if code != 0:
        raise ValueError(f"Could not open streamer in libstreamer due to: {runai_response_str(code)}")
    return streamer


def runai_end(streamer: Optional[t_streamer]) -> None:
    """Ends the handle."""
    if streamer:
        dll.runai_end(streamer)


def runai_request(streamer: t_streamer, paths: List[str], file_offsets: List[int],
                  bytesizes: List[int], dsts: List[memoryview], internal_sizes: List[List[int]],
                  s3_credentials: Optional[object] = None) -> None:
    """Starts to read; bytes land in dsts[0], one file behind the other."""
    count = len(paths)
    sizes = [(ctypes.c_size_t * len(one))(*one) for one in internal_sizes]
    first = (ctypes.c_ubyte * len(dsts[0])).from_buffer(dsts[0]) if len(dsts[0]) else None
    address = ctypes.addressof(first) if first is not None else None
    keys = [getattr(s3_credentials, name, None) for name in
            ("access_key_id", "secret_access_key", "session_token", "region_name", "endpoint")]
    code = dll.runai_request(
        streamer, count, (ctypes.c_char_p * count)(*(path.encode() for path in paths)),
        (ctypes.c_size_t * count)(*file_offsets), (ctypes.c_size_t * count)(*bytesizes),
        (ctypes.c_void_p * 1)(address), (ctypes.c_uint * count)(*(len(s) for s in internal_sizes)),
        (ctypes.POINTER(ctypes.c_size_t) * count)(
            *(ctypes.cast(one, ctypes.POINTER(ctypes.c_size_t)) for one in sizes)),
        *(key.encode() if key else None for key in keys))
    if code != 0:
        raise ValueError(
            f"Could not send runai_request to libstreamer due to: {runai_response_str(code)}")


def runai_response(streamer: t_streamer) -> Optional[Tuple[int, int]]:
    """(file, range in it) of one that is whole; None after the last."""
    file_index, index = ctypes.c_uint(), ctypes.c_uint()
    code = dll.runai_response(streamer, ctypes.byref(file_index), ctypes.byref(index))
    if code == _FINISHED:
        return None
    if code != 0:
        raise ValueError(
            f"Could not receive runai_response from libstreamer due to: {runai_response_str(code)}")
    return file_index.value, index.value


def runai_response_str(code: int) -> Optional[bytes]:
    """The code's text."""
    return dll.runai_response_str(code)
