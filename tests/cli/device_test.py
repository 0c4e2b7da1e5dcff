#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command with --device, on a stand-in for NVIDIA's driver, and without one:
device_test.py STREAMER SOURCE_ROOT FOLDER_OF_STAND_IN"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

STREAMER, ROOT, STAND_IN = sys.argv[1:4]


def run(*arguments, **variables):
    """Runs the command on the stand-in."""
    return subprocess.run([STREAMER, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, check=False,
                          env={**os.environ, "LD_LIBRARY_PATH": STAND_IN, **variables})


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
        done = run("load", self.model, "--device", "cuda:1", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        stats = json.loads(done.stdout)
        self.assertGreaterEqual(stats["bytes_to_devices"], stats["bytes"])
        self.assertGreaterEqual(stats["device_bytes"], stats["bytes"])
        self.assertGreater(stats["staging_bytes"], 0)
        self.assertEqual(stats["arena_bytes"], 0)
        text = run("load", self.model, "--device", "cuda")
        self.assertIn("device: ", text.stdout)
        on_host = run("load", self.model, "--device", "host", "--json")
        self.assertEqual(json.loads(on_host.stdout)["bytes_to_devices"], 0)

    def test_bench_shows_every_stage(self):
        done = run("bench", self.model, "--device", "cuda:0", "--rounds", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        for stage in ("plain reads", "copies", "load / copies", "load / the slower of both"):
            self.assertIn(stage, done.stdout)
        as_json = run("bench", self.model, "--device", "cuda:0", "--rounds", "1",
                      "--json")
        found = json.loads(as_json.stdout)
        slower = min(found["copy_gigabytes_per_second"], found["plain_gigabytes_per_second"])
        self.assertAlmostEqual(found["ratio_to_ceiling"],
                               found["gigabytes_per_second"] / slower, places=1)

    def test_wrong_devices(self):
        for name in ("gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:0:1", ""):
            done = run("load", self.model, "--device", name)
            self.assertEqual(done.returncode, 2, name)
        done = run("load", self.model, "--device", "cuda:2")
        self.assertEqual(done.returncode, 2)
        self.assertIn("cuda:2", done.stderr)

    def test_without_a_driver_it_says_so(self):
        done = run("load", self.model, "--device", "cuda:0", LD_LIBRARY_PATH="")
        if done.returncode == 0:
            return  # this machine has one
        self.assertEqual(done.returncode, 5)
        reasons = ("no NVIDIA driver", "too old", "there is no GPU", "hides every GPU",
                   "does not start")
        self.assertTrue(any(reason in done.stderr for reason in reasons), done.stderr)

    def test_what_a_driver_lacks_is_said(self):
        for stand_in, visible, words in (
                ("version=11020", None, "the NVIDIA driver is too old: it knows CUDA 11.2"),
                ("devices=0", None, "there is no GPU"),
                ("", "", 'CUDA_VISIBLE_DEVICES="" hides every GPU'),
                ("", "7", 'CUDA_VISIBLE_DEVICES="7" hides every GPU'),
                ("init=803", None, "kernel module"),
                ("fail=cuMemcpyHtoDAsync:1:700", None, "must be restarted")):
            variables = {"STAND_IN_CUDA": stand_in}
            if visible is not None:
                variables["CUDA_VISIBLE_DEVICES"] = visible
            for command in (("load", self.model), ("doctor",)):
                done = run(*command, "--device", "cuda:0", **variables)
                self.assertEqual(done.returncode, 5, done.stderr)
                self.assertIn(words, done.stderr)

    def test_a_hidden_device_is_not_there(self):
        done = run("load", self.model, "--device", "cuda:1", CUDA_VISIBLE_DEVICES="1")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no such device: cuda:1; this machine shows one device (cuda:0)", done.stderr)
        self.assertIn("CUDA_VISIBLE_DEVICES", done.stderr)

    def test_doctor_shows_every_step(self):
        done = run("doctor", "--device", "cuda:1", STAND_IN_CUDA="pools=0")
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual([line.split()[:2] for line in lines],
                         [["ok", step] for step in ("driver", "device", "context", "pinned",
                                                    "bytes", "copies", "numa")])
        for words in ("driver of CUDA 12.4, 2 devices: cuda:0 Stand-in 0, cuda:1 Stand-in 1",
                      "at 0000:1A:00.0", "memory pools: no", "locked memory of this process",
                      "64.00 MiB went there and came back the same", "GB/s from pinned memory"):
            self.assertIn(words, done.stdout)
        both = run("doctor", self.model, "--device", "cuda:0")
        self.assertEqual(both.returncode, 0, both.stderr)
        self.assertIn("is read by the file backend", both.stdout)
        self.assertEqual(run("doctor").returncode, 2)
        self.assertEqual(run("doctor", "--device", "cpu").returncode, 2)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
