#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The surface of the Run:ai Model Streamer on real files: runai_test.py SOURCE_ROOT"""
import ctypes
import json
import logging
import multiprocessing
import os
import random
import struct
import sys
import tempfile
import unittest

ROOT = sys.argv[1]
sys.path.insert(0, os.path.join(ROOT, "capi", "python"))
import torch  # noqa: E402

import runai_model_streamer  # noqa: E402
from runai_model_streamer import (  # noqa: E402
    FileChunks, FileStreamer, ObjectStorageModel, SafetensorsStreamer, list_safetensors, pull_files)
from runai_model_streamer.file_streamer.file_streamer import (  # noqa: E402
    RunaiStreamerInvalidInputException)
from runai_model_streamer.file_streamer.requests_iterator import (  # noqa: E402
    RunaiStreamerMemoryLimitException)
from runai_model_streamer.libstreamer import libstreamer as native  # noqa: E402
from runai_model_streamer.safetensors_streamer import safetensors_pytorch  # noqa: E402
from runai_model_streamer.safetensors_streamer import safetensors_streamer as module  # noqa: E402
from runai_model_streamer.safetensors_streamer.streamer_mock import StreamerPatcher  # noqa: E402

DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1,
          "BOOL": 1, "C64": 8}


def header_of(tensors, start=0):
    header, offset = {}, start
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    return header


def write(path, tensors, header=None):
    text = json.dumps(header_of(tensors) if header is None else header).encode() \
        if not isinstance(header, bytes) else header
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(t[3] for t in tensors))


def random_tensors(generator, prefix, most=12):
    tensors = []
    for i in range(generator.randrange(most)):
        dtype = generator.choice(list(DTYPES))
        shape = [generator.randrange(5) for _ in range(generator.randrange(3))]
        count = 1
        for extent in shape:
            count *= extent
        data = generator.randbytes(count * DTYPES[dtype]) if hasattr(generator, "randbytes") else \
            bytes(generator.randrange(256) for _ in range(count * DTYPES[dtype]))
        if dtype == "BOOL":
            data = bytes(b & 1 for b in data)
        tensors.append((f"{prefix}.{i}", dtype, shape, data))
    return tensors


def bytes_of(tensor):
    flat = tensor.contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def seen(name, tensor):
    return name, str(tensor.dtype), tuple(tensor.shape), bytes_of(tensor)


def expected(tensors):
    names = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
             "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8",
             "BOOL": "bool", "C64": "complex64"}
    return [(n, "torch." + names[d], tuple(s), b) for n, d, s, b in tensors]


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def file(self, name, tensors, header=None):
        write(self.path(name), tensors, header)
        return self.path(name)

    def environment(self, **values):
        for name, value in values.items():
            before = os.environ.get(name)
            os.environ[name] = str(value)
            self.addCleanup(os.environ.pop if before is None else os.environ.__setitem__,
                            *((name, None) if before is None else (name, before)))


