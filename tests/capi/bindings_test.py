#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs what a binding's build made, against the built library, from disk and from an S3 server:

    bindings_test.py ROOT LIBRARY CHECKPOINT LOADER SERVER TEST [ARGUMENTS]

LOADER and SERVER are its examples, TEST is its own tests.
"""
import os
import subprocess
import sys

ROOT, LIBRARY, CHECKPOINT, LOADER, SERVER, *TEST = sys.argv[1:]
sys.path[:0] = [os.path.join(ROOT, "tests", folder) for folder in ("servers", "support")]
import small_store  # noqa: E402
import weight_server  # noqa: E402


def main():
    store = small_store.SmallStore()
    for name in os.listdir(CHECKPOINT):
        with open(os.path.join(CHECKPOINT, name), "rb") as file:
            store.objects["model/" + name] = file.read()
    environment = {**os.environ, **store.variables(), "STREAMER_LIBRARY": LIBRARY,
                   "STREAMER_INCLUDE": os.path.join(ROOT, "capi"),
                   "STREAMER_TEST_CHECKPOINT": CHECKPOINT, "STREAMER_TEST_URI": "s3://bucket/model/"}
    subprocess.run(TEST, env=environment, check=True)
    outputs = []
    for uri in (CHECKPOINT, "s3://bucket/model/"):
        done = subprocess.run([LOADER, uri], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        outputs.append(sorted(done.stdout.splitlines()))
    assert outputs[0] == outputs[1] and "lm_head.weight" in str(outputs[0]), outputs
    done = subprocess.run([LOADER, "/nowhere"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "/nowhere" in done.stderr, done
    weight_server.ask(SERVER, CHECKPOINT, environment)
    store.stop()


if __name__ == "__main__":
    main()
