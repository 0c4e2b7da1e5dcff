#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What programs see of the Run:ai Model Streamer 0.17: runai_surface_test.py SOURCE_ROOT"""
import inspect
import json
import logging
import os
import re
import shutil
import struct
import subprocess
import sys
import unittest

ROOT = sys.argv[1]
for folder in ("capi/python", "capi/runai/python", "tests/support"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import torch  # noqa: E402

from runai_case import Case, bytes_of, header_of  # noqa: E402
from runai_model_streamer import (  # noqa: E402
    DistributedStreamer, FileChunks, FileStreamer, ObjectStorageModel, SafetensorsStreamer,
    _environment)
from runai_model_streamer.distributed_streamer import distributed_streamer  # noqa: E402
from runai_model_streamer.file_streamer import (  # noqa: E402
    file_streamer, requests_iterator, slot_pool)
from runai_model_streamer.s3_utils import s3_utils  # noqa: E402
from runai_model_streamer.safetensors_streamer import (  # noqa: E402
    safetensors_pytorch, safetensors_streamer, streamer_mock)

Invalid = file_streamer.RunaiStreamerInvalidInputException


class Streams(Case):
    def streamed(self, *arguments, **keywords):
        with SafetensorsStreamer() as streamer:
            streamer.stream_files(*arguments, **keywords)
            return sorted((name, bytes_of(tensor.cpu())) for name, tensor in streamer.get_tensors())

    def chunked(self, *arguments, **keywords):
        with FileStreamer() as streamer:
            streamer.stream_files(*arguments, **keywords)
            return {(file, index): bytes_of(row) for file, index, row in streamer.get_chunks()}

    def test_signatures(self):
        def of(function):
            return str(inspect.Signature([p.replace(annotation=p.empty) for p in
                                          inspect.signature(function).parameters.values()]))
        tail = "s3_credentials=None, device='cpu', is_distributed=False, tensor_names=None, owned=True)"
        self.assertEqual(of(SafetensorsStreamer.stream_file), "(self, path, " + tail)
        self.assertEqual(of(SafetensorsStreamer.stream_files), "(self, paths, " + tail)
        self.assertTrue(of(FileStreamer.stream_files).startswith(
            "(self, file_stream_requests, credentials=None, device='cpu', memory_limit=None, "
            "owned=True"))
        self.assertEqual(of(DistributedStreamer.stream_files),
                         "(self, file_stream_requests, credentials=None, device='cpu', "
                         "is_distributed=False, owned=True)")
        self.assertEqual(of(FileChunks.contiguous), "(id, path, offset, sizes)")
        self.assertEqual(of(safetensors_pytorch.SafetensorMetadata), "(name, safetensorMetadata)")
        self.assertEqual(of(safetensors_pytorch.SafetensorsMetadata), "(blob, offset)")
        self.assertEqual(of(safetensors_pytorch.Offsets), "(offsets)")

    def test_a_limit_and_an_owner_of_one_request(self):
        path = self.path("f")
        with open(path, "wb") as out:
            out.write(bytes(range(100)))
        chunks = [FileChunks.contiguous(7, path, 10, [20, 0, 30])]
        expected = {(7, 0): bytes(range(10, 30)), (7, 1): b"", (7, 2): bytes(range(30, 60))}
        for limit in (None, -1, 0, 30, 50):
            for owned in (True, False):
                self.assertEqual(self.chunked(chunks, None, "cpu", limit, owned), expected)
        with self.assertRaisesRegex(requests_iterator.RunaiStreamerMemoryLimitException,
                                    "Memory limit supplied: 29 cannot be smaller than: 30"):
            self.chunked(chunks, memory_limit=29)
        self.environment(RUNAI_STREAMER_MEMORY_LIMIT=1)  # which the argument goes before
        self.assertEqual(self.chunked(chunks, memory_limit=30), expected)
        with DistributedStreamer() as streamer:
            self.environment(RUNAI_STREAMER_MEMORY_LIMIT=30)
            streamer.stream_files(chunks, None, "cpu", False, owned=False)
            self.assertEqual({(f, i): bytes_of(row) for f, i, row in streamer.get_chunks()}, expected)

    def test_what_cannot_be_read_is_told_where_chunks_are_taken(self):
        path = self.path("f")
        with open(path, "wb") as out:
            out.write(b"12345")
        for place, offset, size, words in (
                (path, 0, 20, "End of file reached"), (path, 9, 1, "End of file reached"),
                (self.path("none"), 0, 1, "File access error"),
                (self.folder.name, 0, 1, "File access error"),
                (self.path("none"), 0, 0, "File access error")):
            with self.subTest(words=words, size=size), FileStreamer() as streamer:
                streamer.stream_files([FileChunks(0, place, [offset], [size])])
                self.assertEqual(streamer.outstanding, 1)
                with self.assertRaisesRegex(ValueError, "cannot start a new stream while 1 response"):
                    streamer.stream_files([FileChunks(0, path, [0], [1])])
                with self.assertRaisesRegex(ValueError, "^Could not receive response from libstreamer "
                                                        f"due to: b'{words}': {place}"):
                    list(streamer.get_chunks())
                streamer.stream_files([FileChunks(0, path, [0], [1])])
                self.assertEqual(len(list(streamer.get_chunks())), 1)
        self.assertEqual(self.chunked([FileChunks(0, path, [99], [0])]), {(0, 0): b""})
        for offset, size, words in ((-1, 1, "^every range offset must fit"),
                                    (1 << 64, 1, "^every range offset must fit"),
                                    (0, -1, "^every range size must fit"),
                                    ((1 << 64) - 1, 2, "^Could not send runai_request .*2.64")):
            with self.assertRaisesRegex(ValueError, words):
                self.chunked([FileChunks(0, path, [offset], [size])])

    def test_every_spelling_of_the_host_and_devices_that_are_not_cuda(self):
        path = self.file("m.safetensors", [("a", "F32", [2], b"\1" * 8), ("e", "F32", [0, 3], b"")])
        for device in (None, "cpu", "cpu:0", torch.device("cpu"), torch.device("cpu", 0)):
            self.assertEqual(self.streamed([path], device=device), [("a", b"\1" * 8), ("e", b"")])
            self.assertEqual(file_streamer.host_or_device(device), "cpu")
        for limit in ("-1", "200"):
            self.environment(RUNAI_STREAMER_MEMORY_LIMIT=limit)
            for device in ("meta", torch.device("meta")):
                with SafetensorsStreamer() as streamer:
                    streamer.stream_file(path, device=device)
                    found = dict(streamer.get_tensors())
                self.assertEqual({name: (one.device.type, tuple(one.shape), one.dtype)
                                  for name, one in found.items()},
                                 {"a": ("meta", (2,), torch.float32),
                                  "e": ("meta", (0, 3), torch.float32)})
        for device in ("bogus", "cpu:x", 3.5, 3, ""):
            with self.assertRaisesRegex(Invalid, "^Unusable device "):
                self.streamed([path], device=device)
            with self.assertRaisesRegex(Invalid, "^Unusable device "):
                self.chunked([FileChunks(0, path, [0], [4])], device=device)

    def test_names_of_tensors(self):
        paths = [self.file("a.safetensors", [("abc", "U8", [1], b"1"), ("b", "U8", [1], b"2")]),
                 self.file("b.safetensors", [("b", "U8", [1], b"3"), ("d", "U8", [2], b"45")])]
        for names in ({"abc", "d"}, ["d", "abc"], ("abc", "d", "d"), {"abc": 1, "d": 2}.keys()):
            self.assertEqual(self.streamed(paths, tensor_names=names), [("abc", b"1"), ("d", b"45")])
        for names, words in (("abc", "^tensor_names must be a collection of names, not a single str"),
                             ([], "^tensor_names must not be empty - pass None"),
                             (["abc", "y", "x"],
                              r"^tensor_names not found in checkpoint: \['x', 'y'\]"),
                             (["b"], r"^tensor_names requested tensors that appear in more than one "
                                     r"file: \['b'\]")):
            with self.assertRaisesRegex(ValueError, words):
                self.streamed(paths, tensor_names=names)

    def test_the_same_path_twice(self):
        one = self.file("a.safetensors", [("a", "U8", [2], b"xy"), ("z", "F32", [0], b"")])
        two = self.file("b.safetensors", [("b", "U8", [1], b"b")])
        for limit in ("-1", "200"):
            self.environment(RUNAI_STREAMER_MEMORY_LIMIT=limit)
            with SafetensorsStreamer() as streamer:
                streamer.stream_files([one, two, one, one])
                self.assertEqual([len(streamer.files_to_tensors_metadata[i]) for i in range(4)],
                                 [2, 1, 2, 2])
                found = list(streamer.get_tensors())
                self.assertEqual(sorted((name, bytes_of(t)) for name, t in found),
                                 [("a", b"xy")] * 3 + [("b", b"b")] + [("z", b"")] * 3)
            places = [t.data_ptr() for name, t in found if name == "a"]
            self.assertEqual(len(set(places)), 3)
        with self.assertRaisesRegex(ValueError, "more than one file"):
            self.streamed([one, one], tensor_names=["a"])

    def test_a_scheme_in_capitals(self):
        for is_one, begin in ((s3_utils.is_s3_path, "s3"), (s3_utils.is_gs_path, "gs"),
                              (s3_utils.is_azure_path, "az")):
            for scheme in (begin, begin.upper(), begin.title()):
                self.assertTrue(is_one(scheme + "://bucket/key"))
                self.assertEqual(s3_utils.as_uri(scheme + "://Bucket/Key"), begin + "://Bucket/Key")
            self.assertFalse(is_one(begin + ":/bucket/key"))
        ObjectStorageModel("S3://b/m", self.path("m")).__exit__(KeyError, None, None)

    def test_what_is_there_before_with(self):
        streamer = SafetensorsStreamer()
        self.assertIsInstance(streamer.file_streamer, DistributedStreamer)
        self.assertEqual((streamer.device_str, streamer.start_time, streamer.unaligned_copies,
                          streamer.total_size, streamer.files_to_tensors_metadata),
                         (None, None, 0, 0, {}))
        inner = streamer.file_streamer
        self.assertEqual((inner.get_group_size(), inner.ring_info(), inner.is_distributed),
                         (1, None, False))
        self.assertIsNone(inner.file_streamer.streamer)
        self.assertEqual(inner.file_streamer.outstanding, 0)
        path = self.file("m.safetensors", [("a", "U8", [3], b"abc")])
        for start in (lambda: streamer.stream_file(path),
                      lambda: FileStreamer().stream_files([FileChunks(0, path, [0], [1])])):
            with self.assertRaisesRegex(ValueError, "^Could not send runai_request to libstreamer due "
                                                    "to: b'Invalid request parameters': .*with"):
                start()
        with self.assertRaisesRegex(ValueError, "^Streamer not initialized"):
            list(FileStreamer().get_chunks())
        with streamer:
            self.assertTrue(inner.file_streamer.streamer)
            streamer.stream_file(path, device=None)
            self.assertEqual((streamer.device_str, streamer.total_size), (None, 3))
            self.assertEqual(inner.ring_info(), (0, 1, 3))
            self.assertEqual(inner.file_streamer.outstanding, 1)
            self.assertEqual(len(list(streamer.get_tensors())), 1)
            self.assertEqual(inner.file_streamer.outstanding, 0)
        with streamer:  # and a second time
            streamer.stream_file(path)
            self.assertEqual(len(list(streamer.get_tensors())), 1)
        self.assertIsNone(inner.file_streamer.streamer)


class Headers(Case):
    def refused(self, path):
        with SafetensorsStreamer() as streamer, self.assertRaises(ValueError) as raised:
            streamer.stream_file(path)
        with DistributedStreamer() as fs, self.assertRaises(ValueError):
            safetensors_pytorch.SafetensorsMetadata.from_files(fs, [path], None)
        return str(raised.exception)

    def test_the_first_words_are_the_original_s(self):
        def header(**fields):
            return {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **fields}}
        b = {"dtype": "U8", "shape": [4]}
        for blob, words in (
                (header(shape=[3]), "Corrupted Tensor 'a': Shape claims 12 bytes ([3] x F32), but "
                                    "offsets reserve 4 bytes"),
                (header(dtype="ALIEN"), "Unsupported dtype 'ALIEN' in tensor 'a'"),
                ({'we"ird\\': header(dtype="ALIEN")["a"]}, "Unsupported dtype 'ALIEN' in tensor "
                                                          "'we\"ird\\'"),
                ({"a": {"dtype": "F32", "shape": [1]}},
                 "Corrupted Header: Tensor 'a' missing data_offsets"),
                ({"a": {"dtype": "F32", "data_offsets": [0, 4]}},
                 "Corrupted Header: Tensor 'a' missing shape"),
                (header(data_offsets=[4, 0]), "Corrupted Offset: Tensor 'a' start (4) > end (0)"),
                (header(data_offsets=[1, 5]), "Corrupted File: Tensor 'a' does not start at the "
                                              "beginning of the data section (starts at 1)"),
                ({**header(), "b": {**b, "data_offsets": [2, 6]}}, "Corrupted File: Tensor"),
                ({**header(), "b": {**b, "data_offsets": [6, 10]}},
                 "Corrupted File: Gaps between tensors are not allowed"),
                (header(dtype="F4", shape=[3], data_offsets=[0, 1]), "Corrupted Tensor 'a'"),
                (header(dtype="F4", shape=[2, 3], data_offsets=[0, 3]), "Corrupted Tensor 'a'"),
                (header(shape=[1 << 62, 4]), "Corrupted Tensor 'a'"),
                (b"\xff\xfe", "Corrupted File: Header in "),
                (b"{nonsense", "Corrupted File: Header in "),
                (b"[]", "Corrupted File: ")):
            path = self.file("h.safetensors", [("a", "U8", [12], b"123456789012")], blob)
            with self.subTest(words=words):
                text = self.refused(path)
                self.assertTrue(text.startswith(words), text)
                self.assertIn(path, text)

    def test_files_that_are_longer_or_shorter_than_they_say(self):
        tensors = [("first", "U8", [4], b"1234"), ("last", "F32", [1], b"5678")]
        good = self.file("g.safetensors", tensors)
        size = os.path.getsize(good)
        for extra in (b"x", b"\0" * 4096):
            path = self.file("l.safetensors", [*tensors, ("", "", [], extra)], header_of(tensors))
            text = self.refused(path)
            self.assertTrue(text.startswith(
                f"Corrupted File: '{path}' has {size + len(extra)} bytes but the header only declares "
                f"a total file size of {size} bytes - {len(extra)} extra trailing bytes"), text)
            self.assertIn("'last'", text)
        empty = self.file("e.safetensors", [("", "", [], b"abc")], {})
        self.assertIn("3 extra trailing bytes", self.refused(empty))
        os.truncate(good, size - 1)
        self.assertTrue(self.refused(good).startswith(f"Corrupted File: '{good}' is truncated"))
        for length, words in ((100 * 1024 * 1024 + 1, "Corrupted File: Header size 104857601 in "),
                              (500, "Could not receive response from libstreamer due to: "
                                    "b'End of file")):
            with open(good, "wb") as out:
                out.write(struct.pack("<Q", length) + b"{}")
            self.assertTrue(self.refused(good).startswith(words), self.refused(good))

    def test_metadata_by_hand(self):
        meta = safetensors_pytorch.SafetensorMetadata(
            "w", {"shape": [2, 2], "dtype": "BF16", "data_offsets": [4, 12]})
        self.assertEqual((meta.name, meta.shape, meta.dtype, meta.offsets.start, meta.offsets.end,
                          meta.get_bytesize(), meta.get_item_count(), meta.get_element_size(),
                          meta.get_torch_dtype()),
                         ("w", [2, 2], "BF16", 4, 12, 8, 4, 2, torch.bfloat16))
        blob = {"__metadata__": {"k": "v"},
                "b": {"shape": [2], "dtype": "U8", "data_offsets": [4, 6]},
                "none": {"shape": [0], "dtype": "U8", "data_offsets": [4, 4]},
                "a": {"shape": [1], "dtype": "F32", "data_offsets": [0, 4]}}
        whole = safetensors_pytorch.SafetensorsMetadata(blob, 99)
        self.assertEqual([t.name for t in whole.tensors_metadata], ["a", "none", "b"])
        self.assertEqual((whole.offset, whole.read_sizes), (99, [4, 0, 2]))
        for name, change in (("b", {"data_offsets": [5, 7]}), ("b", {"data_offsets": [3, 5]}),
                             ("a", {"data_offsets": [1, 5]}), ("a", {"shape": [2]}),
                             ("a", {"dtype": "X"})):
            with self.assertRaisesRegex(ValueError, "^(Corrupted|Unsupported)"):
                safetensors_pytorch.SafetensorsMetadata(
                    {**blob, name: {**blob[name], **change}}, 0)
        path = self.file("m.safetensors", [("a", "F32", [1], b"1234"), ("b", "U8", [2], b"56")])
        with DistributedStreamer() as fs:
            (offset, tensors, sizes), = safetensors_pytorch.prepare_request(fs, [path], None)
        self.assertEqual((offset, [t.name for t in tensors], sizes),
                         (os.path.getsize(path) - 6, ["a", "b"], [4, 2]))

    def test_tensors_of_bytes(self):
        meta = safetensors_pytorch.SafetensorMetadata(
            "w", {"shape": [2, 2], "dtype": "F32", "data_offsets": [0, 16]})
        row = torch.arange(17, dtype=torch.uint8).view(1, -1)
        tensor = safetensors_pytorch.create_torch_tensor(row[:, :16], meta)
        self.assertEqual((tensor.dtype, tuple(tensor.shape)), (torch.float32, (2, 2)))
        self.assertFalse(safetensors_pytorch.requires_alignment_copy(row[:, :16], meta))
        self.assertTrue(safetensors_pytorch.requires_alignment_copy(row[:, 1:], meta))
        for name, dtype in safetensors_pytorch.get_safetensors_dtype_map().items():
            self.assertEqual(safetensors_pytorch.safetensors_to_torch_dtype[name], dtype)
            self.assertEqual(safetensors_pytorch.element_size_of(dtype),
                             torch.empty(0, dtype=dtype).element_size())
        self.assertEqual(safetensors_pytorch.MAX_HEADER_SIZE, 100 * 1024 * 1024)


