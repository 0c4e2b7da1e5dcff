# SPDX-License-Identifier: Apache-2.0
"""The shared library, as those who reach below the package look for it."""
import ctypes
import os

from libstreamer._native import library as _library

STREAMER_LIBRARY = "STREAMER_LIBRARY"
DEFAULT_STREAMER_LIBRARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib",
                                        "libstreamer.so")
t_streamer = ctypes.c_void_p
dll = ctypes.CDLL(_library.path)
