#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads in a loop of asyncio: event_loop_test.py SOURCE_ROOT (STREAMER_LIBRARY is set)"""
import asyncio
import os
import sys
import tempfile
import unittest

ROOT = sys.argv[1]
sys.path.insert(0, os.path.join(ROOT, "capi", "python"))
import libstreamer  # noqa: E402
from safetensors_file import write_mebibytes  # noqa: E402


class EventLoop(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.big = os.path.join(cls.folder.name, "big.safetensors")
        write_mebibytes(cls.big, 64)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_async_for_lets_other_tasks_run(self):
        async def run():
            turns, found = [0], {}

            async def others():
                while True:
                    turns[0] += 1
                    await asyncio.sleep(0.001)

            beside = asyncio.ensure_future(others())
            checkpoint = await libstreamer.call_async(libstreamer.open, self.big)
            async with libstreamer.start(checkpoint, settings={"max_bandwidth": 64 << 20}) as load:
                async for name, tensor in load:
                    found[name] = bytes(tensor)[:1]
                self.assertIsNone(await load.next_async())
            beside.cancel()
            return turns[0], found

        turns, found = asyncio.run(run())
        self.assertEqual(found, {f"b{i}": bytes([i]) for i in range(64)})
        self.assertGreater(turns, 20)

    def test_a_task_that_awaits_a_tensor_can_be_cancelled_and_closed_beside(self):
        async def run():
            held = []
            load = libstreamer.start(self.big, settings={"max_bandwidth": 1 << 20})

            async def consume():
                async for _, tensor in load:
                    held.append(tensor)

            task = asyncio.ensure_future(consume())
            await asyncio.sleep(0.05)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            # What awaits when the load is closed is told.
            task = asyncio.ensure_future(consume())
            await asyncio.sleep(0.05)
            load.close()
            await asyncio.wait_for(task, 60)

        asyncio.run(run())

    def test_errors_come_out_of_async_for(self):
        async def run():
            with self.assertRaises(libstreamer.NotFoundError):
                await libstreamer.call_async(libstreamer.open, "/nowhere/at/all")
            load = libstreamer.start(self.big, settings={"max_bandwidth": 1 << 20})
            asyncio.get_running_loop().call_later(0.05, load.cancel)
            with self.assertRaises(libstreamer.CancelledError):
                async for _ in load:
                    pass

        asyncio.run(run())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
