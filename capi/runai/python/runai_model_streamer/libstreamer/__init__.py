# SPDX-License-Identifier: Apache-2.0
"""The shared library, for those who reach below the package: what of it the Run:ai Model Streamer
0.17 has."""
import ctypes
import os

from libstreamer._native import library as _library

DEFAULT_STREAMER_LIBRARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib",
                                        "libstreamer.so")
# The one that is in use, whichever way it was found.
STREAMER_LIBRARY = _library.path

t_streamer = ctypes.c_void_p

RUNAI_FILE_STREAMER_DEVICE_CPU = 0
RUNAI_FILE_STREAMER_DEVICE_CUDA = 1


class RunaiFileStreamerDevice(ctypes.Structure):
    """Where destinations are; passed by value."""

    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int)]


class LibstreamerDLLWrapper:
    """The functions of runai_file_streamer.h, as fn_runai_start and so on."""

    def __init__(self, library_path: str):
        self.lib = ctypes.CDLL(library_path)
        self.RunaiFileListCallback = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_size_t,
                                                      ctypes.c_void_p)
        texts, sizes = ctypes.POINTER(ctypes.c_char_p), ctypes.POINTER(ctypes.c_size_t)
        numbers = ctypes.POINTER(ctypes.c_uint32)
        ids = ctypes.POINTER(ctypes.c_uint64)
        code, count = ctypes.c_int, ctypes.c_uint
        for name, result, parameters in (
                ("start", code, [ctypes.POINTER(t_streamer)]),
                ("end", None, [t_streamer]),
                ("set_credentials", code, [t_streamer, texts, texts, count]),
                ("request", code, [t_streamer, ids, ctypes.c_uint32, texts, numbers, sizes, sizes,
                                   ctypes.POINTER(ctypes.c_void_p), RunaiFileStreamerDevice]),
                ("response", code, [t_streamer, ids, numbers, numbers, ctypes.POINTER(ctypes.c_int),
                                    count]),
                ("response_str", ctypes.c_char_p, [ctypes.c_int]),
                ("probe_direct_block_size", code, [t_streamer, texts, count, sizes]),
                ("list_files", code, [t_streamer, ctypes.c_char_p, code, texts, count, texts, count,
                                      self.RunaiFileListCallback, ctypes.c_void_p])):
            function = getattr(self.lib, "runai_file_streamer_" + name)
            function.restype, function.argtypes = result, parameters
            setattr(self, "fn_runai_" + name, function)


dll = LibstreamerDLLWrapper(STREAMER_LIBRARY)
