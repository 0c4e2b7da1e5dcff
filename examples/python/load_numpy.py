#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint as NumPy arrays, without torch: load_numpy.py URI"""
import sys

import libstreamer


def main():
    checkpoint = libstreamer.open(sys.argv[1])
    total = 0
    # NumPy has no dtype of its own for BF16 and the 8-bit floats: those come as bytes.
    for name, tensor in libstreamer.load(checkpoint):
        try:
            array = tensor.numpy()
        except libstreamer.UnsupportedError:
            array = tensor.memoryview()
        total += array.nbytes
        print(f"{name} {tensor.dtype} {list(tensor.shape)}")
    print(f"{len(checkpoint)} tensors, {total} bytes")


if __name__ == "__main__":
    main()
