# SPDX-License-Identifier: Apache-2.0
"""What tests of the runai_model_streamer package have in common."""
import json
import os
import struct
import tempfile
import unittest

import torch

DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1,
          "BOOL": 1, "C64": 8}


def header_of(tensors, start=0):
    header, offset = {}, start
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    return header


def write(path, tensors, header=None):
    text = json.dumps(header_of(tensors) if header is None else header).encode() \
        if not isinstance(header, bytes) else header
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(t[3] for t in tensors))


def random_tensors(generator, prefix, most=12):
    tensors = []
    for i in range(generator.randrange(most)):
        dtype = generator.choice(list(DTYPES))
        shape = [generator.randrange(5) for _ in range(generator.randrange(3))]
        count = 1
        for extent in shape:
            count *= extent
        data = generator.randbytes(count * DTYPES[dtype]) if hasattr(generator, "randbytes") else \
            bytes(generator.randrange(256) for _ in range(count * DTYPES[dtype]))
        if dtype == "BOOL":
            data = bytes(b & 1 for b in data)
        tensors.append((f"{prefix}.{i}", dtype, shape, data))
    return tensors


def bytes_of(tensor):
    flat = tensor.contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def seen(name, tensor):
    return name, str(tensor.dtype), tuple(tensor.shape), bytes_of(tensor)


def expected(tensors):
    names = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
             "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8",
             "BOOL": "bool", "C64": "complex64"}
    return [(n, "torch." + names[d], tuple(s), b) for n, d, s, b in tensors]


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def file(self, name, tensors, header=None):
        write(self.path(name), tensors, header)
        return self.path(name)

    def environment(self, **values):
        for name, value in values.items():
            before = os.environ.get(name)
            os.environ[name] = str(value)
            self.addCleanup(os.environ.pop if before is None else os.environ.__setitem__,
                            *((name, None) if before is None else (name, before)))
