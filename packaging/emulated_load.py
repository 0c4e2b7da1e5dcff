#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads a model over http and from disk with Python packages for another processor:
emulated_load.py ROOT MODEL EMULATOR PYTHON SITE"""
import os
import subprocess
import sys

ROOT, MODEL, EMULATOR, PYTHON, SITE = sys.argv[1:]
sys.path.insert(0, os.path.join(ROOT, "tests", "servers"))

import small_store  # noqa: E402

PROGRAM = """
import hashlib, platform, sys, libstreamer
for place in sys.argv[1:]:
    whole, size = hashlib.sha256(), 0
    for name, tensor in sorted(libstreamer.load(place)):
        whole.update(bytes(tensor))
        size += tensor.nbytes
    print(whole.hexdigest(), size, platform.machine(), flush=True)
"""

store = small_store.SmallStore()
for name in os.listdir(MODEL):
    with open(os.path.join(MODEL, name), "rb") as file:
        store.objects[f"model/{name}"] = file.read()
said = subprocess.run([EMULATOR, PYTHON, "-c", PROGRAM, MODEL, "s3://bucket/model/"], check=True,
                      env={**store.variables(), "PYTHONPATH": SITE,
                           "QEMU_LD_PREFIX": os.environ["QEMU_LD_PREFIX"]},
                      stdout=subprocess.PIPE, text=True).stdout
store.stop()
print(said, end="")
of_disk, of_store = said.splitlines()
if of_disk != of_store:
    sys.exit("the disk and the store gave other bytes")
