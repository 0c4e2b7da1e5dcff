#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pip install from the source tree, without a network: pip_test.py SOURCE_ROOT CHECKPOINT"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT, CHECKPOINT = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
COUNT = "import libstreamer, sys; print(sum(1 for _ in libstreamer.load(sys.argv[1])))"
STREAM = """
import sys
from runai_model_streamer import SafetensorsStreamer, list_safetensors
with SafetensorsStreamer() as streamer:
    streamer.stream_files(list_safetensors(sys.argv[1]))
    print(sum(1 for name, tensor in streamer.get_tensors()))
"""


class Pip(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = temporary.name
        # As a clone has it; pip builds in the tree.
        cls.source = os.path.join(cls.folder, "source")
        shutil.copytree(ROOT, cls.source, symlinks=True, ignore=shutil.ignore_patterns(
            "build*", ".git", "__pycache__", ".mesonpy-*"))
        cls.python = os.path.join(cls.folder, "venv", "bin", "python")
        subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", "--without-pip",
                        os.path.join(cls.folder, "venv")], check=True)
        # Of a build for tests only the time matters.
        cls.install(cls.source, "--config-settings=setup-args=-Doptimization=0")

    @classmethod
    def install(cls, source, *options):
        done = subprocess.run([sys.executable, "-m", "pip", "--python", cls.python, "install",
                               "--no-build-isolation", "--no-index", *options, source],
                              capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": os.environ.get("STREAMER_MESONPY", "")})
        if done.returncode != 0:
            raise AssertionError(done.stdout + done.stderr)

    def run_in(self, program, **variables):
        environment = {"PATH": os.environ["PATH"], "HOME": self.folder, **variables}
        return subprocess.run([self.python, "-c", program, CHECKPOINT], cwd=self.folder, text=True,
                              env=environment, capture_output=True)

    def test_the_package_and_then_the_drop_in(self):
        loaded = self.run_in(COUNT)
        self.assertEqual(loaded.returncode, 0, loaded.stderr)
        self.assertEqual(loaded.stdout.strip(), "244")
        where = self.run_in("import libstreamer._native as n; print(n.library.path)").stdout
        self.assertTrue(where.startswith(os.path.join(self.folder, "venv")), where)
        # Only who asks for it has the other package.
        self.assertIn("ModuleNotFoundError", self.run_in(STREAM).stderr)
        self.install(os.path.join(self.source, "capi", "runai", "python"))
        streamed = self.run_in(STREAM)
        self.assertEqual(streamed.stdout.strip(), "244", streamed.stderr)
        # The library that is named wins, and must be there.
        named = self.run_in(COUNT, STREAMER_LIBRARY="/nowhere/libstreamer.so")
        self.assertIn("ImportError", named.stderr)
        self.assertIn("STREAMER_LIBRARY", named.stderr)
        installed = os.listdir(os.path.dirname(self.python))
        self.assertIn("streamer", installed)

    def test_the_command_and_nothing_for_building(self):
        done = subprocess.run([os.path.join(os.path.dirname(self.python), "streamer"), "inspect",
                               CHECKPOINT], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        names = {name for _, _, files in os.walk(os.path.join(self.folder, "venv"))
                 for name in files}
        self.assertFalse([name for name in names
                          if name in ("streamer.h", "libstreamer.a", "streamer.pc")])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
