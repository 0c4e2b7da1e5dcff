#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The local cache of remote weights, through the streamer command: cache_test.py STREAMER ROOT"""
import glob
import hashlib
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import unittest

STREAMER, ROOT = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
sys.path.insert(0, os.path.join(ROOT, "tests", "servers"))

import small_store  # noqa: E402

CANARY = "CANARYSIGNATURE0123456789"


def checkpoint(seed, size=3_000_000):
    data = random.Random(seed).randbytes(size)
    header = json.dumps({f"w{seed}": {"dtype": "U8", "shape": [size],
                                      "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + data, hashlib.sha256(data).hexdigest()


class Cache(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = os.path.join(temporary.name, "weights")
        self.store = small_store.SmallStore()
        self.addCleanup(self.store.stop)
        self.digests = []
        for number in (1, 2):
            content, digest = checkpoint(number)
            self.store.objects[f"model/model-0000{number}-of-00002.safetensors"] = content
            self.digests.append(digest)

    def streamer(self, *arguments, code=0, env=None):
        environment = {"PATH": os.environ["PATH"], "HOME": os.path.dirname(self.folder),
                       "STREAMER_CACHE_WEIGHTS": self.folder + ":1GiB",
                       **self.store.variables(), **(env or {})}
        done = subprocess.run([STREAMER, *arguments], env=environment, capture_output=True, text=True,
                              timeout=60)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout

    def load(self, *arguments, **more):
        return json.loads(self.streamer("load", "s3://bucket/model/", "--json", *arguments, **more))

    def files(self):
        return sorted(glob.glob(self.folder + "/*/*.weights"))

    def test_the_second_load_reads_the_cache(self):
        self.load()
        before = len(self.store.reads())
        digests = self.streamer("digest", "s3://bucket/model/")
        self.assertEqual([line.split()[0] for line in digests.splitlines()], self.digests)
        # The version of each shard, and nothing else.
        self.assertEqual(len(self.store.reads()) - before, 2)

    def test_with_never_the_store_may_be_gone(self):
        self.load(env={"STREAMER_CACHE_CHECK": "never"})
        self.store.stop()
        digests = self.streamer("digest", "s3://bucket/model/", "--set", "cache_check=never")
        self.assertEqual([line.split()[0] for line in digests.splitlines()], self.digests)

    def test_what_is_cached_is_listed_verified_and_removed(self):
        self.load()
        lines = [json.loads(line) for line in self.streamer("cache", "ls", "--json").splitlines()]
        self.assertEqual(sorted(line["uri"] for line in lines),
                         [f"s3://bucket/model/model-0000{n}-of-00002.safetensors" for n in (1, 2)])
        for line in lines:
            self.assertEqual(line["cached_bytes"], line["object_bytes"])
            self.assertGreaterEqual(line["disk_bytes"], line["object_bytes"])
        self.assertIn("2 versions", self.streamer("cache", "verify"))
        with open(self.files()[0], "r+b") as file:
            file.seek(1_000_000)
            file.write(b"wrong")
        self.assertIn("256.00 KiB bad", self.streamer("cache", "verify", code=1))
        self.assertIn("2 versions", self.streamer("cache", "verify"))
        self.streamer("cache", "rm", code=2)
        first = "s3://bucket/model/model-00001-of-00002.safetensors"
        self.assertIn("1 version", self.streamer("cache", "rm", first))
        self.assertIn("1 version", self.streamer("cache", "ls"))
        self.assertIn("0 versions", self.streamer("cache", "ls", "s3://bucket/other/"))
        self.assertIn("1 version", self.streamer("cache", "rm", "s3://bucket/model/"))
        self.assertEqual(self.files(), [])
        self.load()
        self.streamer("cache", "rm", "--all")
        self.assertEqual(self.files(), [])
        self.streamer("cache", "ls", code=2, env={"STREAMER_CACHE_WEIGHTS": "off"})

    def test_signed_urls_share_what_is_cached_and_leave_no_secret(self):
        url = self.store.url + "/bucket/model/model-00001-of-00002.safetensors"
        for number in range(2):
            query = f"?X-Amz-Date=2026010{number}T000000Z&X-Amz-Signature={CANARY}{number}"
            self.streamer("load", url + query)
        self.assertEqual(len(self.files()), 1)
        for root, folders, files in os.walk(self.folder):
            for name in folders + files:
                self.assertNotIn(CANARY, name)
            for name in files:
                with open(os.path.join(root, name), "rb") as file:
                    self.assertNotIn(CANARY.encode(), file.read(100_000))
        self.assertNotIn(CANARY, self.streamer("cache", "ls"))

    def test_a_disk_that_fills_up_costs_no_load_and_spoils_nothing(self):
        os.mkdir(self.folder, 0o700)
        # A disk of its own, smaller than the model, in a mount namespace that ends with the shell.
        script = ('mount -t tmpfs -o size=4m,mode=700 none "$0" || exit 77; "$1" digest "$2"; '
                  'df --output=avail "$0" | tail -1; "$1" cache verify; "$1" digest "$2"')
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, self.folder, STREAMER, "s3://bucket/model/"],
            env={"PATH": os.environ["PATH"], "HOME": os.path.dirname(self.folder),
                 "STREAMER_CACHE_WEIGHTS": self.folder + ":1GB", "STREAMER_LOG": "warning",
                 **self.store.variables()}, capture_output=True, text=True, timeout=60)
        if done.returncode == 77 or "unshare" in done.stderr:
            self.skipTest("may not mount: " + done.stderr.strip())
        lines = done.stdout.splitlines()
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual([line.split()[0] for line in lines[:2]], self.digests, done.stderr)
        self.assertLess(int(lines[2]), 512, done.stdout)  # KiB: it was full
        self.assertEqual([line.split()[0] for line in lines[-2:]], self.digests, done.stderr)
        self.assertIn("nothing more is cached", done.stderr)

    def test_pull_and_ls_do_not_use_it(self):
        self.streamer("ls", "s3://bucket/model/")
        with tempfile.TemporaryDirectory() as folder:
            self.streamer("pull", "s3://bucket/model/", folder)
        self.assertFalse(os.path.exists(self.folder))

    def test_a_folder_that_everybody_may_write_to_is_refused(self):
        os.mkdir(self.folder)
        os.chmod(self.folder, 0o777)
        error = json.loads(self.streamer("load", "s3://bucket/model/", "--json", code=3))["error"]
        self.assertEqual(error["kind"], "permission_denied")
        self.assertIn("cache_weights", error["message"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
