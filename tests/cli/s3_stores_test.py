#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""S3-compatible stores that are not AWS, through the streamer command: s3_stores_test.py STREAMER
SOURCE_ROOT"""
import os
import sys
import tempfile
import unittest

STREAMER, ROOT = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
for folder in ("servers", "support"):
    sys.path.insert(0, os.path.join(ROOT, "tests", folder))

import small_store  # noqa: E402
from store_case import CANARY, StoreCase, checkpoint  # noqa: E402

CONTENT, DIGESTS = checkpoint({f"t{t}": 3000 + t for t in range(3)}, 1)


class Stores(StoreCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name
        self.store = small_store.SmallStore()
        self.addCleanup(self.store.stop)
        self.store.objects |= {"m/model.safetensors": CONTENT, "m/config.json": b"{}"}
        self.seen = []  # regions that requests were signed for
        self.answer = self.store.answer

    def answer_by(self, handle):
        """handle answers a request itself and returns True, or leaves it to the store."""
        self.store.answer = lambda request: handle(request) or self.answer(request)

    def wants_region(self, region, status, code, more=""):
        def handle(request):
            scope = request.headers.get("Authorization", "").partition("Credential=")[2].split("/")
            if len(scope) < 3:
                return False
            self.seen.append(scope[2])
            if scope[2] == region:
                return False
            self.store.send(request, status, f"<Error><Code>{code}</Code>{more}</Error>".encode())
            return True
        self.answer_by(handle)

    def streamer(self, *arguments, env=None):
        signed = {"STREAMER_S3_ENDPOINT": self.store.url, "AWS_EC2_METADATA_DISABLED": "true",
                  "AWS_ACCESS_KEY_ID": "testkeyid", "AWS_SECRET_ACCESS_KEY": CANARY}
        return self.run_streamer(STREAMER, arguments, signed | (env or {}), ())

    def test_a_store_that_names_another_region_gets_its_own(self):
        self.wants_region("garage", 400, "AuthorizationHeaderMalformed", "<Region>garage</Region>")
        self.assertEqual(self.digest("s3://bucket/m"), DIGESTS)
        # Learnt once.
        self.assertEqual([region for region in self.seen if region != "garage"], ["us-east-1"])

    def test_a_store_that_names_none_is_not_asked_again(self):
        self.wants_region("garage", 400, "AuthorizationHeaderMalformed")
        done = self.streamer("ls", "s3://bucket/m/")
        self.assertEqual(done.returncode, 2, done.stderr[-2000:])
        self.assertIn("set s3_region or AWS_REGION", done.stderr)
        self.assertEqual(len(self.seen), 1)

    def test_a_redirect_without_a_region_says_what_to_do(self):
        self.wants_region("garage", 301, "PermanentRedirect")
        done = self.streamer("ls", "s3://bucket/m/")
        self.assertEqual(done.returncode, 2, done.stderr[-2000:])
        self.assertIn("set s3_region or AWS_REGION", done.stderr)

    def test_the_doctor_says_which_store_it_is_and_what_to_set(self):
        def with_headers(headers):
            def handle(request):
                send = request.send_response

                def send_response(status):
                    request.send_response_only(status)
                    for name, value in headers.items():
                        request.send_header(name, value)
                request.send_response = send_response
                self.answer(request)
                request.send_response = send
                return True
            self.answer_by(handle)
        for headers, words in (
                ({"Server": "MinIO"}, "MinIO: endpoint http"),
                ({"Server": "nginx", "x-amz-request-id": "tx000001-0065-default"}, "Ceph (radosgw): "),
                ({"Server": "proxy", "x-oss-request-id": "1"}, "oss-REGION-internal"),
                ({"Server": "Frob/1"}, "none that is known (Server: Frob/1)"),
                ({}, "none that is known")):
            with self.subTest(words):
                with_headers(headers)
                done = self.streamer("doctor", "s3://bucket/m")
                self.assertEqual(done.returncode, 0, done.stderr[-2000:])
                [line] = [line for line in done.stdout.splitlines() if " server " in line]
                self.assertIn(words, line)

    def test_the_region_is_in_the_name_of_a_known_host(self):
        # No request leaves this machine: the proxy is not there.
        def steps(host, **more):
            return self.streamer("doctor", "s3://bucket/m", env={
                "STREAMER_S3_ENDPOINT": "https://" + host, "HTTPS_PROXY": "http://127.0.0.1:1",
                **more}).stdout
        text = steps("s3.us-west-004.backblazeb2.com")
        self.assertIn("us-west-004 (from the endpoint's host)", text)
        self.assertIn("path style", text)
        self.assertIn("auto (from the endpoint's host)", steps("1a.r2.cloudflarestorage.com"))
        self.assertIn("virtual host", steps("cwobject.com"))
        self.assertIn("eu-west-1 (from AWS_REGION)",
                      steps("s3.us-west-004.backblazeb2.com", AWS_REGION="eu-west-1"))

    def test_checksums_that_a_store_refuses_to_tell(self):
        def handle(request):
            if not request.headers.get("x-amz-checksum-mode"):
                return False
            self.store.send(request, 501, b"")
            return True
        self.answer_by(handle)
        done = self.streamer("load", "s3://bucket/m", "--set", "verify=required")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("this store keeps no checksums that can be asked for", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
