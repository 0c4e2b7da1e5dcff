#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The streamer command against emulators of Google's storage that have the JSON API:
google_emulator_test.py STREAMER SOURCE_ROOT"""
import base64
import os
import sys
import tempfile
import unittest

STREAMER, ROOT = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
for folder in ("servers", "support"):
    sys.path.insert(0, os.path.join(ROOT, "tests", folder))

import fake_gcs_json  # noqa: E402
from store_case import CANARY, ODD_NAMES, StoreCase, checkpoint  # noqa: E402


def crc32c(content):
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return base64.b64encode((crc ^ 0xFFFFFFFF).to_bytes(4, "big")).decode()


CONTENT, DIGESTS = checkpoint({f"t{t}": 3000 + t for t in range(5)}, 1)
SUM = crc32c(CONTENT)


class Emulators(StoreCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name
        self.start()

    def start(self):
        self.emulator = fake_gcs_json.JsonEmulator()
        self.addCleanup(self.emulator.stop)
        for name in ("config.json", "sub/x", "sub/y", "z%2F+"):
            self.emulator.put("a b/" + name, name.encode())
        self.emulator.put("a b/empty", b"")  # whose size is left out
        self.emulator.put("a b/m.safetensors", CONTENT, SUM)

    def streamer(self, *arguments, env=None):
        host = self.emulator.url.removeprefix("http://")
        return self.run_streamer(STREAMER, arguments, {"STORAGE_EMULATOR_HOST": host, **(env or {})},
                                 ())

    def succeed(self, *arguments, **how):
        done = self.streamer(*arguments, **how)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        return done

    def refuse(self, words, *arguments, **how):
        done = self.streamer(*arguments, **how)
        self.assertIn(done.returncode, (1, 2, 3), done.stderr[-2000:])
        said = [line for line in done.stderr.splitlines() if line.startswith("streamer: ")]
        self.assertIn(words, "\n".join(said))

    def names(self, *arguments):
        return [line.split(None, 1)[1] for line in self.succeed("ls", *arguments).stdout.splitlines()]

    def test_what_has_no_xml_api_is_read_by_json(self):
        page = b"<!doctype html><title>404 Not Found</title>"
        for missing in ((404, b"Not Found"), (404, page), (501, b""), (405, b"{}"), (400, b""),
                        (200, page)):
            with self.subTest(missing):
                self.start()
                self.emulator.missing = missing
                self.assertEqual(self.names("gs://bucket/a b"),
                                 [f"gs://bucket/a b/{name}" for name in
                                  ("config.json", "empty", "m.safetensors", "sub/", "z%2F+")])
                self.assertEqual(self.digest("gs://bucket/a b"), DIGESTS)
                # Each of the two asked once which API there is.
                self.assertEqual(len(self.emulator.asked_otherwise()), 2, self.emulator.requests)

    def test_one_file_that_is_named(self):
        for reads_xml in (False, True):
            with self.subTest(reads_xml):
                self.start()
                self.emulator.reads_xml = reads_xml
                self.assertEqual(self.digest("gs://bucket/a b/m.safetensors"), DIGESTS)
                self.assertEqual(len(self.emulator.asked_otherwise()), 1, self.emulator.requests)
                self.assertEqual(self.names("gs://bucket/a b/m.safetensors"),
                                 ["gs://bucket/a b/m.safetensors"])

    def test_the_endpoint_may_name_the_api(self):
        self.succeed("load", "gs://bucket/a b", env={
            "STORAGE_EMULATOR_HOST": self.emulator.url + "/storage/v1/"})

    def test_odd_names(self):
        for number, name in enumerate(ODD_NAMES):
            self.emulator.put(f"odd/{name}", b"%d" % number)
        target = os.path.join(self.folder, "odd")
        self.assertEqual(sorted(self.names("-r", "gs://bucket/odd")),
                         sorted(f"gs://bucket/odd/{name}" for name in ODD_NAMES))
        good = [name for name in ODD_NAMES
                if "x/" not in name and "\\" not in name and len(name) < 200]
        for number, name in enumerate(ODD_NAMES):
            if name not in good:
                del self.emulator.objects[f"odd/{name}"]
        self.succeed("pull", "gs://bucket/odd", target)
        for name in good:
            with open(os.path.join(target, name), "rb") as file:
                self.assertEqual(file.read(), b"%d" % ODD_NAMES.index(name))

    def test_pull_and_snapshot(self):
        for names_generations in (True, False):
            with self.subTest(names_generations):
                self.emulator.names_generations = names_generations
                target = os.path.join(self.folder, str(names_generations))
                for _ in range(2):
                    self.succeed("pull", "gs://bucket/a b", target)
                with open(os.path.join(target, "m.safetensors"), "rb") as file:
                    self.assertEqual(file.read(), CONTENT)
                self.assertEqual(os.path.getsize(os.path.join(target, "empty")), 0)
                # The second time, nothing was read again.
                reads = [path for path in self.emulator.requests
                         if "m.safetensors?" in path and "alt=media" in path]
                self.assertEqual(len(reads), 1 if names_generations else 2, reads)
                cache = os.path.join(self.folder, f"cache-{names_generations}")
                done = self.succeed("snapshot", "gs://bucket/a b", "--cache", cache)
                self.assertEqual(sorted(os.listdir(done.stdout.strip())),
                                 ["config.json", "empty", "sub", "z%2F+"])

    def test_an_object_that_is_replaced_while_it_is_read(self):
        for keeps_conditions in (True, False):
            with self.subTest(keeps_conditions):
                self.start()
                self.emulator.keeps_conditions = keeps_conditions
                reads = []

                def replace(name):
                    reads.append(name)
                    # After it was opened. The same bytes, but another version.
                    if len(reads) == 2:
                        self.emulator.put(name, CONTENT, SUM)
                self.emulator.before_read = replace
                self.refuse("was replaced", "load", "gs://bucket/a b/m.safetensors")

    def test_its_checksums_are_compared(self):
        self.succeed("load", "gs://bucket/a b", "--set", "verify=required")
        self.emulator.put("a b/m.safetensors", CONTENT, crc32c(b"another"))
        self.refuse("ChecksumMismatch", "load", "gs://bucket/a b", "--set", "verify=store")
        self.emulator.put("a b/m.safetensors", CONTENT)
        self.refuse("none for this object", "load", "gs://bucket/a b", "--set", "verify=required")

    def test_errors(self):
        self.refuse("404 notFound: No such object: bucket/a b/none.safetensors", "load",
                  "gs://bucket/a b/none.safetensors")
        self.refuse("no such bucket or object, or no store of Google's", "ls", "gs://other/")
        self.emulator.token = "another"
        self.refuse("401 authError: Invalid Credentials; the token is not accepted", "ls",
                  "gs://bucket/a b/", env={"STORAGE_EMULATOR_HOST": None,
                                           "STREAMER_GCS_ENDPOINT": self.emulator.url,
                                           "STREAMER_GCS_CREDENTIALS": f"token:{CANARY}"})

    def test_a_token_is_sent_to_the_json_api_too(self):
        self.emulator.token = CANARY
        self.succeed("load", "gs://bucket/a b", env={
            "STORAGE_EMULATOR_HOST": None, "STREAMER_GCS_ENDPOINT": self.emulator.url,
            "STREAMER_GCS_CREDENTIALS": f"token:{CANARY}"})

    def test_what_passes_is_tried_again(self):
        for status in (429, 503, 500):
            with self.subTest(status):
                self.start()
                answer = self.emulator.answer

                def busy(request):
                    # The second request is the first one to the JSON API.
                    self.emulator.failures = [status] if len(self.emulator.requests) == 1 else []
                    answer(request)
                self.emulator.answer = busy
                self.succeed("ls", "gs://bucket/a b/")
                again = self.emulator.requests[1:3]
                self.assertEqual(again[0], again[1])

    def test_the_doctor_says_which_api_answered(self):
        done = self.succeed("doctor", "gs://bucket/a b")
        self.assertIn("JSON: the endpoint has no XML API", done.stdout)
        done = self.succeed("ls", "gs://bucket/a b")
        self.assertIn("has no XML API: it is read by the JSON API", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
