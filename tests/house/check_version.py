#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Everything that says this tree's version says that of meson.build: check_version.py SOURCE_ROOT |
--self-test

What is not here takes it from one of these: the soname's file, pkg-config, CMake and the wheels from
meson.build; the library, the command, its manual and the Go module from streamer.h.
"""
import os
import re
import sys

MESON = r"^  version: '(\d+\.\d+\.\d+)'"
# File: a pattern whose groups, joined by points, are the version or its first parts.
SAID = {
    "capi/streamer.h": r"_VERSION_MAJOR (\d+)\n.*_VERSION_MINOR (\d+)\n.*_VERSION_PATCH (\d+)\n",
    "capi/python/libstreamer/_native.py": r'^VERSION = "(.*)"$',
    "capi/runai/python/meson.build": r"^project\('libstreamer-runai', version: '(.*?)'",
    "capi/runai/python/pyproject.toml": r'"libstreamer==(.*?)"',
    "capi/rust/Cargo.toml": r'^version = "(.*)"$',
    "capi/rust/src/sys.rs": r"^const MAJOR: u32 = (\d+);\nconst MINOR: u32 = (\d+);$",
    "examples/downstream/cmake/CMakeLists.txt": r"find_package\(streamer (\S+) ",
    "examples/downstream/meson/meson.build": r"dependency\('streamer', version: '>=(.*?)'",
    "CHANGELOG.md": r"\A# Changes\n\n## (\S+) \((?:unreleased|\d{4}-\d\d-\d\d)\)$",
}
NUMBER = r"^#define STREAMER_VERSION_NUMBER (\d+)$"


def check(read):
    """Yields what differs; read() returns a file's text by its path."""
    version = re.search(MESON, read("meson.build"), re.MULTILINE).group(1)
    parts = version.split(".")
    for path, pattern in SAID.items():
        found = re.search(pattern, read(path), re.MULTILINE)
        if not found:
            yield f"{path}: nothing like {pattern}"
            continue
        said = ".".join(found.groups()).split(".")
        if said != parts[:max(len(said), 2)]:
            yield f"{path} says {'.'.join(said)}, and meson.build {version}"
    header = read("capi/streamer.h")
    number = re.search(NUMBER, header, re.MULTILINE)
    major, minor, patch = map(int, parts)
    if not number or int(number.group(1)) != major * 1_000_000 + minor * 1_000 + patch:
        yield "capi/streamer.h: STREAMER_VERSION_NUMBER is of another version"
    for since in re.findall(r"[Ss]ince\s+\**\s*(\d+\.\d+)\b", header):
        if tuple(map(int, since.split("."))) > (major, minor):
            yield f"capi/streamer.h: something is there since {since}, which comes after {version}"


def self_test():
    good = {
        "meson.build": "project('x',\n  version: '0.2.1',\n",
        "capi/streamer.h": "#define STREAMER_VERSION_MAJOR 0\n#define STREAMER_VERSION_MINOR 2\n"
                           "#define STREAMER_VERSION_PATCH 1\n#define STREAMER_VERSION_NUMBER 2001\n"
                           "/* Since\n * 0.2. */\n",
        "capi/python/libstreamer/_native.py": 'VERSION = "0.2.1"\n',
        "capi/runai/python/meson.build": "project('libstreamer-runai', version: '0.2.1')\n",
        "capi/runai/python/pyproject.toml": 'dependencies = ["libstreamer==0.2.1"]\n',
        "capi/rust/Cargo.toml": 'version = "0.2.1"\n',
        "capi/rust/src/sys.rs": "const MAJOR: u32 = 0;\nconst MINOR: u32 = 2;\n",
        "examples/downstream/cmake/CMakeLists.txt": "find_package(streamer 0.2 REQUIRED)\n",
        "examples/downstream/meson/meson.build": "dependency('streamer', version: '>=0.2')\n",
        "CHANGELOG.md": "# Changes\n\n## 0.2.1 (unreleased)\n- x\n\n## 0.1.0\n",
    }
    wrong = list(check(good.__getitem__))
    for path, text in good.items():
        changed = [text.replace("2", "3", 1)] + ([""] if path != "meson.build" else [])
        for bad in changed:
            if not list(check({**good, path: bad}.__getitem__)):
                wrong.append(f"not found out in {path}: {bad!r}")
    later = good["capi/streamer.h"].replace(" 0.2.", " 0.3.")
    if not list(check({**good, "capi/streamer.h": later}.__getitem__)):
        wrong.append("not found out: since a later version")
    print("\n".join(wrong))
    return 1 if wrong else 0


def main():
    if sys.argv[1] == "--self-test":
        return self_test()

    def read(path):
        with open(os.path.join(sys.argv[1], path), encoding="utf-8") as file:
            return file.read()

    wrong = list(check(read))
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
