#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM in every subcommand, against a store that does not do its part:
interrupt_test.py STREAMER SOURCE_ROOT"""
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

STREAMER = os.path.abspath(sys.argv[1])
PAGE = (b"<?xml version='1.0'?><ListBucketResult><IsTruncated>false</IsTruncated><Contents>"
        b"<Key>m/config.json</Key><Size>67108864</Size><ETag>\"x\"</ETag></Contents>"
        b"</ListBucketResult>")
SIZE = 64 << 20


class BadStore:
    """Accepts and says nothing; or lists one object, of which half of the first bytes come."""

    def __init__(self, lists):
        self.lists = lists
        self.stuck = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        data = b""
        try:
            while True:
                while b"\r\n\r\n" not in data:
                    more = connection.recv(65536)
                    if not more:
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")
                if b"list-type" in head.split(b"\r\n")[0] and self.lists:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PAGE) +
                                       PAGE)
                    continue
                if self.lists:
                    connection.sendall(b"HTTP/1.1 206 Partial Content\r\nETag: \"x\"\r\nContent-Range: "
                                       b"bytes 0-%d/%d\r\nContent-Length: %d\r\n\r\n"
                                       % (SIZE - 1, SIZE, SIZE) + b"x" * 100_000)
                self.stuck.set()
        except OSError:
            pass

    def stop(self):
        self.listener.close()
        for connection in self.connections:
            connection.close()


class Interrupt(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name

    def interrupt(self, arguments, number, lists):
        store = BadStore(lists)
        self.addCleanup(store.stop)
        environment = {**os.environ, "STREAMER_S3_ENDPOINT": f"http://127.0.0.1:{store.port}",
                       "STREAMER_S3_CREDENTIALS": "anonymous", "STREAMER_STALL_TIMEOUT_MS": "600000",
                       "STREAMER_CACHE_FOLDER": self.folder + "/cache", "AWS_REGION": "us-east-1"}
        running = subprocess.Popen([STREAMER, *arguments], env=environment, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertTrue(store.stuck.wait(60))
        began = time.monotonic()
        running.send_signal(number)
        _, errors = running.communicate(timeout=60)
        return running.returncode, errors, time.monotonic() - began

    def files(self):
        return [os.path.join(folder, name) for folder, folders, names in os.walk(self.folder)
                for name in [*folders, *names] if name.startswith(".incoming") or
                (name in names and name != ".lock")]

    def test_every_subcommand_ends_at_once_and_leaves_nothing(self):
        taken = []
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            for lists in (False, True):
                for arguments in (["ls", "s3://b/m/"], ["inspect", "s3://b/m/"],
                                  ["inspect", "s3://b/m/x.safetensors"],
                                  ["pull", "s3://b/m/", self.folder + "/to"],
                                  ["snapshot", "s3://b/m/"], ["doctor", "s3://b/m/"],
                                  ["load", "s3://b/m/x.safetensors"],
                                  ["digest", "s3://b/m/x.safetensors"],
                                  ["bench", "s3://b/m/x.safetensors"]):
                    if lists and arguments[0] in ("ls", "inspect", "load", "digest", "bench"):
                        continue  # has no file to get stuck at, or gets stuck at the same place
                    with self.subTest(arguments=arguments, signal=number, lists=lists):
                        found, errors, seconds = self.interrupt(arguments, number, lists)
                        self.assertEqual(found, code, errors)
                        self.assertIn("cancelled after", errors)
                        self.assertEqual(self.files(), [])
                        taken.append(seconds)
        print(f"{len(taken)} commands ended, the slowest after {max(taken) * 1000:.0f} ms")
        # Without the end of a process under load, this is about 10 ms.
        self.assertLess(max(taken), 20)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
