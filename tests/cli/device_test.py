#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command with --device, on a stand-in for the CUDA runtime, and the real one without a GPU:
device_test.py STREAMER_ON_STAND_IN STREAMER SOURCE_ROOT"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

ON_STAND_IN, STREAMER, ROOT = sys.argv[1:4]


def run(*arguments):
    return subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, check=False)


class Devices(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.model = os.path.join(cls.folder.name, "model")
        subprocess.run([sys.executable, os.path.join(ROOT, "examples/make_checkpoint.py"),
                        cls.model, "--mib", "12", "--shards", "3"], check=True,
                       capture_output=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_load_says_what_went_to_the_device(self):
        done = run(ON_STAND_IN, "load", self.model, "--device", "cuda:1", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        stats = json.loads(done.stdout)
        self.assertGreaterEqual(stats["bytes_to_devices"], stats["bytes"])
        self.assertGreaterEqual(stats["device_bytes"], stats["bytes"])
        self.assertGreater(stats["staging_bytes"], 0)
        self.assertEqual(stats["arena_bytes"], 0)
        text = run(ON_STAND_IN, "load", self.model, "--device", "cuda")
        self.assertIn("device: ", text.stdout)
        on_host = run(ON_STAND_IN, "load", self.model, "--device", "host", "--json")
        self.assertEqual(json.loads(on_host.stdout)["bytes_to_devices"], 0)

    def test_bench_shows_every_stage(self):
        done = run(ON_STAND_IN, "bench", self.model, "--device", "cuda:0", "--rounds", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        for stage in ("plain reads", "copies", "load / copies", "load / the slower of both"):
            self.assertIn(stage, done.stdout)
        as_json = run(ON_STAND_IN, "bench", self.model, "--device", "cuda:0", "--rounds", "1",
                      "--json")
        found = json.loads(as_json.stdout)
        slower = min(found["copy_gigabytes_per_second"], found["plain_gigabytes_per_second"])
        self.assertAlmostEqual(found["ratio_to_ceiling"],
                               found["gigabytes_per_second"] / slower, places=1)

    def test_wrong_devices(self):
        for name in ("gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:0:1", ""):
            done = run(ON_STAND_IN, "load", self.model, "--device", name)
            self.assertEqual(done.returncode, 2, name)
        done = run(ON_STAND_IN, "load", self.model, "--device", "cuda:2")
        self.assertEqual(done.returncode, 2)
        self.assertIn("cuda:2", done.stderr)

    def test_without_a_gpu_it_says_what_is_missing(self):
        done = run(STREAMER, "load", self.model, "--device", "cuda:0")
        if done.returncode == 0:
            return  # this machine has one
        self.assertEqual(done.returncode, 5)
        reasons = ("built without CUDA", "no NVIDIA driver", "too old", "no GPU", "does not start")
        self.assertTrue(any(reason in done.stderr for reason in reasons), done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
