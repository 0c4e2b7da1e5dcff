#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""examples/slice-cache: many loads through one nginx: slice_cache_test.py STREAMER ROOT"""
import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

STREAMER, ROOT = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
sys.path.insert(0, os.path.join(ROOT, "tests", "servers"))

import ports  # noqa: E402
import small_store  # noqa: E402

CLIENTS = 4
SLICE = 8 << 20


def checkpoint(seed, size=9_000_000):
    data = random.Random(seed).randbytes(size)
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + data, hashlib.sha256(data).hexdigest()


class SliceCache(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.store = small_store.SmallStore()
        self.addCleanup(self.store.stop)
        port = ports.free_ports(1)[0]
        example = os.path.join(ROOT, "examples", "slice-cache", "nginx.conf")
        with open(example, encoding="utf-8") as file:
            config = file.read()
        for old, new in (("127.0.0.1:9000", self.store.url.removeprefix("http://")),
                         ("127.0.0.1:8080", f"127.0.0.1:{port}")):
            self.assertEqual(config.count(old), 1)
            config = config.replace(old, new)
        path = os.path.join(temporary.name, "nginx.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        os.chmod(temporary.name, 0o777)
        nginx = subprocess.Popen(["nginx", "-p", temporary.name, "-c", path])
        self.addCleanup(nginx.wait)
        self.addCleanup(nginx.terminate)
        self.url = f"http://127.0.0.1:{port}"
        ports.wait_for(port, nginx, 30)
        self.store.requests.clear()

    def digests(self):
        """Of CLIENTS processes at once."""
        environment = {"PATH": os.environ["PATH"], "STREAMER_S3_ENDPOINT": self.url,
                       "STREAMER_S3_CREDENTIALS": "anonymous", "AWS_REGION": "us-east-1",
                       "AWS_EC2_METADATA_DISABLED": "true"}
        clients = [subprocess.Popen([STREAMER, "digest", "s3://bucket/model/"], env=environment,
                                    stdout=subprocess.PIPE, text=True) for _ in range(CLIENTS)]
        outputs = [client.communicate(timeout=120)[0] for client in clients]
        self.assertEqual([client.returncode for client in clients], [0] * CLIENTS)
        return {output.split()[0] for output in outputs}

    def test_the_store_sends_each_slice_once_and_no_version_meets_another(self):
        for seed in (1, 2):
            content, digest = checkpoint(seed)
            self.store.objects["model/model.safetensors"] = content
            self.store.requests.clear()
            self.assertEqual(self.digests(), {digest})
            slices = -(-len(content) // SLICE)
            # Each client asks for the version, and all of them together for each slice.
            self.assertEqual(len(self.store.reads()), CLIENTS + slices)


if __name__ == "__main__":
    built_with = subprocess.run(["nginx", "-V"], capture_output=True, text=True).stderr \
        if shutil.which("nginx") else ""
    if "http_slice_module" not in built_with:
        print("SKIPPED: nginx with the slice module is not installed")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1])
