#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads to devices from Python, on a stand-in for NVIDIA's driver, whose memory is the host's:
device_test.py SOURCE_ROOT CHECKPOINT"""
import ctypes
import os
import sys
import tempfile
import unittest
import unittest.mock

import torch

ROOT, CHECKPOINT = sys.argv[1:3]
for folder in ("capi/python", "capi/runai/python"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import libstreamer  # noqa: E402
from runai_model_streamer import SafetensorsStreamer, list_safetensors  # noqa: E402


class Devices(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.expected = {name: bytes(tensor) for name, tensor in libstreamer.load(CHECKPOINT)}

    def test_everything_to_a_device(self):
        found = {}
        with libstreamer.start(CHECKPOINT, device="cuda:1") as load:
            for name, tensor in load:
                self.assertEqual((tensor.device, tensor.__dlpack_device__()), ("cuda:1", (2, 1)))
                if tensor.nbytes:
                    self.assertEqual(tensor.data % 512, 0)
                found[name] = ctypes.string_at(tensor.data, tensor.nbytes) if tensor.nbytes else b""
                with self.assertRaises(libstreamer.UnsupportedError):
                    tensor.numpy()
            stats = load.stats()
        self.assertEqual(found, self.expected)
        self.assertGreaterEqual(stats["bytes_to_devices"], sum(map(len, found.values())))
        self.assertGreater(libstreamer.trim(), 0)
        self.assertEqual(libstreamer.trim(), 0)

    def test_devices_that_are_not_there(self):
        with self.assertRaisesRegex(libstreamer.InvalidArgumentError, "cuda:2"):
            libstreamer.start(CHECKPOINT, device="cuda:2")
        for wrong in ("cuda:x", "gpu", "cpu:1"):
            with self.assertRaises(libstreamer.InvalidArgumentError):
                libstreamer.start(CHECKPOINT, device=wrong)

    def test_a_limited_device(self):
        largest = max(len(data) for data in self.expected.values())
        found = {}
        with libstreamer.start(CHECKPOINT, device="cuda",
                               settings={"device_memory_limit": 3 * largest}) as load:
            for name, tensor in load:
                found[name] = ctypes.string_at(tensor.data, tensor.nbytes) if tensor.nbytes else b""
            self.assertLess(load.stats()["device_bytes"], 4 * largest)
        self.assertEqual(found, self.expected)

    def test_a_tensor_without_bytes_is_on_the_device_too(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "m.safetensors")
            header = b'{"none":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]}}'
            with open(path, "wb") as out:
                out.write(len(header).to_bytes(8, "little") + header)
            asked, make = [], torch.empty

            def empty(*shape, device="cpu", **options):
                asked.append(str(device))
                return make(*shape, **options)

            with unittest.mock.patch("torch.empty", empty), SafetensorsStreamer() as streamer:
                streamer.stream_file(path, device="cuda:1")
                self.assertEqual([name for name, _ in streamer.get_tensors()], ["none"])
            self.assertIn("cuda:1", asked)

    def test_what_torch_has_queued_on_a_destination_is_done_before(self):
        room = max(libstreamer.load(CHECKPOINT, device="cuda:1"), key=lambda one: one[1].nbytes)[1]
        ctypes.memset(room.data, 0, room.nbytes)

        class Parameter:  # of torch, if it had that device
            device, shape, dtype = torch.device("cuda:1"), room.shape, \
                torch.zeros(0, dtype=libstreamer.tensor.torch_dtype(room.dtype)).dtype
            data_ptr = staticmethod(lambda: room.data)
            is_contiguous = staticmethod(lambda: True)
            numel = staticmethod(lambda: room.nbytes)
            element_size = staticmethod(lambda: 1)

        found = []

        def stream(device):
            return unittest.mock.Mock(synchronize=lambda: found.append(
                (device, ctypes.string_at(room.data, room.nbytes))))

        with unittest.mock.patch("torch.cuda.is_available", lambda: True), \
                unittest.mock.patch("torch.cuda.current_stream", stream):
            libstreamer.load_into({room.name: Parameter()}, CHECKPOINT, strict=False)
        self.assertEqual(found, [(1, bytes(room.nbytes))])
        self.assertEqual(ctypes.string_at(room.data, room.nbytes), self.expected[room.name])

    def test_torch_without_a_gpu_says_so(self):
        # The stand-in's memory is none of torch's: what matters is that nothing is yielded.
        with SafetensorsStreamer() as streamer:
            streamer.stream_files(list_safetensors(CHECKPOINT), device="cuda:0")
            with self.assertRaises((RuntimeError, AssertionError)):
                list(streamer.get_tensors())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
