#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads safetensors files with nothing of libstreamer and prints what `streamer digest` must print.

    read_safetensors.py FILE_OR_FOLDER...

One line per tensor, sorted by name: SHA-256 of its bytes, two spaces, name.
"""
import glob
import hashlib
import json
import os
import struct
import sys


def files_of(path):
    if os.path.isdir(path):
        return sorted(glob.glob(os.path.join(glob.escape(path), "*.safetensors")))
    return [path]


def tensors_of(path):
    """Yields (name, its bytes) one at a time."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        for name, info in header.items():
            if name == "__metadata__":
                continue
            begin, end = info["data_offsets"]
            file.seek(8 + length + begin)
            yield name, file.read(end - begin)


def main():
    lines = []
    for argument in sys.argv[1:]:
        for path in files_of(argument):
            for name, data in tensors_of(path):
                lines.append((name, hashlib.sha256(data).hexdigest()))
    for name, digest in sorted(lines, key=lambda line: line[0].encode()):
        print(f"{digest}  {name}")


if __name__ == "__main__":
    main()
