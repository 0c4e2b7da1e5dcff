#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint straight into a module of torch: load_torch.py URI [cuda:0]"""
import sys

import torch

import libstreamer
from libstreamer.tensor import torch_dtype


def main():
    uri, device = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "cpu"
    checkpoint = libstreamer.open(uri)
    # What an engine has: parameters of the right shapes, on the device, not filled yet.
    parameters = {name: torch.empty(info.shape, dtype=torch_dtype(info.dtype), device=device)
                  for name, info in checkpoint.items()}
    names = libstreamer.load_into(parameters, checkpoint)
    print(f"{len(names)} tensors, {sum(p.numel() * p.element_size() for p in parameters.values())} "
          f"bytes on {device}")


if __name__ == "__main__":
    main()
