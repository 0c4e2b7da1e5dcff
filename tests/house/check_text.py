#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The look of sources: check_text.py SOURCE_ROOT | --self-test"""
import os
import re
import sys

SUFFIXES = (".cpp", ".hpp", ".h", ".c", ".py", ".sh")
TOPS = ("src", "capi", "include", "tests", "examples")
MOST_COLUMNS = 104
MOST_LINES = 600
# The C ABI is one contract, in one file.
MORE_LINES = {"capi/streamer.h": 1000}


def check_file(path, text):
    lines = text.split("\n")
    if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(lines[:2]):
        yield f"{path}: the first line is the licence's SPDX line"
    if len(lines) > MORE_LINES.get(path, MOST_LINES):
        yield f"{path}: {len(lines)} lines; is it one thing?"
    for number, line in enumerate(lines, 1):
        if len(line) > MOST_COLUMNS:
            yield f"{path}:{number}: {len(line)} columns"
        if line != line.rstrip():
            yield f"{path}:{number}: white space at the end"
        if re.search(r"\b(FIXME|XXX|TODO\(now\)|TODO(?!\((perf|port|later)\)))\b", line) and \
                "check_text" not in path:
            yield f"{path}:{number}: unfinished"
    if path.endswith((".hpp", ".inc")) and "#pragma once" not in text:
        yield f"{path}: no #pragma once"
    is_library = path.startswith("src/") and not path.startswith("src/cli/")
    if is_library and re.search(r"\b(std::cout|std::cerr|printf\(|abort\(\)|exit\()", text):
        yield f"{path}: the library neither prints nor ends the process"
    has_try = re.search(r"^\s*(try\s*\{|\}\s*catch)", text, re.MULTILINE)
    if is_library and has_try and path != "src/base/fits_in_memory.hpp":
        yield f"{path}: try and catch belong to the boundary and to the top of a thread"


def check_tree(root):
    for top in TOPS:
        for folder, folders, files in os.walk(os.path.join(root, top)):
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in sorted(files):
                if name.endswith(SUFFIXES):
                    path = os.path.relpath(os.path.join(folder, name), root)
                    with open(os.path.join(root, path), encoding="utf-8") as file:
                        yield from check_file(path, file.read())


def self_test():
    head = "// SPDX-License-Identifier: Apache-2.0\n"
    bad = [
        ("src/a.cpp", "int x;\n"),
        ("src/a.cpp", head + "x" * 105),
        ("src/a.cpp", head + "int x; \n"),
        ("src/a.cpp", head + "// TODO: later\n"),
        ("src/a.hpp", head),
        ("src/base/a.cpp", head + 'void f() { printf("x"); }\n'),
        ("src/base/a.cpp", head + "  try {\n"),
        ("src/a.cpp", head + "\n" * 700),
    ]
    for path, text in bad:
        assert list(check_file(path, text)), (path, text[:80])
    assert not list(check_file("src/a.cpp", head + "// TODO(perf): measure\n"))


def main():
    if sys.argv[1] == "--self-test":
        return self_test()
    wrong = list(check_tree(sys.argv[1]))
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