class Streaming(Case):
    def stream(self, paths, **keywords):
        with SafetensorsStreamer() as streamer:
            streamer.stream_files(paths, **keywords)
            return [seen(name, tensor) for name, tensor in streamer.get_tensors()]

    def test_the_quickstart(self):
        tensors = [("a", "F32", [2], struct.pack("<2f", 1, 2)), ("s", "I64", [], b"\1" + 7 * b"\0")]
        path = self.file("m.safetensors", tensors)
        with SafetensorsStreamer() as streamer:
            streamer.stream_file(path)
            found = dict(streamer.get_tensors())
        self.assertEqual(found["a"].tolist(), [1, 2])
        self.assertEqual((found["s"].shape, found["s"].item()), ((), 1))

    def test_random_files_with_every_limit(self):
        generator = random.Random(7)
        for turn in range(int(os.environ.get("STREAMER_TEST_ROUNDS", "60"))):
            files = [random_tensors(generator, f"f{i}") for i in range(1 + generator.randrange(4))]
            paths = [self.file(f"{turn}.{i}.safetensors", tensors)
                     for i, tensors in enumerate(files)]
            every = [t for tensors in files for t in tensors]
            sizes = [len(t[3]) for t in every]
            header = max(os.path.getsize(p) - sum(len(t[3]) for t in f) - 8
                         for p, f in zip(paths, files))
            limits = [-1, 0, 40_000_000_000]
            prefix = sum(sizes[:generator.randrange(len(sizes) + 1)])
            if prefix >= max([header, 8] + sizes):
                limits.append(prefix)
            for limit in limits:
                self.environment(RUNAI_STREAMER_MEMORY_LIMIT=limit,
                                 RUNAI_STREAMER_CONCURRENCY=generator.choice([1, 2, 16]))
                with self.subTest(turn=turn, limit=limit):
                    self.assertEqual(sorted(self.stream(paths)), sorted(expected(every)))

    def test_what_is_kept_stays_as_it_was(self):
        tensors = [(f"t{i}", "U8", [4096], bytes([i]) * 4096) for i in range(40)]
        path = self.file("m.safetensors", tensors)
        for limit in (0, 4096, 3 * 4096, -1):
            self.environment(RUNAI_STREAMER_MEMORY_LIMIT=limit)
            with SafetensorsStreamer() as streamer:
                streamer.stream_file(path)
                kept = dict(streamer.get_tensors())
            for i in range(40):
                self.assertEqual(kept[f"t{i}"].unique().tolist(), [i])

    def test_metadata_is_there_before_any_tensor(self):
        first = [("a", "U8", [3], b"abc"), ("b", "F32", [1], b"\0\0\0\0")]
        paths = [self.file("a.safetensors", first), self.file("b.safetensors", [])]
        with SafetensorsStreamer() as streamer:
            streamer.stream_files(paths)
            found = streamer.files_to_tensors_metadata
            self.assertEqual(sum(len(v) for v in found.values()), 2)
            self.assertEqual(sorted(found), [0, 1])
            item = found[0][0]
            self.assertEqual((item.name, item.shape, item.dtype, item.offsets.start,
                              item.offsets.end, item.offsets.get_diff(), item.get_bytesize(),
                              item.get_item_count(), item.get_torch_dtype()),
                             ("a", [3], "U8", 0, 3, 3, 3, 3, torch.uint8))
            self.assertEqual(streamer.total_size, 7)
            self.assertEqual(len(list(streamer.get_tensors())), 2)
            self.assertEqual(list(streamer.get_tensors()), [])

    def test_defects_that_are_not_ours(self):
        # 1, 2: files without bytes at the head, in the middle and at the end.
        a = [("a", "U8", [2], b"xy")]
        empty, zero = [], [("z", "F32", [0, 3], b"")]
        paths = [self.file(f"{i}.safetensors", t) for i, t in enumerate([empty, a, zero, empty])]
        self.assertEqual(sorted(self.stream(paths)), sorted(expected(a + zero)))
        # 3: a request that is exactly full, and then a tensor without bytes.
        w = [("w", "U8", [8], b"w" * 8)]
        r = [("e", "U8", [0], b""), ("r", "U8", [8], b"r" * 8)]
        paths = [self.file("w.safetensors", w), self.file("r.safetensors", r)]
        for limit in (200, 0):
            self.environment(RUNAI_STREAMER_MEMORY_LIMIT=limit)
            self.assertEqual(sorted(self.stream(paths)), sorted(expected(w + r)))
        # 4: data that does not begin at 0.
        bad = self.file("k.safetensors", a, header_of(a, start=4))
        with self.assertRaises(ValueError):
            self.stream([bad])
        # 5: a tensor without bytes where a real one begins, listed behind it.
        both = {**header_of(a), "none": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}
        good = self.file("n.safetensors", a, both)
        self.assertEqual(sorted(n for n, *_ in self.stream([good])), ["a", "none"])
        # 12: errors of the right class.
        for header in (b"", b"[]", b'{"a":{"dtype":"U8","data_offsets":[0,1]}}',
                       b'{"a":{"shape":[1],"data_offsets":[0,1]}}'):
            with self.assertRaises(ValueError):
                self.stream([self.file("h.safetensors", [], header)])
        self.environment(RUNAI_STREAMER_MEMORY_LIMIT=0)
        self.assertEqual(self.stream([self.file("0.safetensors", [])]), [])
        self.assertEqual(self.stream([]), [])

    def test_headers_that_are_refused(self):
        def tensor(**fields):
            return {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **fields}}
        cases = [
            (b"\xff\xfe", "UTF-8|JSON"), (b"{nonsense", "not valid JSON"),
            (json.dumps(tensor(shape=[3])).encode(), r"Shape claims 12 bytes.*but offsets reserve 4"),
            (json.dumps({"a": {"dtype": "F32", "shape": [1]}}).encode(), "data_offsets"),
            (json.dumps(tensor(dtype="F99")).encode(), "F99"),
            (json.dumps({**tensor(), "b": {"dtype": "U8", "shape": [4],
                                           "data_offsets": [2, 6]}}).encode(),
             "overlaps with next tensor"),
            (json.dumps({**tensor(), "b": {"dtype": "U8", "shape": [4],
                                           "data_offsets": [6, 10]}}).encode(), "Gaps"),
        ]
        for header, words in cases:
            with self.subTest(words=words):
                path = self.file("b.safetensors", [("a", "F32", [1], b"1234")], header)
                with self.assertRaisesRegex(ValueError, words):
                    self.stream([path])
        with open(self.path("long.safetensors"), "wb") as out:
            out.write(struct.pack("<Q", 100 * 1024 * 1024 + 1) + b"{}")
        with self.assertRaisesRegex(ValueError, "exceeds limit"):
            self.stream([self.path("long.safetensors")])
        with open(self.path("short.safetensors"), "wb") as out:
            out.write(b"1234")
        with self.assertRaisesRegex(ValueError, "End of file reached"):
            self.stream([self.path("short.safetensors")])
        with self.assertRaisesRegex(ValueError, "File access error"):
            self.stream([self.path("nobody.safetensors")])
        with self.assertRaisesRegex(ValueError, "Unknown Error"):
            self.stream([self.folder.name])
        unknown = self.file("f8.safetensors", [("q", "F8_E4M3", [1], b"1")])
        if not hasattr(torch, "float8_e4m3fn"):
            with self.assertRaisesRegex(ValueError, "Unsupported dtype 'F8_E4M3' in tensor 'q'"):
                self.stream([unknown])

    def test_memory_limits_that_are_refused(self):
        path = self.file("m.safetensors", [("a", "U8", [500], b"a" * 500)])
        for limit, error in (("499", RunaiStreamerMemoryLimitException),
                             ("7", RunaiStreamerMemoryLimitException),
                             ("-2", RunaiStreamerMemoryLimitException),
                             ("x", ValueError), ("", ValueError)):
            self.environment(RUNAI_STREAMER_MEMORY_LIMIT=limit)
            with self.subTest(limit=limit), self.assertRaises(error):
                self.stream([path])
        self.environment(RUNAI_STREAMER_MEMORY_LIMIT=499)
        with self.assertRaisesRegex(RunaiStreamerMemoryLimitException,
                                    "Memory limit supplied: 499 cannot be smaller than: 500"):
            self.stream([path])

    def test_use_and_misuse(self):
        path = self.file("m.safetensors", [("a", "U8", [3], b"abc"), ("b", "U8", [1], b"d")])
        with self.assertRaises(AttributeError):
            SafetensorsStreamer().stream_file(path)
        with self.assertRaises(RunaiStreamerInvalidInputException):
            self.stream([path, "s3://bucket/key.safetensors"])
        with SafetensorsStreamer() as streamer:
            streamer.stream_file(path)
            with self.assertRaisesRegex(ValueError, "Could not send runai_request"):
                streamer.stream_file(path)
            self.assertEqual(len(list(streamer.get_tensors())), 2)
            streamer.stream_file(path)  # used again once it is drained
            next(streamer.get_tensors())
        # The same name in two files comes twice.
        other = self.file("n.safetensors", [("a", "U8", [1], b"x")])
        names = sorted(name for name, *_ in self.stream([path, other]))
        self.assertEqual(names, ["a", "a", "b"])
        self.assertEqual([n for n, *_ in self.stream([path, other], tensor_names=["b"])], ["b"])
        for wrong in ([], ["a"], ["nobody"]):
            with self.assertRaises(ValueError):
                self.stream([path, other], tensor_names=wrong)
        tensor = self.stream([path])
        self.assertEqual(len(tensor), 2)

    def test_a_tensor_is_an_ordinary_one(self):
        path = self.file("m.safetensors", [("a", "F32", [2, 2], b"\0" * 16)])
        with SafetensorsStreamer() as streamer:
            streamer.stream_files([path], device="cpu", is_distributed=False)
            (_, tensor), = streamer.get_tensors()
        self.assertTrue(tensor.is_contiguous() and not tensor.requires_grad)
        self.assertEqual(tensor.storage_offset(), 0)
        tensor._sglang_runai_streamer_tensor = True
        tensor += 1
        self.assertEqual(tensor.tolist(), [[1, 1], [1, 1]])

    def test_a_generator_that_is_dropped(self):
        path = self.file("m.safetensors", [(f"t{i}", "U8", [9], b"123456789") for i in range(50)])
        with SafetensorsStreamer() as streamer:
            streamer.stream_file(path)
            generator = streamer.get_tensors()
            next(generator)
            del generator

    def test_the_log(self):
        path = self.file("m.safetensors", [("a", "U8", [2048], b"a" * 2048)])
        with self.assertLogs("runai_model_streamer", logging.DEBUG) as log:
            self.stream([path])
        text = "\n".join(log.output)
        self.assertRegex(text, r"\[RunAI Streamer\] CPU Buffer size: .* for files: \['/")
        self.assertRegex(text, r"Overall time to stream 2\.0 KiB of all files to cpu: [\d.]+s, .*/s")

    def test_distributed_without_others_is_local(self):
        path = self.file("m.safetensors", [("a", "U8", [1], b"a")])
        self.assertEqual(len(self.stream([path], is_distributed=True)), 1)
        self.environment(RUNAI_STREAMER_DIST="nonsense")
        self.assertEqual(len(self.stream([path], is_distributed=False)), 1)
        with self.assertRaisesRegex(ValueError, "Invalid value for RUNAI_STREAMER_DIST: nonsense"):
            self.stream([path], is_distributed=True)


