#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The structs and functions that the Python package knows are those of streamer.h:
abi_test.py SOURCE_ROOT COMPILER..."""
import ast
import ctypes
import glob
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
import typing
import unittest

ROOT, *COMPILER = sys.argv[1:]
sys.path.insert(0, os.path.join(ROOT, "capi", "python"))
import libstreamer  # noqa: E402
from libstreamer import _native  # noqa: E402

with open(os.path.join(ROOT, "capi", "streamer.h"), encoding="utf-8") as file:
    HEADER = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.DOTALL)


def snake(name):
    return "streamer_" + re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


STRUCTS = {value: snake(name) for name, value in vars(_native).items()
           if isinstance(value, type) and issubclass(value, _native.Struct)
           and value is not _native.Struct}


class Abi(unittest.TestCase):
    def test_structs(self):
        lines = []
        for struct, name in STRUCTS.items():
            lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
            lines += [f'printf("{name}.{field} %zu %zu\\n", offsetof({name}, {field}), '
                      f'sizeof((({name} *)0)->{field}));' for field, _ in struct._fields_]
        program = ("#include <stddef.h>\n#include <stdio.h>\n#include <streamer.h>\n"
                   "int main(void) {\n" + "\n".join(lines) + "\nreturn 0; }\n")
        with tempfile.TemporaryDirectory() as folder:
            source, binary = os.path.join(folder, "abi.c"), os.path.join(folder, "abi")
            with open(source, "w", encoding="utf-8") as out:
                out.write(program)
            subprocess.run([*COMPILER, f"-I{ROOT}/capi", source, "-o", binary], check=True)
            found = subprocess.run([binary], check=True, capture_output=True, text=True).stdout
        expected = []
        for struct, name in STRUCTS.items():
            expected.append(f"{name} {ctypes.sizeof(struct)}")
            expected += [f"{name}.{field} {getattr(struct, field).offset} "
                         f"{getattr(struct, field).size}" for field, _ in struct._fields_]
        self.assertEqual(found.splitlines(), expected)
        self.assertGreater(len(STRUCTS), 10)

    def test_functions(self):
        declared = re.findall(r"STREAMER_API\s+[\w\s]+?[\s*](streamer_\w+)\s*\(([^;]*?)\);", HEADER,
                              re.DOTALL)
        parameters = {name: 0 if text.strip() == "void" else text.count(",") + 1
                      for name, text in declared}
        for name in _native._FUNCTIONS:
            function = getattr(_native.library, name)
            self.assertEqual(len(function.argtypes), parameters["streamer_" + name], name)


class Versions(unittest.TestCase):
    def test_a_library_of_another_version_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            ours = _native._MAJOR * 1_000_000 + _native._MINOR * 1000
            source, library = os.path.join(folder, "other.c"), os.path.join(folder, "other.so")
            for code, words in (
                    ("unsigned streamer_version(void) { return 9000100; }", "is libstreamer 9.0"),
                    (f"unsigned streamer_version(void) {{ return {ours}; }}", "has no streamer_"),
                    ("int nothing;", "is not libstreamer")):
                with open(source, "w", encoding="utf-8") as out:
                    out.write(code + "\n")
                subprocess.run([*COMPILER, "-shared", "-fPIC", source, "-o", library], check=True)
                done = subprocess.run(
                    [sys.executable, "-c", "import libstreamer"], capture_output=True, text=True,
                    env={**os.environ, "STREAMER_LIBRARY": library,
                         "PYTHONPATH": os.path.join(ROOT, "capi", "python")})
                self.assertIn("ImportError", done.stderr)
                self.assertIn(words, done.stderr)
                self.assertIn(library, done.stderr)


class Python39(unittest.TestCase):
    """What the oldest Python that is promised would say to the packages."""

    def test_the_sources(self):
        paths = [path for folder in ("capi/python", "capi/runai/python", "examples/python")
                 for path in glob.glob(os.path.join(ROOT, folder, "**", "*.py"), recursive=True)]
        self.assertGreater(len(paths), 20)
        for path in paths:
            with open(path, encoding="utf-8") as source:
                tree = ast.parse(source.read(), path, feature_version=(3, 9))
            for node in ast.walk(tree):
                self.assertFalse(type(node).__name__ == "Match", path)
                for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
                    # "X | None" is for types since 3.10.
                    self.assertFalse(annotation and any(isinstance(part, ast.BitOr)
                                                        for part in ast.walk(annotation)),
                                     f"{path}:{getattr(node, 'lineno', 0)}")

    def test_annotations_mean_something(self):
        for info in pkgutil.walk_packages(libstreamer.__path__, "libstreamer."):
            module = importlib.import_module(info.name)
            for value in vars(module).values():
                if getattr(value, "__module__", None) == info.name and callable(value):
                    typing.get_type_hints(value)
                    for member in vars(value).values() if isinstance(value, type) else ():
                        if callable(member) and hasattr(member, "__annotations__"):
                            typing.get_type_hints(member)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