class Environment(Case):
    def stream(self):
        path = self.file("m.safetensors", [("a", "U8", [3], b"abc")])
        with SafetensorsStreamer() as streamer:
            streamer.stream_file(path)
            return [bytes_of(tensor) for _, tensor in streamer.get_tensors()]

    def test_numbers_out_of_bounds_are_brought_within_them_with_one_warning(self):
        for variable, value, setting, taken in (
                ("RUNAI_STREAMER_CONCURRENCY", "5000", "concurrency", 1024),
                ("RUNAI_STREAMER_CHUNK_BYTESIZE", "1", "debug.chunk_bytes", 2 << 20),
                ("RUNAI_STREAMER_CHUNK_BYTESIZE", "100000000000", "debug.chunk_bytes", 1 << 30)):
            self.environment(**{variable: value})
            with self.subTest(variable=variable, value=value):
                with self.assertLogs("runai_model_streamer", logging.WARNING) as log:
                    self.assertEqual(self.stream(), [b"abc"])
                    self.assertEqual(self.stream(), [b"abc"])
                self.assertEqual(len(log.output), 1, log.output)
                self.assertIn(f"{variable} is {value}, which is taken as {taken}", log.output[0])
                self.assertEqual(_environment.settings_by_environment(False)[setting], taken)
            os.environ.pop(variable)

    def test_the_memory_limit_is_shared_by_the_ranks_of_a_machine(self):
        default = int(requests_iterator.DEFAULT_MEMORY_LIMIT_STRING)
        for text, count, least, expected in (
                (None, 8, 0, default // 8), (8000, 8, 0, 1000), (8000, 1, 0, 8000),
                (8000, 0, 0, 8000), (8000, 8, 2500, 2500), (-1, 8, 2500, -1), (0, 8, 2500, 0),
                (" -1", 8, 0, -1)):
            if text is not None:
                self.environment(RUNAI_STREAMER_MEMORY_LIMIT=text)
            limit = requests_iterator.MemoryLimit()
            limit.share(count, least)
            self.assertEqual(limit.bytes, expected, (text, count, least))

    def test_what_is_no_number_is_refused_at_once(self):
        for variable in ("RUNAI_STREAMER_CONCURRENCY", "RUNAI_STREAMER_CHUNK_BYTESIZE",
                         "RUNAI_STREAMER_OBJ_CONCURRENCY", "RUNAI_STREAMER_S3_TIMEOUT"):
            for value in ("0", "-1", "x", "", "4 ", "4.5"):
                if (variable, value) == ("RUNAI_STREAMER_S3_TIMEOUT", "0"):
                    continue
                self.environment(**{variable: value})
                with self.subTest(variable=variable, value=value), self.assertRaisesRegex(
                        ValueError, "^Could not open streamer in libstreamer due to: b'Invalid request "
                                    f"parameters': {variable} is "):
                    FileStreamer().__enter__()
                os.environ.pop(variable)
        self.environment(RUNAI_STREAMER_CONCURRENCY=" 4")  # as the original has it
        self.assertEqual(self.stream(), [b"abc"])

    def test_what_is_meant_for_stores_is_read_when_one_is(self):
        for variable in ("RUNAI_STREAMER_S3_MAX_CONNECTIONS", "RUNAI_STREAMER_S3_REQUEST_TIMEOUT_MS",
                         "RUNAI_STREAMER_S3_TARGET_GBPS", "RUNAI_STREAMER_S3_LOW_SPEED_LIMIT",
                         "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING", "RUNAI_STREAMER_S3_UNSIGNED",
                         "RUNAI_STREAMER_GCS_USE_ANONYMOUS_CREDENTIALS",
                         "RUNAI_STREAMER_CUDA_ALIGNMENT", "RUNAI_STREAMER_RING_BUFFERS",
                         "RUNAI_STREAMER_FS_QUEUE_DEPTH"):
            for value in ("0", "x", "99999999999"):
                self.environment(**{variable: value})
                with self.subTest(variable=variable, value=value):
                    self.assertEqual(self.stream(), [b"abc"])
                os.environ.pop(variable)
        self.environment(RUNAI_STREAMER_S3_MAX_CONNECTIONS="many", AWS_ACCESS_KEY_ID="AKIDEXAMPLE",
                         AWS_SECRET_ACCESS_KEY="example", AWS_ENDPOINT_URL="http://127.0.0.1:1")
        with SafetensorsStreamer() as streamer, self.assertRaisesRegex(
                ValueError, "RUNAI_STREAMER_S3_MAX_CONNECTIONS is \"many\""):
            streamer.stream_file("s3://bucket/key")
            list(streamer.get_tensors())

    def test_variables_that_mean_a_setting_of_ours(self):
        self.environment(RUNAI_STREAMER_OBJ_CONCURRENCY=12, RUNAI_STREAMER_S3_TIMEOUT=30)
        values = _environment.settings_by_environment(True)
        self.assertEqual((values["debug.connections"], values["progress_timeout_ms"]), (12, 30_000))
        self.environment(RUNAI_STREAMER_S3_MAX_CONNECTIONS=40)
        self.assertEqual(_environment.settings_by_environment(True)["debug.connections"], 40)
        self.environment(RUNAI_STREAMER_S3_MAX_CONNECTIONS=0, RUNAI_STREAMER_S3_TIMEOUT=0)
        values = _environment.settings_by_environment(True)
        self.assertEqual((values["debug.connections"], values["progress_timeout_ms"]),
                         ("auto", "120000"))
        self.environment(STREAMER_DEBUG_CONNECTIONS=3)  # ours goes before
        self.assertNotIn("debug.connections", _environment.settings_by_environment(True))
        self.environment(RUNAI_STREAMER_PARTITION_POLICY="spans")
        values = _environment.settings_by_environment(True)
        self.assertEqual(values["debug.distributed_partition"], "chunks")

    def test_the_strategy(self):
        for names, file_io in (("sync_buffered", "buffered"),
                               ("io_uring_direct,sync_buffered", "direct"),
                               (" libaio_direct , sync_buffered", "direct")):
            self.environment(RUNAI_STREAMER_FS_STRATEGY=names)
            self.assertEqual(_environment.settings_by_environment(False)["file_io"], file_io)
            self.assertNotIn("file_io", _environment.settings_by_environment(True))
            self.assertEqual(self.stream(), [b"abc"])
        for names in ("", "mmap", "sync_buffered,", "sync_buffered,sync_buffered"):
            self.environment(RUNAI_STREAMER_FS_STRATEGY=names)
            with self.assertRaisesRegex(ValueError, "^Could not send runai_request to libstreamer due "
                                                    "to: b'Invalid request parameters': RUNAI"):
                self.stream()

    def test_the_alignment_on_devices(self):
        for value, taken in (("0", 0), ("1", 1), ("500", 512), ("513", 1024), ("1048576", 1 << 20),
                             ("x", "512"), ("-1", "512"), ("1048577", "512")):
            self.environment(RUNAI_STREAMER_CUDA_ALIGNMENT=value)
            values = _environment.settings_by_environment(True)
            self.assertEqual(values["debug.device_alignment"], taken)

    def test_the_log_on_stderr(self):
        script = ("import sys; import runai_model_streamer as r\n"
                  "with r.SafetensorsStreamer() as s:\n"
                  "    s.stream_file(sys.argv[1]); list(s.get_tensors())\n")
        path = self.file("m.safetensors", [("a", "U8", [3], b"abc")])
        for value, count in (("1", 1), ("0", 0), (None, 0)):
            environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
            environment.pop("RUNAI_STREAMER_LOG_TO_STDERR", None)
            if value is not None:
                environment["RUNAI_STREAMER_LOG_TO_STDERR"] = value
            done = subprocess.run([sys.executable, "-c", script, path], env=environment, timeout=300,
                                  stderr=subprocess.PIPE, text=True, check=True)
            self.assertEqual(done.stderr.count("Overall time to stream 3 Bytes of all files to cpu"),
                             count, done.stderr)
            self.assertEqual(done.stderr.count("[INFO] [RunAI Streamer]") > 0, count > 0)


class Names(Case):
    def test_constants(self):
        self.assertEqual((requests_iterator.DEFAULT_MEMORY_LIMIT_STRING,
                          requests_iterator.RUNAI_STREAMER_MEMORY_LIMIT_ENV_VAR_NAME,
                          requests_iterator.RUNAI_STREAMER_RING_BUFFERS_ENV_VAR_NAME,
                          requests_iterator.RUNAI_STREAMER_MAX_PADS_PER_BUFFER_ENV_VAR_NAME),
                         ("40000000000", "RUNAI_STREAMER_MEMORY_LIMIT", "RUNAI_STREAMER_RING_BUFFERS",
                          "RUNAI_STREAMER_MAX_PADS_PER_BUFFER"))
        self.assertEqual({mode.name: mode.value for mode in requests_iterator.MemoryCapMode},
                         {"unlimited": 1, "limited": 2, "largest_chunk": 3})
        self.assertEqual((s3_utils.S3_PROTOCOL_PREFIX, s3_utils.GCS_PROTOCOL_PREFIX,
                          s3_utils.AZURE_PROTOCOL_PREFIX), ("s3://", "gs://", "az://"))
        self.assertEqual(safetensors_streamer.SAFETENSORS_PATTERN, "*.safetensors")
        self.assertIs(streamer_mock.OriginalSafetensorsStreamer, SafetensorsStreamer)
        self.assertIs(streamer_mock.original_list_safetensors, safetensors_streamer.list_safetensors)
        self.assertEqual(distributed_streamer.get_dist_buffer_alignment(), 512)
        self.assertEqual(distributed_streamer.aligned_offset(3, 10, 8), 13)

    def test_functions_of_stores(self):
        self.assertIsNone(s3_utils.get_s3_credentials_module())
        for module in (s3_utils.get_s3_files_module(), s3_utils.get_gcs_files_module(),
                       s3_utils.get_azure_files_module()):
            self.assertTrue(callable(module.glob) and callable(module.pull_files))
        self.assertIsNone(s3_utils.get_module("nobody_has_this", "nobody_has_this.either"))
        self.assertIs(s3_utils.get_module("json", "json.decoder"), json.decoder)
        for name in ("s3_glob", "gcs_glob", "azure_glob", "s3_pull_files", "gcs_pull_files",
                     "azure_pull_files"):
            self.assertTrue(callable(getattr(s3_utils, name)))

    def test_chunks(self):
        chunks = FileChunks(3, "p", [5, 0], [2, 7])
        self.assertEqual(repr(chunks), "FileChunks(id='3', path='p', num_ranges=2, total_size=9)")
        self.assertEqual(FileChunks.contiguous(1, "p", 10, [2, 0, 3]).offsets, [10, 12, 12])
        with self.assertRaisesRegex(ValueError, r"offsets \(1\) and sizes \(2\) must be parallel"):
            FileChunks(1, "p", [0], [1, 2])

    def test_a_pool_of_slots(self):
        made = []

        def alloc():
            made.append(slot_pool.Slot(bytearray(4), len(made)))
            return made[-1]

        for owned in (True, False):
            made.clear()
            pool = slot_pool.SlotPool(2, alloc, owned)
            first, second = pool.take(), pool.take()
            self.assertEqual((len(pool), pool.has_free(), first != second), (2, False, True))
            kept = pool.slot(first)
            pool.release(first)
            with self.assertRaisesRegex(ValueError, "already free"):
                pool.release(first)
            self.assertEqual(pool.take(), first)
            self.assertEqual(pool.slot(first) is kept, not owned)
            self.assertEqual(len(made), 3 if owned else 2)

    def test_listing(self):
        for name in ("b.json", "a.bin"):
            with open(self.path(name), "wb") as out:
                out.write(b"12")
        os.mkdir(self.path("sub"))
        with open(self.path("sub/c.json"), "wb"):
            pass
        everything = [(self.path("a.bin"), 2), (self.path("b.json"), 2), (self.path("sub/c.json"), 0)]
        for streamer in (FileStreamer(), FileStreamer().__enter__()):
            listed = streamer.list_files
            self.assertEqual(listed(self.folder.name), everything)
            self.assertEqual(listed(self.folder.name, is_recursive=False), everything[:2])
            self.assertEqual(listed(self.folder.name, allow_patterns=["*.json"]), everything[1:])
            self.assertEqual(listed(self.folder.name, ignore_patterns=["*.json"]), everything[:1])
            self.assertEqual(listed(self.folder.name, allow_patterns=["a.bin"]), [])
            with self.assertRaisesRegex(ValueError, "^runai_list_files failed: b'File access error': .*"
                                                    "No such file"):
                listed(self.path("none"))
            streamer.__exit__(None, None, None)


class Installation(Case):
    """The package in a folder as pip makes it, the original's metadata beside it or elsewhere."""

    def install(self, original_in):
        site = self.path("site")
        shutil.copytree(os.path.join(ROOT, "capi/runai/python/runai_model_streamer"),
                        os.path.join(site, "runai_model_streamer"),
                        ignore=shutil.ignore_patterns("__pycache__"))
        for where, name in ((site, "libstreamer-runai"), (original_in, "runai-model-streamer")):
            if where is None:
                continue
            folder = os.path.join(where, name.replace("-", "_") + "-0.17.0.dist-info")
            os.makedirs(folder)
            with open(os.path.join(folder, "METADATA"), "w", encoding="utf-8") as out:
                out.write(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.17.0\n")
        return site

    def imported(self, *folders):
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(
            [*folders, os.path.join(ROOT, "capi/python")]))
        return subprocess.run([sys.executable, "-c", "import runai_model_streamer as r; "
                               "print(r.__file__, r.SafetensorsStreamer)"], env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300, check=False)

    def test_both_in_one_folder_are_told_at_import(self):
        site = self.install(self.path("site"))
        done = self.imported(site)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(site, done.stdout)
        self.assertEqual(done.stderr.count("are both installed"), 1, done.stderr)
        self.assertIn("pip uninstall -y runai-model-streamer libstreamer-runai", done.stderr)
        self.assertIn("install vllm without [runai]", done.stderr)

    def test_files_of_both_are_the_reason_of_a_failed_import(self):
        site = self.install(self.path("site"))
        with open(os.path.join(site, "runai_model_streamer/s3_utils/s3_utils.py"), "w",
                  encoding="utf-8"):
            pass  # a file of the other one, which has no name of ours
        done = self.imported(site)
        self.assertIn("ImportError", done.stderr)
        self.assertIn("holds files of libstreamer-runai and of runai-model-streamer 0.17.0",
                      done.stderr)
        self.assertIn("pip uninstall -y", done.stderr.splitlines()[-1])

    def test_the_original_over_ours_is_told_by_the_load_format(self):
        site = self.install(self.path("site"))
        for text, expected in (("", 0), ("from original import *\n", 1)):
            if text:
                with open(os.path.join(site, "runai_model_streamer/__init__.py"), "w",
                          encoding="utf-8") as out:
                    out.write(text)
            done = subprocess.run(
                [sys.executable, "-c", "import logging; from libstreamer import mixed_packages; "
                 "mixed_packages.warn_of_mixed_packages(logging.getLogger())"],
                env=dict(os.environ, PYTHONPATH=os.pathsep.join(
                    [site, os.path.join(ROOT, "capi/python")])), text=True, stderr=subprocess.PIPE,
                timeout=300, check=True)
            self.assertEqual(done.stderr.count("runai-model-streamer 0.17.0 and libstreamer-runai"),
                             expected, done.stderr)
            self.assertEqual("pip uninstall -y" in done.stderr, bool(expected))

    def test_one_alone_or_two_folders_are_no_mix(self):
        for number, original in enumerate((None, self.path("elsewhere"))):
            shutil.rmtree(self.path("site"), ignore_errors=True)
            site = self.install(original)
            done = self.imported(site, self.path("elsewhere"))
            self.assertEqual((done.returncode, done.stderr), (0, ""), number)

    def test_the_package_needs_the_library_of_its_version(self):
        with open(os.path.join(ROOT, "meson.build"), encoding="utf-8") as text:
            version = re.search(r"version: '([\d.]+)'", text.read())[1]
        for name in ("meson.build", "pyproject.toml"):
            with open(os.path.join(ROOT, "capi/runai/python", name), encoding="utf-8") as text:
                self.assertIn(version, text.read(), name)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
