# SPDX-License-Identifier: Apache-2.0
"""Safetensors files, put together by hand: knows nothing of the package under test."""
import json
import struct


def write_safetensors(path, tensors, metadata=None):
    """tensors: [(name, dtype, shape, bytes)]"""
    header, offset = {}, 0
    if metadata:
        header["__metadata__"] = metadata
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(t[3] for t in tensors))


def write_mebibytes(path, count):
    """b0, b1 and so on: each 1 MiB of its number."""
    write_safetensors(path, [(f"b{i}", "U8", [1 << 20], bytes([i]) * (1 << 20)) for i in range(count)])
