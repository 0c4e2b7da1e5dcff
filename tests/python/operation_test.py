#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Calls of the Python package that are bounded in time, cancelled, or interrupted by Ctrl-C:
operation_test.py SOURCE_ROOT"""
import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = sys.argv[1]
sys.path.insert(0, os.path.join(ROOT, "capi/python"))

import libstreamer  # noqa: E402

PROGRAM = f"""
import sys
sys.path.insert(0, {os.path.join(ROOT, 'capi/python')!r})
import libstreamer
uri, folder, name = sys.argv[1:]
try:
    if name == "list": libstreamer.list(uri)
    if name == "pull": libstreamer.pull(uri, folder)
    if name == "snapshot": libstreamer.snapshot(uri, cache=folder)
    if name == "open": libstreamer.open(uri + "x.safetensors")
    if name == "load": list(libstreamer.load(uri + "x.safetensors"))
    if name == "diagnose": libstreamer.diagnose(uri)
except KeyboardInterrupt:
    print("interrupted")
"""


class Operations(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name
        # Accepts, by the kernel alone, and says nothing.
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.addCleanup(self.listener.close)
        os.environ.update({
            "STREAMER_S3_ENDPOINT": f"http://127.0.0.1:{self.listener.getsockname()[1]}",
            "STREAMER_S3_CREDENTIALS": "anonymous", "STREAMER_STALL_TIMEOUT_MS": "600000",
            "AWS_REGION": "us-east-1"})

    def calls(self):
        uri = "s3://bucket/m/"
        return {
            "open": lambda **how: libstreamer.open(uri + "x.safetensors", **how),
            "open_rank": lambda **how: libstreamer.open_rank(uri, 0, **how),
            "list": lambda **how: libstreamer.list(uri, **how),
            "pull": lambda **how: libstreamer.pull(uri, self.folder + "/to", **how),
            "snapshot": lambda **how: libstreamer.snapshot(uri, cache=self.folder + "/cache", **how),
            "diagnose": lambda **how: libstreamer.diagnose(uri, **how)}

    def test_a_timeout_bounds_every_call(self):
        for name, run in self.calls().items():
            if name == "diagnose":
                steps = run(timeout=0.2)
                self.assertTrue(steps[-1].failed)
                self.assertIn("deadline of 200 ms", steps[-1].detail)
                continue
            with self.subTest(name), self.assertRaisesRegex(libstreamer.StreamerError,
                                                            "deadline of 200 ms") as caught:
                run(timeout=0.2)
            self.assertEqual(caught.exception.kind, "timed_out")
            # The operation is a little older than the call.
            self.assertGreaterEqual(caught.exception.elapsed_ms, 100)
            with self.subTest(name), self.assertRaisesRegex(libstreamer.StreamerError,
                                                            r"100 ms \(operation_timeout_ms\)"):
                run(settings={"operation_timeout_ms": 100})

    def test_another_thread_cancels(self):
        for name, run in self.calls().items():
            operation = libstreamer.Operation()
            threading.Timer(0.05, operation.cancel).start()
            with self.subTest(name), self.assertRaises(libstreamer.CancelledError):
                run(operation=operation)
        self.assertEqual(operation.progress(), libstreamer.Progress(0, 0, 0, 0, 0, 0))
        with self.assertRaises(libstreamer.InvalidArgumentError):
            libstreamer.list("s3://bucket/", timeout=1, operation=operation)

    def test_cancelling_a_task_ends_its_call(self):
        async def run():
            for name, function, *arguments in (
                    ("open", libstreamer.open, "s3://bucket/m/x.safetensors"),
                    ("list", libstreamer.list, "s3://bucket/m/"),
                    ("pull", libstreamer.pull, "s3://bucket/m/", self.folder + "/to"),
                    ("diagnose", libstreamer.diagnose, "s3://bucket/m/")):
                operation = libstreamer.Operation()
                task = asyncio.ensure_future(
                    libstreamer.call_async(function, *arguments, operation=operation))
                await asyncio.sleep(0.05)
                self.assertEqual(select.select([operation], [], [], 0)[0], [])
                task.cancel()
                with self.subTest(name), self.assertRaises(asyncio.CancelledError):
                    await asyncio.wait_for(task, 60)
                self.assertEqual(select.select([operation], [], [], 0)[0], [operation])

        asyncio.run(run())

    def test_calls_beside_the_main_thread(self):
        failures = []

        def run_all():
            for run in self.calls().values():
                operation = libstreamer.Operation()
                threading.Timer(0.02, operation.cancel).start()
                try:
                    run(operation=operation)
                except libstreamer.CancelledError as error:
                    failures.append(error)

        thread = threading.Thread(target=run_all)
        thread.start()
        thread.join(60)
        self.assertEqual(len(failures), len(self.calls()))

    def test_ctrl_c_ends_every_call_at_once(self):
        for name in ("open", "list", "pull", "snapshot", "load", "diagnose"):
            running = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, "s3://bucket/m/", self.folder, name],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            connection, _ = self.listener.accept()
            connection.recv(1)
            began = time.monotonic()
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=60)
            with self.subTest(name):
                self.assertEqual((out.strip(), running.returncode), ("interrupted", 0), err)
                self.assertLess(time.monotonic() - began, 20)
            connection.close()
        self.assertEqual([name for _, _, names in os.walk(self.folder) for name in names
                          if name != ".lock"], [])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
