#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sources are as clang-format 14 leaves them: check_format.py SOURCE_ROOT. Skipped without it."""
import os
import shutil
import subprocess
import sys


def formatted(formatter, files):
    return subprocess.run([formatter, *files], capture_output=True, check=True).stdout


def not_formatted(formatter, files):
    texts = []
    for path in files:
        with open(path, "rb") as file:
            texts.append(file.read())
    if formatted(formatter, files) == b"".join(texts):
        return []
    return [path for path, text in zip(files, texts) if formatted(formatter, [path]) != text]


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
    # Not by --dry-run, to which the comment behind an inline namespace is wrong as it leaves it.
    wrong = []
    for start in range(0, len(files), 50):
        wrong += not_formatted(formatter, files[start:start + 50])
    for path in wrong:
        print(f"{os.path.relpath(path, root)} is not as clang-format-14 -i leaves it")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
