#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the library exports is what the headers declare: check_exports.py HEADER... LIBRARY"""
import re
import subprocess
import sys


def declared(text):
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return set(re.findall(r"STREAMER_API[^;(]*?\b((?:streamer|runai)_\w+)\s*\(", text))


def exported(library):
    lines = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True,
                           check=True).stdout.splitlines()
    names = set()
    for line in lines:
        kind, name = line.split()[-2:]
        if kind != "A":  # the version node itself
            names.add(name)
    return names


def main():
    *headers, library = sys.argv[1:]
    wanted = set()
    for path in headers:
        with open(path, encoding="utf-8") as header:
            wanted |= declared(header.read())
    found = exported(library)
    plain = {name.split("@")[0] for name in found}
    wrong = [f"declared, not exported: {name}" for name in sorted(wanted - plain)]
    wrong += [f"exported, not declared: {name}" for name in sorted(plain - wanted)]
    wrong += [f"without its version node: {name}" for name in sorted(found)
              if not re.search(r"@@STREAMER_\d+\.\d+$", name)]
    print("\n".join(wrong))
    return 1 if wrong or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