class Chunks(Case):
    def test_both_shapes(self):
        data = bytes(range(200))
        with open(self.path("raw"), "wb") as out:
            out.write(data)
        old = FileChunks(17, self.path("raw"), 10, [5, 0, 20])
        new = FileChunks(18, self.path("raw"), [100, 3], [4, 6])
        same = FileChunks.contiguous(19, self.path("raw"), 10, [5, 0, 20])
        self.assertEqual((old.offsets, old.total_size(), old.max_chunk_size()), ([10, 15, 15], 25, 20))
        self.assertEqual((same.offset, same.chunks), (10, [5, 0, 20]))
        with FileStreamer() as streamer:
            streamer.stream_files([old, new])
            found = {(i, c): bytes_of(t) for i, c, t in streamer.get_chunks()}
        self.assertEqual(found, {(17, 0): data[10:15], (17, 1): b"", (17, 2): data[15:35],
                                 (18, 0): data[100:104], (18, 1): data[3:9]})
        with self.assertRaises(ValueError):
            FileChunks(1, "x", [1], [1, 2])

    def test_deep_users(self):
        tensors = [("b", "U8", [3], b"abc"), ("a", "F32", [1], b"\0\0\0\0")]
        path = self.file("m.safetensors", tensors)
        with SafetensorsStreamer() as streamer:
            (offset, metadata, sizes), = safetensors_pytorch.prepare_request(
                streamer.file_streamer, [path], None)
            self.assertEqual((sizes, [m.name for m in metadata]), ([3, 4], ["b", "a"]))
            streamer.files_to_tensors_metadata = {0: metadata}
            request = FileChunks(0, path, offset, sizes)
            streamer.file_streamer.stream_files([request], credentials=None, device="cpu",
                                                is_distributed=False)
            for _, index, chunk in streamer.file_streamer.get_chunks():
                self.assertEqual(chunk.shape, (1, sizes[index]))
                tensor = safetensors_pytorch.create_torch_tensor(chunk, metadata[index])
                self.assertEqual(bytes_of(tensor), tensors[index][3])


