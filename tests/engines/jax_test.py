#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""framework="jax" with the real package: jax_test.py [libstreamer is importable]"""
import json
import os
import struct
import tempfile
import unittest
import warnings

import jax
import ml_dtypes
import numpy

import libstreamer

DTYPES = {"BOOL": numpy.bool_, "U8": numpy.uint8, "I8": numpy.int8, "I16": numpy.int16,
          "U16": numpy.uint16, "F16": numpy.float16, "BF16": ml_dtypes.bfloat16, "I32": numpy.int32,
          "U32": numpy.uint32, "F32": numpy.float32, "C64": numpy.complex64, "F64": numpy.float64,
          "I64": numpy.int64, "U64": numpy.uint64, "F8_E5M2": ml_dtypes.float8_e5m2,
          "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E8M0": ml_dtypes.float8_e8m0fnu}


def write(path, arrays):
    header, body = {}, b""
    for name, (dtype, array) in arrays.items():
        data = array.tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape),
                        "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + body)


class Jax(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.path = os.path.join(temporary.name, "model.safetensors")
        jax.config.update("jax_enable_x64", True)

    def test_every_dtype_and_shape(self):
        arrays = {}
        for dtype, made in DTYPES.items():
            for shape in ([2, 3], [], [0, 4], [5]):
                count = int(numpy.prod(shape))
                values = (numpy.arange(count) % 2 + 1).astype(made).reshape(shape)
                arrays[f"{dtype} {len(shape)} {count}"] = (dtype, values)
        write(self.path, arrays)
        for limit in ("auto", "unlimited", "minimum"):
            found = dict(libstreamer.load(self.path, framework="jax", memory_limit=limit))
            self.assertEqual(set(found), set(arrays))
            for name, (_, array) in arrays.items():
                self.assertIsInstance(found[name], jax.Array)
                self.assertEqual((found[name].shape, found[name].dtype), (array.shape, array.dtype))
                self.assertEqual(numpy.asarray(found[name]).tobytes(), array.tobytes(), name)

    def test_arrays_that_are_kept_fit_in_the_least_memory(self):
        write(self.path, {f"t{i}": ("F32", numpy.full(1 << 20, i, numpy.float32)) for i in range(4)})
        found = dict(libstreamer.load(self.path, framework="jax", memory_limit="minimum"))
        self.assertEqual({name: float(array.sum()) for name, array in found.items()},
                         {f"t{i}": i * float(1 << 20) for i in range(4)})

    def test_arrays_outlive_the_load_and_compute(self):
        write(self.path, {"a": ("BF16", numpy.ones((64, 64), ml_dtypes.bfloat16))})
        array = dict(libstreamer.load(self.path, framework="jax"))["a"]
        again = dict(libstreamer.load(self.path, framework="jax"))["a"]
        self.assertEqual(float(jax.jit(lambda x, y: (x @ y).sum())(array, again)), 64.0 ** 3)

    def test_bits_that_jax_drops_are_said(self):
        jax.config.update("jax_enable_x64", False)
        write(self.path, {"a": ("F64", numpy.ones(3))})
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            dict(libstreamer.load(self.path, framework="jax"))
        self.assertIn("jax_enable_x64", str(said[-1].message))


if __name__ == "__main__":
    unittest.main()
