#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""dlclose() does not unload the library: its threads run on, and it keeps memory for the next load.

    unload_test.py LIBRARY
"""
import _ctypes
import ctypes
import os
import sys


def main():
    library = ctypes.CDLL(sys.argv[1])
    version = library.streamer_version_string
    version.restype = ctypes.c_char_p
    before = version()
    _ctypes.dlclose(library._handle)
    # Fails if it is not loaded any more; and then the function's code is gone, too.
    ctypes.CDLL(sys.argv[1], mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    assert version() == before


if __name__ == "__main__":
    main()
