#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The streamer command against a store that checks like Google: google_test.py STREAMER SOURCE_ROOT"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

STREAMER, ROOT = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
for folder in ("servers", "support"):
    sys.path.insert(0, os.path.join(ROOT, "tests", folder))

import fake_google  # noqa: E402
from store_case import CANARY, ODD_NAMES, StoreCase  # noqa: E402


class GoogleStore(StoreCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = cls.temporary.name
        cls.store = fake_google.FakeGoogle(cls.folder, "1//refresh-CANARYSECRET")
        cls.addClassCleanup(cls.store.stop)
        cls.upload(cls.store, ODD_NAMES)
        for number in range(2005):
            cls.store.put("many", f"p/{number:04}", b"x")

    def streamer(self, *arguments, env=None):
        environment = {"STREAMER_GCS_ENDPOINT": self.store.url, "NO_GCE_CHECK": "true",
                       "GOOGLE_APPLICATION_CREDENTIALS": self.store.account_file(), **(env or {})}
        with open(self.store.key, encoding="ascii") as file:
            lines = file.read().splitlines()
        return self.run_streamer(STREAMER, arguments, environment, (), ["PRIVATE KEY", *lines[1:3]])

    def test_sharded_checkpoint_by_every_way(self):
        self.assertEqual(self.digest("gs://models/llama 3/"), self.digests)
        env = {"GOOGLE_APPLICATION_CREDENTIALS": None,
               "RUNAI_STREAMER_GCS_CREDENTIAL_FILE": self.store.user_file()}
        self.assertEqual(self.digest("gs://models/llama 3", env=env), self.digests)

    def test_one_request_per_shard_before_its_first_bytes(self):
        before = len(self.store.requests)
        done = self.streamer("inspect", "gs://models/llama 3/")
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        asked = self.store.requests[before:]
        # One listing, the index, one for each of four shards.
        self.assertEqual(len(asked), 6, asked)
        self.assertFalse([line for line in asked if line.startswith("HEAD")])

    def test_odd_names(self):
        listed = self.streamer("ls", "-r", "--json", "gs://models/odd/")
        self.assertEqual(listed.returncode, 0, listed.stderr[-2000:])
        uris = {json.loads(line)["uri"] for line in listed.stdout.splitlines()}
        for number, name in enumerate(ODD_NAMES):
            uri = f"gs://models/odd/{name}.safetensors"
            with self.subTest(name=name):
                self.assertIn(uri, uris)
                self.assertEqual(self.digest(uri), getattr(self, f"odd_{number}"))

    def test_paging(self):
        listed = self.streamer("ls", "gs://many/p/")
        self.assertEqual(len(listed.stdout.splitlines()), 2005)

    def test_pull(self):
        target = os.path.join(self.folder, "pulled")
        done = self.streamer("pull", "gs://models/llama 3/", target, "--allow", "*.json",
                             "--ignore", "*index*")
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        found = sorted(os.path.relpath(os.path.join(folder, name), target)
                       for folder, _, names in os.walk(target) for name in names)
        self.assertEqual(found, ["config.json", "sub/tokenizer.json"])

    def test_snapshot(self):
        cache = os.path.join(self.folder, "cache")
        folders = set()
        for more in ((), ("--cache", cache)):
            done = self.streamer("snapshot", "gs://models/llama 3/", *more,
                                 env={"STREAMER_CACHE_FOLDER": cache})
            self.assertEqual(done.returncode, 0, done.stderr[-2000:])
            folders.add(done.stdout.strip())
        folder = folders.pop()
        self.assertFalse(folders)
        self.assertEqual(sorted(os.listdir(folder)),
                         ["config.json", "model.safetensors.index.json", "sub"])

    def test_refusals_have_their_kinds(self):
        def fails(words, env, uri="gs://models/llama 3/"):
            done = self.streamer("inspect", uri, env=env)
            with self.subTest(words=words):
                self.assertEqual(done.returncode, 3, done.stderr[-2000:])
                self.assertIn(words, done.stderr)
        other = os.path.join(self.folder, "other.key")
        subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-out", other], check=True,
                       stderr=subprocess.DEVNULL)
        fails("401 AuthenticationRequired",
              {"GOOGLE_APPLICATION_CREDENTIALS": self.store.account_file(other)})
        fails("403 AccessDenied", {"RUNAI_STREAMER_GCS_USE_ANONYMOUS_CREDENTIALS": "True"})
        revoked = {"GOOGLE_APPLICATION_CREDENTIALS": self.store.user_file("1//" + CANARY)}
        fails("invalid_grant: Token has been revoked.", revoked)
        fails("no credentials were found", {"GOOGLE_APPLICATION_CREDENTIALS": None})
        fails("404 NoSuchBucket", {}, "gs://nobucket/")
        fails("404 NoSuchKey", {}, "gs://models/none.safetensors")

    def test_doctor(self):
        done = self.streamer("doctor", "gs://models/llama 3/")
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        for words in ("from STREAMER_GCS_ENDPOINT", "path style", fake_google.EMAIL,
                      "self-signed, until", "list", "stat", "MB/s"):
            self.assertIn(words, done.stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