class Files(Case):
    def test_listing_of_a_folder(self):
        for name in ("b.safetensors", "a.safetensors", ".hidden.safetensors", "x.json"):
            self.file(name, [])
        for folder in (self.folder.name, self.folder.name + "/"):
            self.assertEqual(list_safetensors(folder),
                             [os.path.join(folder, n) for n in ("a.safetensors", "b.safetensors")])
        self.assertEqual(list_safetensors("/nowhere"), [])
        odd = os.path.join(self.folder.name, "we[ir]d*")
        os.mkdir(odd)
        write(os.path.join(odd, "m.safetensors"), [])
        self.assertEqual(list_safetensors(odd), [os.path.join(odd, "m.safetensors")])

    def test_pulling_is_for_stores(self):
        with self.assertRaisesRegex(NotImplementedError, "not implemented for file system paths"):
            pull_files("/models", "/tmp")

    def test_an_object_storage_model(self):
        with self.assertRaisesRegex(ValueError, "is not a supported object storage path"):
            ObjectStorageModel("/local", self.path("m"))
        pulled = []

        def fake(model_path, dst, allow=None, ignore=None, credentials=None):
            pulled.append((model_path, allow, ignore, credentials))
            with open(os.path.join(dst, "config.json"), "w", encoding="utf-8") as out:
                out.write("{}")

        original, module.pull_files = module.pull_files, fake
        try:
            with ObjectStorageModel("s3://b/m", self.path("m/")) as model:
                self.assertEqual(model.dir, self.path("m"))
                model.pull_files(["*.json"], None)
                model.pull_files(None, ["*.bin"])
                self.assertFalse(os.path.exists(self.path("m/.runai_complete")))
            self.assertTrue(os.path.exists(self.path("m/.runai_complete")))
            self.assertEqual([p[0] for p in pulled], ["s3://b/m/"] * 2)
            with ObjectStorageModel("s3://b/m", self.path("m")) as again:
                self.assertTrue(again._skip)
                again.pull_files()
            self.assertEqual(len(pulled), 2)
            with self.assertRaises(KeyError):
                with ObjectStorageModel("s3://b/n", self.path("n")):
                    raise KeyError("x")
            self.assertFalse(os.path.exists(self.path("n/.runai_complete")))
            with self.assertRaisesRegex(RuntimeError, "No files were downloaded"):
                with ObjectStorageModel("s3://b/n", self.path("n")):
                    pass
        finally:
            module.pull_files = original

    def test_one_process_pulls_and_others_wait(self):
        context = multiprocessing.get_context("fork")
        log = self.path("log")

        def work():
            def fake(model_path, dst, *_):
                with open(log, "a", encoding="utf-8") as out:
                    out.write("pulled\n")
                with open(os.path.join(dst, "config.json"), "w", encoding="utf-8") as out:
                    out.write(model_path)
            module.pull_files = fake
            with ObjectStorageModel("s3://b/m", self.path("m")) as model:
                model.pull_files()
            os._exit(0 if os.path.exists(self.path("m/config.json")) else 1)

        children = [context.Process(target=work) for _ in range(6)]
        for child in children:
            child.start()
        for child in children:
            child.join(30)
            self.assertEqual(child.exitcode, 0)
        with open(log, encoding="utf-8") as lines:
            self.assertEqual(lines.read(), "pulled\n")

    def test_the_patcher(self):
        os.makedirs(self.path("bucket/m/deep"))
        write(self.path("bucket/m/a.safetensors"), [("a", "U8", [1], b"a")])
        for name in ("config.json", "deep/more.json"):
            with open(self.path("bucket/m/" + name), "w", encoding="utf-8") as out:
                out.write(name)
        patcher = StreamerPatcher(self.path("bucket"))
        self.assertTrue(patcher.is_remote_path("gs://x/m"))
        self.assertEqual(patcher.shim_list_safetensors("s3://any/m"), ["s3://any/m/a.safetensors"])
        patcher.shim_pull_files("s3://any/m", self.path("out"), allow_pattern=["config.json"],
                                ignore_pattern=[])
        self.assertEqual(os.listdir(self.path("out")), ["config.json"])
        with patcher.create_mock_streamer() as streamer:
            streamer.stream_files(["s3://any/m/a.safetensors"])
            self.assertEqual(len(streamer.files_to_tensors_metadata[0]), 1)
            self.assertEqual([name for name, _ in streamer.get_tensors()], ["a"])
        with self.assertRaises(NotImplementedError):
            patcher.shim_pull_files("/local", self.path("out"))


