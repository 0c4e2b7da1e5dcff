#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The README says what is true: check_docs.py SOURCE_ROOT LIBRARY COMPILER... | --write SOURCE_ROOT
LIBRARY

Its tables of settings are the library's own (--write makes them); its code compiles.
"""
import ctypes
import os
import re
import subprocess
import sys
import tempfile


class SettingInfo(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t),
                *((name, ctypes.c_char_p) for name in (
                    "name", "variable", "compatible_variable", "default_value", "values", "meaning")),
                ("is_secret", ctypes.c_int32), ("scope", ctypes.c_char_p)]


BEGIN, END = "<!-- settings: made by tests/house/check_docs.py -->\n", "<!-- end of settings -->\n"


def settings_of(library):
    """Headings to rows, of each table."""
    library.streamer_setting_count.restype = ctypes.c_size_t
    tables = {"": [], "### Stores\nFor all URIs, or for URIs with a given prefix.\n\n": [],
              "### Debugging\nNot guaranteed: any version may change or drop them.\n\n": []}
    common, of_stores, debug = tables.values()
    for index in range(library.streamer_setting_count()):
        info = SettingInfo(ctypes.sizeof(SettingInfo))
        assert library.streamer_setting_get_info(ctypes.c_size_t(index), ctypes.byref(info), None) == 0
        name, scope = info.name.decode(), info.scope.decode()
        variables = [v.decode() for v in (info.variable, info.compatible_variable) if v]
        table = debug if name.startswith("debug.") else of_stores if scope == "store" else common
        table.append(f"| `{name}` | {', '.join(f'`{v}`' for v in variables)} | {scope} | "
                     f"{info.values.decode()} | {info.default_value.decode()} | "
                     f"{info.meaning.decode()} |\n")
    return tables


def settings_text(library):
    head = "| name | environment | scope | values | default | meaning |\n|---|---|---|---|---|---|\n"
    return "\n".join(heading + head + "".join(rows) for heading, rows in settings_of(library).items())


def around_settings(readme):
    """What stands before the tables, the tables, and what stands behind."""
    before, rest = readme.split(BEGIN)
    return before, *rest.split(END)


def write(root, library):
    path = os.path.join(root, "README.md")
    with open(path, encoding="utf-8") as file:
        before, _, behind = around_settings(file.read())
    with open(path, "w", encoding="utf-8") as file:
        file.write(before + BEGIN + settings_text(library) + END + behind)
    return 0


def compiles(root, language, code, compiler):
    suffix, standard = ("cpp", "-std=c++20") if language == "cpp" else ("c", "-std=c99")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"readme.{suffix}")
        with open(path, "w", encoding="utf-8") as file:
            file.write(code)
        done = subprocess.run([*compiler, "-x", "c++" if language == "cpp" else "c", standard, "-Wall",
                               "-Wextra", "-Werror", "-fsyntax-only", f"-I{root}/include",
                               f"-I{root}/capi", path], capture_output=True, text=True)
        return done.stderr if done.returncode else ""


def main():
    if sys.argv[1] == "--write":
        return write(sys.argv[2], ctypes.CDLL(sys.argv[3]))
    root, library = sys.argv[1], ctypes.CDLL(sys.argv[2])
    compiler = sys.argv[3:]
    with open(os.path.join(root, "README.md"), encoding="utf-8") as file:
        readme = file.read()
    wrong = []
    if around_settings(readme)[1] != settings_text(library):
        wrong.append("the README's settings are not the library's: run check_docs.py --write "
                     "SOURCE_ROOT LIBRARY")
    blocks = re.findall(r"^```(cpp|c)\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    if {language for language, _ in blocks} != {"cpp", "c"}:
        wrong.append("the README has no C++ or no C example")
    for language, code in blocks:
        wrong.append(compiles(root, language, code, compiler))
    with open(os.path.join(root, "tests/storage/mirror_store.hpp"), encoding="utf-8") as file:
        backend = file.read().split("namespace streamer::core {\n\n")[1].split("\n}  // namespace")[0]
    if backend not in readme:
        wrong.append("the backend in the README is not the one of tests/storage/mirror_store.hpp")
    with open(os.path.join(root, "tests/storage/memory_store.hpp"), encoding="utf-8") as file:
        store = file.read().split("namespace streamer::core {\n\n")[1].split("\n}  // namespace")[0]
    with open(os.path.join(root, "CONTRIBUTING.md"), encoding="utf-8") as file:
        if store not in file.read():
            wrong.append("the store in CONTRIBUTING is not the one of tests/storage/memory_store.hpp")
    wrong = [line for line in wrong if line]
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
