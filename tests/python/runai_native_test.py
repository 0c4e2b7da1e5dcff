#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The native functions of the Run:ai Model Streamer, from Python: runai_native_test.py SOURCE_ROOT

Those of 0.15 by wrappers of the tests' own, as the package has those of 0.17 only.
"""
import ctypes
import mmap
import os
import subprocess
import sys
import time
import unittest

ROOT = sys.argv[1]
for folder in ("capi/python", "capi/runai/python", "tests/support"):
    sys.path.insert(0, os.path.join(ROOT, folder))

from runai_case import Case  # noqa: E402
from runai_model_streamer import libstreamer as module  # noqa: E402
from runai_model_streamer.libstreamer import libstreamer as native  # noqa: E402
from runai_model_streamer.s3_utils.s3_utils import S3Credentials  # noqa: E402
from runai_old import OldFunctions  # noqa: E402

old = OldFunctions(module.STREAMER_LIBRARY)


class Before016(Case):
    def responses(self, streamer, count):
        found = []
        for _ in range(count):
            file_index, index = ctypes.c_uint(9), ctypes.c_uint(9)
            code = old.dll.runai_response(streamer, ctypes.byref(file_index),
                                             ctypes.byref(index))
            found.append((code, file_index.value, index.value))
        return sorted(found)

    def test_two_files_into_one_buffer(self):
        contents = [bytes(range(100)), bytes(range(100, 180))]
        for i, content in enumerate(contents):
            with open(self.path(str(i)), "wb") as out:
                out.write(content)
        streamer = old.runai_start()
        for _ in range(2):  # a handle is used again
            buffer = bytearray(60)
            old.runai_request(streamer, [self.path("0"), self.path("1")], [10, 0], [40, 20],
                                 [memoryview(buffer)], [[10, 0, 30], [20]])
            self.assertEqual(self.responses(streamer, 4),
                             [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0)])
            self.assertEqual(bytes(buffer), contents[0][10:50] + contents[1][:20])
            self.assertIsNone(old.runai_response(streamer))
        old.runai_end(streamer)
        old.runai_end(None)

    def test_codes(self):
        with open(self.path("f"), "wb") as out:
            out.write(bytes(5000))
        streamer = old.runai_start()
        buffer = memoryview(bytearray(10_000))
        path = self.path("f")
        self.assertIsNone(old.runai_response(streamer))
        for paths, sizes, ranges, words in (
                ([path], [0], [[1]], "Empty request parameters"),
                ([path], [10], [[]], "Empty request parameters"),
                ([path], [10], [[11]], "Invalid request parameters"),
                ([path, "s3://b/k"], [10, 10], [[10], [10]], "Invalid request parameters"),
                ([], [], [], "Empty request parameters")):
            with self.subTest(words=words), self.assertRaisesRegex(ValueError, words):
                old.runai_request(streamer, paths, [0] * len(paths), sizes, [buffer], ranges)
        # A missing file fails its own ranges, and so does a range beyond the end.
        old.runai_request(streamer, [path, "/nowhere/x"], [4900, 0], [200, 10], [buffer],
                             [[50, 50, 100], [5, 5]])
        with self.assertRaisesRegex(ValueError, "handling previous request"):
            old.runai_request(streamer, [path], [0], [1], [buffer], [[1]])
        self.assertEqual(self.responses(streamer, 5),
                         [(0, 0, 0), (0, 0, 1), (2, 1, 0), (2, 1, 1), (3, 0, 2)])
        self.assertEqual(self.responses(streamer, 1)[0][0], 1)
        self.assertEqual(old.dll.runai_response(None, None, None), 7)
        texts = [old.runai_response_str(code) for code in range(16)]
        self.assertEqual(texts[0], b"Request sent successfuly")
        self.assertIn(b"Azure", texts[14])
        self.assertEqual(texts[15], b"Invalid response code")
        old.runai_end(streamer)
        for name, value in (("RUNAI_STREAMER_CONCURRENCY", "0"), ("RUNAI_STREAMER_CONCURRENCY", ""),
                            ("RUNAI_STREAMER_CHUNK_BYTESIZE", "x")):
            self.environment(**{name: value})
            with self.assertRaisesRegex(ValueError, "Invalid request parameters"):
                old.runai_start()
            os.environ.pop(name)

    def test_what_is_small_comes_in_order(self):
        for i in range(4):
            with open(self.path(str(i)), "wb") as out:
                out.write(bytes([i]) * 100)
        streamer = old.runai_start()
        for _ in range(20):
            buffer = mmap.mmap(-1, 400, mmap.MAP_ANONYMOUS | mmap.MAP_PRIVATE)
            old.runai_request(streamer, [self.path(str(i)) for i in range(4)], [0] * 4, [100] * 4,
                                 [buffer], [[50, 50]] * 4)
            self.assertEqual([old.runai_response(streamer) for _ in range(8)],
                             [(i, j) for i in range(4) for j in range(2)])
            self.assertEqual(buffer[:], b"".join(bytes([i]) * 100 for i in range(4)))
        old.runai_end(streamer)

    def test_ranges_of_all_sorts(self):
        content = bytes(range(200))
        with open(self.path("f"), "wb") as out:
            out.write(content)
        streamer = old.runai_start()
        path, buffer = self.path("f"), bytearray(60)
        # The same file twice, fewer ranges than bytes, and ranges without bytes.
        old.runai_request(streamer, [path, path], [0, 100], [30, 30], [memoryview(buffer)],
                             [[0, 10, 0], [20]])
        self.assertEqual(self.responses(streamer, 4), [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0)])
        self.assertEqual(buffer[:10] + buffer[30:50], content[:10] + content[100:120])
        self.assertEqual(buffer[50:], bytes(10))
        self.assertIsNone(old.runai_response(streamer))
        # A folder, and a bucket without a key, which is a path.
        for wrong, code in ((self.folder.name, 2), ("s3://bucket", 2), ("s3://bucket/", 2),
                            ("S3://bucket/key", 2)):
            old.runai_request(streamer, [wrong], [0], [10], [memoryview(buffer)], [[10]])
            self.assertEqual(self.responses(streamer, 1), [(code, 0, 0)])
        # After an error it is as good as new.
        old.runai_request(streamer, [path], [0], [10], [memoryview(buffer)], [[10]])
        self.assertEqual(self.responses(streamer, 1), [(0, 0, 0)])
        index = ctypes.c_uint()
        self.assertEqual(old.dll.runai_response(streamer, ctypes.byref(index), None), 7)
        self.assertEqual(old.dll.runai_start(None), 7)
        for code in (-1, 15, 99):
            self.assertEqual(old.runai_response_str(code), b"Invalid response code")
        old.runai_end(streamer)

    def test_ending_drops_what_is_under_way(self):
        with open(self.path("f"), "wb") as out:
            out.truncate(64 << 20)
        self.environment(STREAMER_MAX_BANDWIDTH="1MB")  # a minute's work
        streamer = old.runai_start()
        buffer = bytearray(64 << 20)
        old.runai_request(streamer, [self.path("f")], [0], [64 << 20], [memoryview(buffer)],
                             [[1 << 20] * 64])
        started = time.monotonic()
        old.runai_end(streamer)
        self.assertLess(time.monotonic() - started, 40)


class Since016(Case):
    def setUp(self):
        super().setUp()
        self.content = bytes(range(200))
        with open(self.path("f"), "wb") as out:
            out.write(self.content)
        self.streamer = native.runai_start()
        self.addCleanup(native.runai_end, self.streamer)

    def responses(self, count):
        return [native.runai_response(self.streamer) for _ in range(count)]

    def test_submissions_side_by_side_and_ranges_anywhere(self):
        buffer = ctypes.create_string_buffer(60)
        base, path = ctypes.addressof(buffer), self.path("f")
        first = native.runai_request(self.streamer, [path, path], [2, 1], [100, 0, 7], [10, 5, 0],
                                     [base + 5, base, base])
        second = native.runai_request(self.streamer, [path], [1], [50], [30], [base + 30])
        found = sorted(self.responses(4))
        self.assertEqual([(code, one, file, index) for code, one, file, index, _ in found],
                         [(0, first, 0, 0), (0, first, 0, 1), (0, first, 1, 0), (0, second, 0, 0)])
        self.assertEqual(sum(is_last for *_, is_last in found), 2)
        self.assertEqual(buffer.raw, self.content[:5] + self.content[100:110] + bytes(15) +
                         self.content[50:80])
        self.assertIsNone(native.runai_response(self.streamer))
        with self.assertRaisesRegex(TimeoutError, "after 20 ms"):
            native.runai_response(self.streamer, 20)

    def test_arguments_that_ctypes_would_wrap_around(self):
        path = self.path("f")
        for arguments, words in (
                (([path, path], [1], [0], [4], [1]), "num_ranges has 1 entries"),
                (([path], [2], [0], [4, 4], [1, 5]), "must be parallel"),
                (([path], [3], [0], [4], [1]), r"sum\(num_ranges\) is 3"),
                (([path, path], [-1, 1], [], [], []), "every num_ranges value"),
                (([path], [1], [0], [-1], [1]), "every range size"),
                (([path], [1], [1 << 64], [4], [1]), "every range offset"),
                (([path], [1], [0], [4], [-1]), "every range destination")):
            with self.subTest(words=words), self.assertRaisesRegex(ValueError, words):
                native.runai_request(self.streamer, *arguments)
        with self.assertRaisesRegex(ValueError, "Invalid request parameters"):
            native.runai_request(self.streamer, [path], [1], [(1 << 64) - 3], [8], [1 << 20])
        self.assertIsNone(native.runai_response(self.streamer))

    def test_a_failed_range_is_a_response(self):
        buffer = ctypes.create_string_buffer(60)
        native.runai_request(self.streamer, [self.path("f"), self.path("no")], [2, 1], [195, 0, 0],
                             [10, 10, 5], [ctypes.addressof(buffer) + at for at in (0, 20, 40)])
        found = sorted(self.responses(3))
        self.assertEqual([(code, file, index) for code, _, file, index, _ in found],
                         [(0, 0, 1), (native.FILE_ACCESS_ERROR_CODE, 1, 0), (3, 0, 0)])
        self.assertEqual(native.runai_response_str(3), b"End of file reached")

    def test_listing_measuring_credentials(self):
        found = []
        native.runai_list_files(self.streamer, self.folder.name,
                                lambda path, size: found.append((path, size)))
        self.assertEqual(found, [(self.path("f"), 200)])
        for patterns, count in ((["*"], 1), (["f"], 0), (["*/f"], 1), ([self.path("f")], 1)):
            found.clear()
            native.runai_list_files(self.streamer, self.folder.name, lambda *_: found.append(1),
                                    allow_patterns=patterns)
            self.assertEqual(len(found), count, patterns)

        class Oops(Exception):
            pass

        def fail(path, size):
            raise Oops(path)

        with self.assertRaises(Oops):
            native.runai_list_files(self.streamer, self.folder.name, fail)
        with self.assertRaisesRegex(ValueError, "runai_list_files failed: b'File access error'"):
            native.runai_list_files(self.streamer, self.path("none"), fail)
        block = native.runai_probe_direct_block_size(self.streamer, [self.path("f"), "/nowhere"])
        self.assertTrue(block > 0 and block & (block - 1) == 0)
        self.assertGreater(native.runai_probe_direct_block_size(self.streamer, ["/nowhere"]), 0)
        native.runai_set_credentials(self.streamer)
        native.runai_set_credentials(self.streamer, S3Credentials("KEY", "CANARY"))
        native.runai_set_credentials(self.streamer, S3Credentials("KEY", "CANARY"))
        with self.assertRaisesRegex(ValueError, "Could not set credentials in libstreamer due to: "
                                                "b'Credentials were already set"):
            native.runai_set_credentials(self.streamer, S3Credentials("KEY", "CANARY2"))

    def test_the_names_of_the_module(self):
        self.assertTrue(os.path.exists(module.STREAMER_LIBRARY))
        self.assertEqual(module.dll.lib._name, module.STREAMER_LIBRARY)
        for name in ("start", "end", "set_credentials", "request", "response", "response_str",
                     "probe_direct_block_size", "list_files"):
            self.assertTrue(callable(getattr(module.dll, "fn_runai_" + name)))
        device = module.RunaiFileStreamerDevice(module.RUNAI_FILE_STREAMER_DEVICE_CUDA, 3)
        self.assertEqual((device.type, device.id, ctypes.sizeof(device)), (1, 3, 8))
        self.assertEqual((native.SUCCESS_ERROR_CODE, native.FINISHED_ERROR_CODE,
                          native.FILE_ACCESS_ERROR_CODE, native.TIMED_OUT_ERROR_CODE), (0, 1, 2, 16))

    def test_the_cause_is_a_line_on_stderr(self):
        script = (
            "import sys\n"
            "from runai_model_streamer.libstreamer import libstreamer as native\n"
            "streamer = native.runai_start()\n"
            "native.runai_request(streamer, [sys.argv[1]], [1], [0], [1], [1])\n"
            "assert native.runai_response(streamer)[0] == 2\n")
        for level, count in ((None, 1), ("error", 1), ("OFF", 0)):
            environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
            for name in ("STREAMER_LOG_LEVEL", "RUNAI_STREAMER_LOG_LEVEL", "STREAMER_LOG_FILE"):
                environment.pop(name, None)
            if level:
                environment["STREAMER_LOG_LEVEL"] = level
            done = subprocess.run([sys.executable, "-c", script, self.path("none")], env=environment,
                                  stderr=subprocess.PIPE, text=True, timeout=300, check=True)
            lines = [line for line in done.stderr.splitlines() if self.path("none") in line]
            self.assertEqual(len(lines), count, done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
