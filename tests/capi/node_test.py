#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The example for Node loads a checkpoint, and says why it cannot:

    node_test.py NODE ROOT LIBRARY CHECKPOINT

It needs the package koffi, which Debian does not have: `npm install koffi` in a folder, and NODE_PATH
with that folder's node_modules.
"""
import os
import subprocess
import sys

NODE, ROOT, LIBRARY, CHECKPOINT = sys.argv[1:]
SKIPPED = 77


def load(uri):
    return subprocess.run([NODE, os.path.join(ROOT, "examples/node/load_checkpoint.js"), uri],
                          env={**os.environ, "STREAMER_LIBRARY": LIBRARY}, capture_output=True,
                          text=True)


def main():
    if subprocess.run([NODE, "-e", "require('koffi')"], capture_output=True).returncode != 0:
        print("SKIPPED: Node has no package koffi; NODE_PATH says where it is looked for")
        return SKIPPED
    done = load(CHECKPOINT)
    assert done.returncode == 0 and "bytes: lm_head.weight" in done.stdout, done
    done = load("/nowhere")
    assert done.returncode == 1 and done.stderr.startswith("/nowhere: "), done
    return 0


if __name__ == "__main__":
    sys.exit(main())
