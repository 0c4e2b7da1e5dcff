#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the Python package says to arguments that make no sense: misuse_test.py SOURCE_ROOT
(STREAMER_LIBRARY is set)"""
import copy
import importlib.util
import os
import pickle
import sys
import tempfile
import unittest

ROOT = sys.argv[1]
sys.path.insert(0, os.path.join(ROOT, "capi", "python"))
import libstreamer  # noqa: E402
from safetensors_file import write_mebibytes  # noqa: E402


class Misuse(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.path = os.path.join(folder.name, "model.safetensors")
        write_mebibytes(cls.path, 4)

    def test_errors_of_the_package_have_the_kind_of_the_librarys(self):
        checkpoint = libstreamer.open(self.path)
        name = next(iter(checkpoint))
        for call in (lambda: libstreamer.load_into({}, checkpoint),
                     lambda: list(libstreamer.load(checkpoint, select="no such name")),
                     lambda: libstreamer.start(checkpoint, order="x"),
                     lambda: libstreamer.start(checkpoint, slices={name: (0, -1, 1)}),
                     lambda: libstreamer.open(self.path, {"memory_limit": "lots"})):
            with self.assertRaises(libstreamer.InvalidArgumentError) as caught:
                call()
            self.assertEqual((caught.exception.kind, caught.exception.code), ("invalid_argument", 100))

    def test_memory_that_select_leaves_out_is_an_error(self):
        checkpoint = libstreamer.open(self.path)
        first, second = list(checkpoint)[:2]
        memory = bytearray(checkpoint[first].bytes)
        with self.assertRaisesRegex(ValueError, "which select leaves out"):
            libstreamer.start(checkpoint, into={first: memory}, select=second)
        with self.assertRaisesRegex(ValueError, "which select leaves out"):
            libstreamer.load_into({first: memory}, checkpoint, strict=False, select=second)

    def test_stats_and_explanations_outlive_the_load(self):
        with libstreamer.start(self.path) as load:
            for _ in load:
                pass
            stats, explained = load.stats(), load.explain()
        self.assertTrue(stats["bytes_ready"])
        self.assertEqual(load.stats()["bytes_ready"], stats["bytes_ready"])
        self.assertEqual(load.explain(), explained)

    def test_a_load_is_closed_whatever_its_files_are_called(self):
        path = os.path.join(os.path.dirname(self.path), os.fsdecode(b"\xff\xfe.safetensors"))
        os.link(self.path, path)
        with open(path, "r+b"):  # so that it cannot be mapped, and the explanation names it
            load = libstreamer.start(path)
            next(load)
            before = libstreamer.process_use().loads
            load.close()
        os.unlink(path)
        self.assertIn("it is open for writing", "".join(load.explain()))
        self.assertLess(libstreamer.process_use().loads, before)

    def test_reload_takes_no_argument_that_it_would_not_heed(self):
        checkpoint = libstreamer.open(self.path)
        memory = {name: bytearray(one.bytes) for name, one in checkpoint.items()}
        for name in ("select", "slices", "into", "framework", "progress", "allow_empty"):
            with self.assertRaisesRegex(TypeError, rf"reload\(\) has no argument '{name}'"):
                libstreamer.reload(memory, self.path, checkpoint, **{name: None})
        with self.assertRaisesRegex(TypeError, "since is of type str; it is the Checkpoint"):
            libstreamer.reload(memory, self.path, self.path)

    def test_what_owns_memory_of_the_library_has_one_owner(self):
        checkpoint = libstreamer.open(self.path)
        load = libstreamer.start(checkpoint)
        _, tensor = next(iter(load))
        tensor.memoryview()
        for one in (tensor, checkpoint, load, libstreamer.Operation(),
                    libstreamer.settings.NativeSettings()):
            for copy_of in (copy.copy, copy.deepcopy, pickle.dumps):
                with self.assertRaisesRegex(TypeError, f"^{type(one).__name__} objects own memory"):
                    copy_of(one)
        load.close()

    def test_a_framework_that_is_unknown_or_missing_is_an_error_before_anything_is_read(self):
        with self.assertRaisesRegex(ValueError, "framework is 'tf'; it may be torch, numpy, jax"):
            libstreamer.load(self.path, framework="tf")
        if importlib.util.find_spec("jax") is not None:
            self.skipTest("jax is installed")
        with self.assertRaisesRegex(ModuleNotFoundError, "needs the package jax, which is not inst"):
            libstreamer.load(self.path, framework="jax")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