class Native(Case):
    def responses(self, streamer, count):
        found = []
        for _ in range(count):
            file_index, index = ctypes.c_uint(9), ctypes.c_uint(9)
            code = native.dll.runai_response(streamer, ctypes.byref(file_index),
                                             ctypes.byref(index))
            found.append((code, file_index.value, index.value))
        return sorted(found)

    def test_two_files_into_one_buffer(self):
        contents = [bytes(range(100)), bytes(range(100, 180))]
        for i, content in enumerate(contents):
            with open(self.path(str(i)), "wb") as out:
                out.write(content)
        streamer = native.runai_start()
        for _ in range(2):  # a handle is used again
            buffer = bytearray(60)
            native.runai_request(streamer, [self.path("0"), self.path("1")], [10, 0], [40, 20],
                                 [memoryview(buffer)], [[10, 0, 30], [20]])
            self.assertEqual(self.responses(streamer, 4),
                             [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0)])
            self.assertEqual(bytes(buffer), contents[0][10:50] + contents[1][:20])
            self.assertIsNone(native.runai_response(streamer))
        native.runai_end(streamer)
        native.runai_end(None)

    def test_codes(self):
        with open(self.path("f"), "wb") as out:
            out.write(bytes(5000))
        streamer = native.runai_start()
        buffer = memoryview(bytearray(10_000))
        path = self.path("f")
        self.assertIsNone(native.runai_response(streamer))
        for paths, sizes, ranges, words in (
                ([path], [0], [[1]], "Empty request parameters"),
                ([path], [10], [[]], "Empty request parameters"),
                ([path], [10], [[11]], "Invalid request parameters"),
                ([path, "s3://b/k"], [10, 10], [[10], [10]], "Invalid request parameters"),
                ([], [], [], "Empty request parameters")):
            with self.subTest(words=words), self.assertRaisesRegex(ValueError, words):
                native.runai_request(streamer, paths, [0] * len(paths), sizes, [buffer], ranges)
        # A missing file fails its own ranges, and so does a range beyond the end.
        native.runai_request(streamer, [path, "/nowhere/x"], [4900, 0], [200, 10], [buffer],
                             [[50, 50, 100], [5, 5]])
        with self.assertRaisesRegex(ValueError, "handling previous request"):
            native.runai_request(streamer, [path], [0], [1], [buffer], [[1]])
        self.assertEqual(self.responses(streamer, 5),
                         [(0, 0, 0), (0, 0, 1), (2, 1, 0), (2, 1, 1), (3, 0, 2)])
        self.assertEqual(self.responses(streamer, 1)[0][0], 1)
        self.assertEqual(native.dll.runai_response(None, None, None), 7)
        texts = [native.runai_response_str(code) for code in range(16)]
        self.assertEqual(texts[0], b"Request sent successfuly")
        self.assertIn(b"Azure", texts[14])
        self.assertEqual(texts[15], b"Invalid response code")
        native.runai_end(streamer)
        for name, value in (("RUNAI_STREAMER_CONCURRENCY", "0"), ("RUNAI_STREAMER_CONCURRENCY", ""),
                            ("RUNAI_STREAMER_CHUNK_BYTESIZE", "x")):
            self.environment(**{name: value})
            with self.assertRaisesRegex(ValueError, "Invalid request parameters"):
                native.runai_start()
            os.environ.pop(name)

    def test_the_module(self):
        self.assertEqual(set(runai_model_streamer.__all__), {
            "SafetensorsStreamer", "ObjectStorageModel", "DistributedStreamer", "FileStreamer",
            "FileChunks", "list_safetensors", "pull_files"})


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
