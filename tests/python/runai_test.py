#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the Run:ai Model Streamer streams, on real files: runai_test.py SOURCE_ROOT"""
import json
import logging
import multiprocessing
import os
import random
import struct
import sys
import time
import unittest

ROOT = sys.argv[1]
for folder in ("capi/python", "capi/runai/python", "tests/support"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import torch  # noqa: E402

from runai_case import Case, bytes_of, expected, header_of, random_tensors, seen, write  # noqa: E402
from runai_model_streamer import FileChunks, FileStreamer, SafetensorsStreamer  # noqa: E402
from runai_model_streamer.distributed_streamer import partition  # noqa: E402
from runai_model_streamer.file_streamer.file_streamer import (  # noqa: E402
    RunaiStreamerInvalidInputException)
from runai_model_streamer.file_streamer.requests_iterator import (  # noqa: E402
    RunaiStreamerMemoryLimitException)
from runai_model_streamer.safetensors_streamer import safetensors_pytorch  # noqa: E402


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
            limits = [-1, 0, 40_000_000_000, max([header, 8] + sizes)]
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

    def test_a_loop_that_is_left_frees_the_streamer(self):
        tensors = [(f"t{i}", "U8", [1 << 20], bytes([i]) * (1 << 20)) for i in range(16)]
        path = self.file("m.safetensors", tensors)
        chunks = [FileChunks(0, path, 0, [1 << 20] * 16)]
        for limit in (-1, 1 << 20):
            self.environment(RUNAI_STREAMER_MEMORY_LIMIT=limit)
            with SafetensorsStreamer() as streamer:
                for _ in range(3):
                    streamer.stream_file(path)
                    for name, kept in streamer.get_tensors():
                        break
                    with self.assertRaises(KeyError):
                        streamer.stream_file(path)
                        for _ in streamer.get_tensors():
                            raise KeyError("consumer")
                    streamer.stream_file(path)
                    self.assertEqual(len(list(streamer.get_tensors())), 16)
                    self.assertEqual(kept.unique().tolist(), [int(name[1:])])
            with FileStreamer() as streamer:
                for _ in range(3):
                    streamer.stream_files(chunks)
                    for _ in streamer.get_chunks():
                        break
                    streamer.stream_files(chunks)
                    self.assertEqual(len(list(streamer.get_chunks())), 16)

    def test_the_next_request_may_begin_in_the_loop(self):
        path = self.file("m.safetensors", [(f"t{i}", "U8", [8], bytes([i]) * 8) for i in range(3)])
        other = self.file("n.safetensors", [("other", "U8", [8], b"x" * 8)])
        with SafetensorsStreamer() as streamer:
            streamer.stream_file(path)
            names = []
            for name, _ in streamer.get_tensors():
                names.append(name)
                if len(names) == 3:
                    streamer.stream_file(other)
            self.assertEqual(sorted(names), ["t0", "t1", "t2"])
            self.assertEqual([name for name, _ in streamer.get_tensors()], ["other"])

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
        bad = self.file("k.safetensors", [("hole", "U8", [4], b"hole"), *a], header_of(a, start=4))
        with self.assertRaisesRegex(ValueError, "^Corrupted File: Tensor 'a' does not start at the "
                                                "beginning of the data section"):
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
        with SafetensorsStreamer() as streamer:
            streamer.stream_file(self.path("0.safetensors"))  # of which there is nothing to take
            streamer.stream_file(self.path("n.safetensors"))
            self.assertEqual(len(list(streamer.get_tensors())), 2)

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
        for shape in ([-1, -1], [1.0], "1", [True]):
            cases.append((json.dumps(tensor(shape=shape)).encode(), "."))
        cases += [(json.dumps(tensor(data_offsets=[4, 0])).encode(), "."),
                  (json.dumps(tensor(data_offsets=[0, 4, 8])).encode(), "."),
                  (b'{"a":1}', "."), (b"[]", "."), (b"null", "."), (b"", "."),
                  (json.dumps(tensor(shape=[2 ** 62, 2 ** 62])).encode(), "2\\^64")]
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
        with self.assertRaisesRegex(ValueError, "File access error.* is a folder"):
            self.stream([self.folder.name])
        unknown = self.file("f8.safetensors", [("q", "F8_E4M3", [1], b"1")])
        if not hasattr(torch, "float8_e4m3fn"):
            with self.assertRaisesRegex(ValueError, "Unsupported dtype 'F8_E4M3' in tensor 'q'"):
                self.stream([unknown])

    def test_headers_that_are_taken_although_they_are_odd(self):
        one = b'"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'
        twice = b'"a":{"dtype":"F32","shape":[9],"data_offsets":[70,106]},'
        cases = [(b"{" + twice + one + b"}", b"1234")]
        for metadata in (b"7", b'"text"', b"[1]", b"null", b'{"k":1,"l":{"m":[]}}'):
            cases.append((b'{"__metadata__":' + metadata + b"," + one + b"}", b"1234"))
        for length in (100 * 1000 * 1000 + 1, 100 * 1024 * 1024):
            cases.append(((b"{" + one + b"}").ljust(length), b"1234"))
        for header, data in cases:
            with self.subTest(header=header[:90], bytes=len(header)):
                path = self.file("odd.safetensors", [("a", "U8", [len(data)], data)], header)
                (name, *_), = self.stream([path])
                self.assertEqual(name, "a")
                with SafetensorsStreamer() as streamer:
                    streamer.stream_file(path)
                    self.assertEqual([bytes_of(t) for _, t in streamer.get_tensors()], [b"1234"])

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
        with self.assertRaisesRegex(ValueError, "the streamer is not open"):
            SafetensorsStreamer().stream_file(path)
        with self.assertRaises(RunaiStreamerInvalidInputException):
            self.stream([path, "s3://bucket/key.safetensors"])
        with SafetensorsStreamer() as streamer:
            streamer.stream_file(path)
            with self.assertRaisesRegex(ValueError, "cannot start a new stream while 2 response"):
                streamer.stream_file(path)
            self.assertEqual(len(list(streamer.get_tensors())), 2)
            streamer.stream_file(path)  # used again once it is drained
            tensors = streamer.get_tensors()
            first, second = next(tensors), next(tensors)  # that were all, for who counts
            streamer.stream_file(path)
            next(streamer.get_tensors())
        self.assertEqual(sorted((name, bytes_of(t)) for name, t in (first, second)),
                         [("a", b"abc"), ("b", b"d")])
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
        self.assertRegex(text, r"DEBUG.*\[RunAI Streamer\] CPU ring: 1 x 2.0 KiB = 2.0 KiB for files: "
                               r"\['/")
        self.assertRegex(text, r"INFO.*Rank 0: CPU ring 1 x 2.0 KiB = 2.0 KiB for 2.0 KiB in 1 "
                               r"file\(s\)")
        self.assertRegex(text, r"INFO.*Overall time to stream 2\.0 KiB of all files to cpu: "
                               r"\d+\.\d+s, .*/s")

    def test_distributed_without_others_is_local(self):
        path = self.file("m.safetensors", [("a", "U8", [1], b"a")])
        self.assertEqual(len(self.stream([path], is_distributed=True)), 1)
        self.environment(RUNAI_STREAMER_DIST="nonsense")
        self.assertEqual(len(self.stream([path], is_distributed=False)), 1)
        with self.assertRaisesRegex(ValueError, "Invalid value for RUNAI_STREAMER_DIST: nonsense"):
            self.stream([path], is_distributed=True)


    def test_a_rank_that_streams_alone_waits_for_nobody(self):
        if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
            self.skipTest("this torch has no gloo")
        path = self.file("m.safetensors", [("a", "U8", [3], b"abc"), ("none", "F32", [0], b"")])
        store = self.path("store")

        def rank(number):
            torch.distributed.init_process_group("gloo", init_method="file://" + store,
                                                 rank=number, world_size=2)
            # The other one never streams anything.
            found = self.stream([path], is_distributed=True) if number == 0 else []
            torch.distributed.barrier()
            os._exit(0 if number or sorted(name for name, *_ in found) == ["a", "none"] else 1)

        children = [multiprocessing.get_context("fork").Process(target=rank, args=(number,))
                    for number in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
            self.assertEqual(child.exitcode, 0)

    def test_leaving_ends_what_is_under_way(self):
        path = self.path("big.safetensors")
        size = 64 << 20
        text = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
        with open(path, "wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            out.truncate(8 + len(text) + size)
        self.environment(STREAMER_MAX_BANDWIDTH="1MB")  # a minute's work
        started = time.monotonic()
        with self.assertRaises(KeyError):
            with SafetensorsStreamer() as streamer:
                streamer.stream_file(path)
                raise KeyError("of the program")
        self.assertLess(time.monotonic() - started, 40)

    def test_a_file_that_is_cut_is_never_half_a_success(self):
        path = self.file("m.safetensors", [("a", "U8", [5000], b"a" * 5000)])
        os.truncate(path, os.path.getsize(path) - 1)
        with self.assertRaisesRegex(ValueError, "^Corrupted File: '.*m.safetensors' is truncated"):
            self.stream([path])
        # While it is streamed: errors of bytes come from get_tensors().
        path = self.file("n.safetensors", [(f"t{i}", "U8", [1 << 20], bytes(1 << 20))
                                           for i in range(8)])
        self.environment(STREAMER_MAX_BANDWIDTH="4MB", RUNAI_STREAMER_CONCURRENCY=1)
        with SafetensorsStreamer() as streamer:
            streamer.stream_file(path)
            os.truncate(path, 2 << 20)
            with self.assertRaisesRegex(ValueError, "Could not receive response from libstreamer "
                                                    "due to: b'"):
                list(streamer.get_tensors())
            self.assertEqual(list(streamer.get_tensors()), [])  # fail fast: it is over

    def test_kinds_of_places_that_do_not_go_together(self):
        for other in ("s3://b/k", "gs://b/k", "az://b/k"):
            with self.assertRaisesRegex(RunaiStreamerInvalidInputException,
                                        "Cannot stream files from multiple source types in parallel"):
                self.stream(["/local", other])
        with self.assertRaisesRegex(ValueError, "File access error"):
            self.stream(["s3://bucket"])

    def test_the_environment_is_read_when_something_is_streamed(self):
        path = self.file("m.safetensors", [("a", "U8", [500], b"a" * 500)])
        with SafetensorsStreamer() as streamer:
            self.environment(RUNAI_STREAMER_MEMORY_LIMIT=10)
            with self.assertRaises(RunaiStreamerMemoryLimitException):
                streamer.stream_file(path)
            self.environment(RUNAI_STREAMER_MEMORY_LIMIT=500)
            streamer.stream_file(path)
            self.assertEqual(len(list(streamer.get_tensors())), 1)
            self.environment(RUNAI_STREAMER_CONCURRENCY="nonsense")
            with self.assertRaisesRegex(ValueError, "RUNAI_STREAMER_CONCURRENCY"):
                streamer.stream_file(path)


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


class Partition(Case):
    FILES = [[100, 50, 200], [400], [80, 20], [300, 150]]

    def requests(self, files):
        return [FileChunks(i, f"/f{i}", 10, sizes) for i, sizes in enumerate(files)]

    def sizes(self, shares):
        return [partition.get_total_size_of_partition(share) for share in shares]

    def test_every_policy(self):
        requests = self.requests(self.FILES)
        self.assertEqual(self.sizes(partition.partition(requests, 3)), [350, 500, 450])
        self.environment(RUNAI_STREAMER_PARTITION_POLICY="chunks")
        self.assertEqual(self.sizes(partition.partition(requests, 3)), [450, 420, 430])
        self.environment(RUNAI_STREAMER_PARTITION_POLICY="files")
        self.assertEqual(self.sizes(partition.partition(requests, 3)), [450, 400, 450])
        self.environment(RUNAI_STREAMER_PARTITION_POLICY="tensors")
        with self.assertRaisesRegex(ValueError, "Invalid partition policy: tensors"):
            partition.partition(requests, 3)
        self.assertRaisesRegex(ValueError, "number of ranks is 0", partition.partition_by_spans, [], 0)
        self.assertRaisesRegex(ValueError, "rank is 3", partition.partition_span_for_rank, [], 3, 3)

    def test_every_chunk_once_and_nobody_far_behind(self):
        generator = random.Random(3)
        for _ in range(200):
            files = [[generator.choice([0, generator.randrange(1000)])
                      for _ in range(generator.randrange(6))] for _ in range(generator.randrange(6))]
            requests, count = self.requests(files), 1 + generator.randrange(8)
            largest = max((size for one in files for size in one), default=0)
            wanted = {(one.id, index): (one.path, offset, size) for one in requests
                      for index, (offset, size) in enumerate(zip(one.offsets, one.sizes))}
            for divide in (partition.partition_by_chunks, partition.partition_by_files,
                           partition.partition_by_spans):
                shares = divide(requests, count)
                self.assertEqual(len(shares), count)
                found = [(origin[:2], (one.path, one.offsets[i], one.sizes[i])) for share in shares
                         for one, origins in share for i, origin in origins.items()]
                self.assertEqual(sorted(found), sorted(wanted.items()))
            sizes = self.sizes(partition.partition_by_chunks(requests, count))
            self.assertLessEqual(max(sizes) - min(sizes), largest)
            sizes = self.sizes(partition.partition_by_spans(requests, count))
            self.assertLessEqual(max(sizes), sum(sizes) / count + largest)
            span = partition.partition_span_for_rank(requests, count, 0)
            self.assertEqual((span.sizes_by_rank, span.total_chunks), (sizes, len(wanted)))

    def test_what_follows_each_other_is_one_read(self):
        requests = [FileChunks(4, "/a", 0, [10, 20]), FileChunks(5, "/a", 30, [5, 0]),
                    FileChunks(6, "/a", 40, [1])]
        (share,) = partition.partition_by_chunks(requests, 1)
        ((one, origins),) = share
        self.assertEqual((one.offsets, one.sizes), ([0, 10, 30, 35, 40], [10, 20, 5, 0, 1]))
        self.assertEqual(list(origins.values()),
                         [(4, 0, 10), (4, 1, 20), (5, 0, 5), (5, 1, 0), (6, 0, 1)])
        self.assertEqual(partition.count_runs(share), 2)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:], verbosity=2)
