#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sources are as clang-format 14 leaves them: check_format.py SOURCE_ROOT. Skipped without it."""
import os
import shutil
import subprocess
import sys


def main():
    formatter = shutil.which("clang-format-14")
    if not formatter:
        print("clang-format-14 is not installed")
        return 77
    root = sys.argv[1]
    files = []
    for top in ("src", "capi", "include", "tests", "examples"):
        for folder, _, names in os.walk(os.path.join(root, top)):
            # The C header is laid out by hand, so that it can be read in one sitting.
            files += [os.path.join(folder, name) for name in names
                      if name.endswith((".cpp", ".hpp"))]
    done = subprocess.run([formatter, "--dry-run", "-Werror", *files], capture_output=True, text=True)
    print(done.stderr[:4000])
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
