#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ranks that share loads over torch.distributed: distributed_test.py SOURCE_ROOT (STREAMER_LIBRARY
is set)"""
import logging
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import time
import unittest
import unittest.mock

ROOT = sys.argv[1]
for folder in ("tests/support", "capi/python", "capi/runai/python"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import libstreamer  # noqa: E402
import torch  # noqa: E402
from libstreamer.engine_weights import Options, Weights  # noqa: E402
from runai_case import Case, bytes_of, expected, random_tensors, seen  # noqa: E402
from runai_model_streamer import FileChunks, SafetensorsStreamer  # noqa: E402
from runai_model_streamer.distributed_streamer.distributed_streamer import \
    DistributedStreamer  # noqa: E402

FORK = multiprocessing.get_context("fork")


LEFT_OPEN = """
import sys
import libstreamer
import torch.distributed
torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[2],
                                     rank=int(sys.argv[1]), world_size=2)
sys.kept = libstreamer.start(sys.argv[3:], group=True, memory_limit="2MB", settings={
    "debug.distributed_buffer_bytes": "1MiB", "distributed_timeout_s": 20})
next(sys.kept)
"""


class OddError(Exception):
    code = "of its own"


def _fail_oddly(_):
    raise OddError("odd")


class Ranks(Case):
    """Each test has a few files, of which some tensors have no bytes and some files no tensors."""

    def setUp(self):
        super().setUp()
        generator = random.Random(7)
        self.tensors = []
        self.paths = []
        for number in range(5):
            own = random_tensors(generator, f"f{number}") if number != 2 else []
            own.append((f"f{number}.large", "U8", [300_007 * number],
                        generator.randbytes(300_007 * number)))
            self.tensors += own
            self.paths.append(self.file(f"{number}.safetensors", own))
        self.bytes = sum(len(data) for *_, data in self.tensors)
        self.environment(RUNAI_STREAMER_DIST="1", RUNAI_STREAMER_DIST_TIMEOUT="20",
                         RUNAI_STREAMER_DIST_BUFFER_MIN_BYTESIZE=1 << 20)

    def on_ranks(self, count, body, expected_exits=None):
        """What body(rank) returned, by rank; an exception becomes its text."""
        store = self.path(f"store.{time.monotonic_ns()}")

        def run(rank, pipe):
            torch.distributed.init_process_group("gloo", init_method="file://" + store, rank=rank,
                                                 world_size=count)
            try:
                pipe.send(body(rank))
            except Exception as error:
                pipe.send(f"{type(error).__name__}: {error}")
            pipe.close()
            os._exit(0)

        children, pipes = [], []
        for rank in range(count):
            ours, theirs = FORK.Pipe()
            children.append(FORK.Process(target=run, args=(rank, theirs)))
            children[-1].start()
            theirs.close()
            pipes.append(ours)
        found = []
        for rank, (child, pipe) in enumerate(zip(children, pipes)):
            try:
                found.append(pipe.recv() if pipe.poll(60) else "nothing within a minute")
            except EOFError:
                found.append("ended without a word")
            child.join(10)
            wanted = (expected_exits or {}).get(rank, 0)
            self.assertEqual(child.exitcode, wanted, found)
        return found

    def check(self, found, tensors=None):
        for of_rank in found:
            self.assertIsInstance(of_rank, list, of_rank)
            self.assertEqual(sorted(of_rank), sorted(expected(tensors or self.tensors)))
            self.assertEqual([one[0] for one in of_rank], [one[0] for one in found[0]])


class LibstreamerOnRanks(Ranks):
    def test_ranks_that_leave_a_loop_may_stream_again(self):
        size = 1 << 20  # a round has room for one of them
        paths = [self.file(f"left.{i}.safetensors",
                           [(f"{8 * i + j}", "U8", [size], bytes([8 * i + j]) * size)
                            for j in range(8)]) for i in range(8)]

        def body(rank):
            counts = []
            with SafetensorsStreamer() as streamer:
                for leave_at in (1, 3 + 5 * rank, 40, 64):
                    streamer.stream_files(paths, is_distributed=True)
                    count = 0
                    for name, tensor in streamer.get_tensors():
                        self.assertEqual(tensor.unique().tolist(), [int(name)])
                        count += 1
                        if count == leave_at:
                            break
                    counts.append(count)
            return counts

        self.assertEqual(self.on_ranks(2, body), [[1, 3, 40, 64], [1, 8, 40, 64]])

    def test_a_buffer_of_any_size_is_taken(self):
        for size in (0, 10240, 1 << 40):
            self.environment(RUNAI_STREAMER_DIST_BUFFER_MIN_BYTESIZE=size)

            def body(_):
                with SafetensorsStreamer() as streamer:
                    streamer.stream_files(self.paths, is_distributed=True)
                    return sorted(name for name, _ in streamer.get_tensors())

            for found in self.on_ranks(2, body):
                self.assertEqual(found, sorted(t[0] for t in self.tensors), size)

    def test_every_rank_gets_everything_and_reads_a_share(self):
        for count in (2, 4):
            def body(_rank):
                group = libstreamer.TorchRanks()
                running = libstreamer.start(self.paths, group=group, settings={
                    "debug.distributed_buffer_bytes": "1MiB", "file_io": "buffered"})
                tensors = [seen(name, tensor.torch()) for name, tensor in running]
                stats = running.stats()
                running.close()
                return tensors, stats
            found = self.on_ranks(count, body)
            self.assertIsInstance(found[0], tuple, found)
            self.check([tensors for tensors, _ in found])
            self.assertEqual(sum(stats["bytes_read"] for _, stats in found), self.bytes)
            self.assertEqual([stats["rank"] for _, stats in found], list(range(count)))
            for _, stats in found:
                self.assertEqual(stats["bytes_received"], self.bytes - stats["bytes_read"])

    def test_slices_of_a_matrix(self):
        content = random.Random(3).randbytes(64 * 4096)
        path = self.file("matrix", [("rows", "U8", [64, 4096], content),
                                    ("columns", "U8", [64, 4096], content[::-1])])

        def body(rank):
            slices = {"rows": (0, rank * 16, rank * 16 + 16),
                      "columns": (1, rank * 1024, rank * 1024 + 1024)}
            running = libstreamer.start(path, group=True, slices=slices,
                                        settings={"file_io": "buffered"})
            return ({name: bytes_of(tensor.torch()) for name, tensor in running}, running.stats())
        found = self.on_ranks(4, body)
        whole = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(64, 4096)
        other = torch.frombuffer(bytearray(content[::-1]), dtype=torch.uint8).reshape(64, 4096)
        for rank, (tensors, stats) in enumerate(found):
            self.assertEqual(tensors["rows"], bytes_of(whole[rank * 16:rank * 16 + 16]))
            self.assertEqual(tensors["columns"],
                             bytes_of(other[:, rank * 1024:rank * 1024 + 1024]))
            self.assertLessEqual(stats["bytes_received"], 2 * 16 * 4096)
        self.assertEqual(sum(stats["bytes_read"] for _, stats in found), 2 * 64 * 4096)

    def test_into_memory_of_each_rank(self):
        def body(_rank):
            memory = {name: torch.zeros(shape, dtype=torch.uint8)
                      for name, dtype, shape, _ in self.tensors if dtype == "U8"}
            libstreamer.load_into(memory, self.paths, strict=False, group=True)
            return {name: bytes_of(tensor) for name, tensor in memory.items()}
        for of_rank in self.on_ranks(2, body):
            self.assertEqual(of_rank, {name: data for name, dtype, _, data in self.tensors
                                       if dtype == "U8"})

    def test_what_fails_before_the_load_fails_on_all(self):
        cases = [
            (lambda rank: libstreamer.start(self.path("nobody") if rank == 1 else self.paths,
                                            group=True), "rank 1: .*nobody"),
            (lambda rank: libstreamer.start(self.paths, select="x" if rank == 1 else None,
                                            group=True), "rank 1: .*no tensor 'x'"),
            (lambda rank: libstreamer.start(
                self.paths, group=True,
                settings={"debug.chunk_bytes": "no" if rank == 1 else "auto"}),
             "rank 1: .*chunk_bytes"),
            (lambda rank: libstreamer.start(self.paths[:4 if rank == 1 else 5], group=True),
             "rank 1: a different checkpoint"),
            (lambda rank: libstreamer.start(self.paths, group=True, memory_limit=(
                5000 if rank == 1 else None)), "rank 1: .*memory_limit"),
            (lambda rank: libstreamer.load_into(
                {"f1.large": bytearray(300_007)}, self.path("nobody") if rank == 1 else self.paths,
                strict=False, group=True), "rank 1: .*nobody"),
            (lambda rank: libstreamer.load_into(
                {"f1.large": bytearray(300_007)}, self.paths, strict=rank == 1, group=True),
             "rank 1: .*names differ"),
            (lambda rank: libstreamer.start(self.paths, group=True, stream=5 if rank == 1 else 0),
             "rank 1: a stream is set"),
            (lambda rank: libstreamer.start(self.paths, group=True, first=5 if rank == 1 else ()),
             "rank 1: "),
            (lambda rank: libstreamer.start(self.paths, group=True, settings=5 if rank == 1 else None),
             "rank 1: "),
            (lambda rank: libstreamer.load(self.paths, group=True,
                                           framework="nonsense" if rank == 1 else None),
             "rank 1: .*nonsense"),
            (lambda rank: libstreamer.load_into(
                {"f1.large": bytearray(300_007)}, self.paths, strict=False, group=True,
                **({"fisrt": "x"} if rank == 1 else {})), "rank 1: .*fisrt"),
            (lambda rank: libstreamer.start(
                self.paths, group=True, select=_fail_oddly if rank == 1 else None), "rank 1: odd"),
        ]
        for number, (start, pattern) in enumerate(cases):
            with self.subTest(number=number):
                found = self.on_ranks(3, lambda rank: len(list(start(rank))))
                for rank, text in enumerate(found):
                    self.assertRegex(text, "Error: ")
                    self.assertNotIn("no answer", text)
                    if rank == 1:
                        self.assertNotRegex(text, "^ArgumentError")
                    else:
                        self.assertRegex(text, pattern)

    def test_what_fails_in_an_engine_before_the_shared_load_fails_on_all(self):
        os.mkdir(self.path("model"))
        folder = os.path.dirname(self.file("model/model.safetensors", self.tensors))

        def consume(rank, tensors):
            for number, (_name, tensor) in enumerate(tensors):
                if rank == 1 and number == 3:
                    raise KeyError("of model code")
                torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)

        def body(rank, is_opened):
            options = Options.of({"distributed_timeout_s": 50})
            weights = Weights.open(
                self.path("nobody") if rank == 1 and not is_opened else folder, options,
                group=torch.distributed.distributed_c10d._get_default_group(),
                logger=logging.getLogger("test"), bar=lambda total: unittest.mock.Mock())
            weights.direct(lambda tensors: consume(rank, tensors))
        for is_opened, pattern in ((False, "rank 1: .*nobody"), (True, "rank 1: .*of model code")):
            began = time.monotonic()
            found = self.on_ranks(2, lambda rank: body(rank, is_opened))  # noqa: B023
            self.assertRegex(found[0], pattern)
            self.assertRegex(found[1], "nobody|KeyError")
            self.assertLess(time.monotonic() - began, 30)

    def test_a_rank_that_leaves_or_dies(self):
        for dies in (False, True):
            def body(rank):
                running = libstreamer.start(self.paths, group=True, settings={
                    "max_bandwidth": "300kB", "debug.distributed_buffer_bytes": "1MiB",
                    "distributed_timeout_s": 10})
                if rank == 1:
                    next(iter(running))
                    if dies:
                        os.kill(os.getpid(), signal.SIGKILL)
                    running.close()
                    return "left"
                return [name for name, _ in running]
            started = time.monotonic()
            found = self.on_ranks(3, body, {1: -signal.SIGKILL} if dies else None)
            self.assertLess(time.monotonic() - started, 60)
            for rank in (0, 2):
                # A rank that failed for the dead one is gone too, and may be the first that is missed.
                self.assertRegex(found[rank], "Error: .*rank [012]" if dies else
                                 "CancelledError: rank 1: the load was cancelled")
            if dies:
                self.assertRegex(found[0] + found[2], "rank 1")

    def test_ctrl_c_while_the_others_are_waited_for(self):
        is_interrupted = FORK.Event()

        def body(rank):
            if rank == 1:  # does not come before that
                return "waited" if is_interrupted.wait(40) else "waited in vain"
            signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            try:
                libstreamer.start(self.paths, group=True, settings={"distributed_timeout_s": 50})
            except KeyboardInterrupt:
                with self.assertRaisesRegex(libstreamer.InvalidArgumentError, "make a new group"):
                    libstreamer.start(self.paths, group=True)
                is_interrupted.set()
                return "interrupted"
            return "loaded"
        self.assertEqual(self.on_ranks(2, body), ["interrupted", "waited"])

    def test_one_load_at_a_time_over_a_group(self):
        def body(_rank):
            limit = {"memory_limit": "2MB", "settings": {"debug.distributed_buffer_bytes": "1MiB"}}
            first = libstreamer.start(self.paths, group=True, **limit)
            try:
                # The other ranks are not told of it: they are in the middle of the first.
                libstreamer.start(self.path("nobody"), group=True)
            except libstreamer.InvalidArgumentError as error:
                said = str(error)
            names = [sorted(name for name, _ in first)]
            # Ended, though not closed.
            names.append(sorted(name for name, _ in libstreamer.load(self.paths, group=True)))
            return said, names
        everything = sorted(tensor[0] for tensor in self.tensors)
        for found in self.on_ranks(2, body):
            self.assertIsInstance(found, tuple, found)
            self.assertRegex(found[0], "in the middle of another load: close that one")
            self.assertEqual(found[1], [everything, everything])

    def test_an_open_load_does_not_end_the_process_at_its_exit(self):
        program = self.path("left_open.py")
        with open(program, "w", encoding="utf-8") as file:
            file.write(LEFT_OPEN)
        for number in range(3):
            running = [subprocess.Popen(
                [sys.executable, program, str(rank), self.path(f"meeting.{number}"), *self.paths],
                env={**os.environ, "PYTHONPATH": os.path.join(ROOT, "capi/python")})
                for rank in range(2)]
            self.assertEqual([one.wait(60) for one in running], [0, 0])


class DropInOnRanks(Ranks):
    def stream(self, paths=None, **options):
        with SafetensorsStreamer() as streamer:
            streamer.stream_files(paths or self.paths, is_distributed=True, **options)
            return [seen(name, tensor) for name, tensor in streamer.get_tensors()]

    def test_every_rank_yields_every_tensor_in_the_same_order(self):
        for count in (2, 4):
            for policy in ("chunks", "files"):
                with self.subTest(count=count, policy=policy):
                    self.environment(RUNAI_STREAMER_PARTITION_POLICY=policy)
                    self.check(self.on_ranks(count, lambda rank: self.stream()))

    def test_a_limit_and_what_is_kept(self):
        def body(_rank):
            with SafetensorsStreamer() as streamer:
                streamer.stream_files(self.paths, is_distributed=True)
                kept = list(streamer.get_tensors())
                window = streamer.file_streamer.ring_info()[2]
            return [seen(name, tensor) for name, tensor in kept], window
        largest = max(len(data) for *_, data in self.tensors)
        # It is the machine's, and never less than what one rank must have.
        for limit in (2_000_000, 1):
            self.environment(RUNAI_STREAMER_MEMORY_LIMIT=limit)
            found = self.on_ranks(2, body)
            self.assertIsInstance(found[0], tuple, found)
            self.check([tensors for tensors, _ in found])
            for _, window in found:
                self.assertGreaterEqual(window, largest)
                self.assertLessEqual(window, max(limit // 2, largest + 100_000))

    def test_chunks_of_files_and_several_requests(self):
        def body(_rank):
            found = []
            with DistributedStreamer() as streamer:
                for _ in range(2):
                    requests = [FileChunks.contiguous(number, path, 3, [5, 0, 2])
                                for number, path in enumerate(self.paths)]
                    streamer.stream_files(requests, None, "cpu", True)
                    self.assertTrue(streamer.is_distributed)
                    found.append([(file, index, bytes_of(chunk))
                                  for file, index, chunk in streamer.get_chunks()])
                streamer.stream_files([], None, "cpu", True)
                self.assertEqual(list(streamer.get_chunks()), [])
            return found
        wanted = []
        for number, path in enumerate(self.paths):
            with open(path, "rb") as file:
                content = file.read()
            wanted += [(number, 0, content[3:8]), (number, 1, b""), (number, 2, content[8:10])]
        found = self.on_ranks(2, body)
        for of_rank in found:
            self.assertIsInstance(of_rank, list, of_rank)
            for once in of_rank:
                self.assertEqual(sorted(once), wanted)
        self.assertEqual(found[0], found[1])

    def test_a_rank_that_fails_with_its_last_tensor_keeps_no_other(self):
        is_done = FORK.Event()

        def body(rank):
            count = 0
            try:
                with SafetensorsStreamer() as streamer:
                    streamer.stream_files(self.paths, is_distributed=True)
                    for count, _ in enumerate(streamer.get_tensors(), 1):
                        if rank == 1 and count == len(self.tensors):
                            raise KeyError("of the caller")
            except KeyError:  # and lives on
                return "waited" if is_done.wait(15) else "waited in vain"  # the timeout is 20 s
            is_done.set()
            return count
        self.assertEqual(self.on_ranks(2, body), [len(self.tensors), "waited"])

    def test_names_that_are_wanted(self):
        names = [name for name, *_ in self.tensors][::2]
        wanted = [tensor for tensor in self.tensors if tensor[0] in names]
        self.check(self.on_ranks(2, lambda rank: self.stream(tensor_names=names)), wanted)

    def test_when_ranks_do_not_share(self):
        def only_first(rank):
            found = self.stream() if rank == 0 else []
            return len(found), os.environ.get("RUNAI_STREAMER_PROCESS_GROUP_SIZE")
        for wish in ("0", "auto"):
            with self.subTest(wish=wish):
                self.environment(RUNAI_STREAMER_DIST=wish)
                found = self.on_ranks(2, only_first)
                self.assertEqual(found, [(len(self.tensors), "2"), (0, None)])
        self.environment(RUNAI_STREAMER_DIST="1", RUNAI_STREAMER_PARTITION_POLICY="nonsense")
        for text in self.on_ranks(2, lambda rank: self.stream()):
            self.assertEqual(text, "ValueError: Invalid partition policy: nonsense")

    def test_ranks_of_a_host_and_of_all(self):
        def body(rank):
            read = []
            end = libstreamer.Load.close

            def count(load):
                read.append(load.stats().get("bytes_read", 0))
                end(load)
            with unittest.mock.patch.object(socket, "gethostname", lambda: f"host{rank % 2}"), \
                    unittest.mock.patch.object(libstreamer.Load, "close", count):
                found = self.stream()
            return found, max(read), os.environ["RUNAI_STREAMER_PROCESS_GROUP_SIZE"]
        for variable, times in (("0", 2), ("1", 1)):
            self.environment(RUNAI_STREAMER_DIST_GLOBAL=variable, STREAMER_FILE_IO="buffered")
            found = self.on_ranks(4, body)
            self.assertIsInstance(found[0], tuple, found)
            self.assertEqual(sum(read for _, read, _ in found), times * self.bytes)
            self.assertEqual({size for *_, size in found}, {"2"})
            for tensors, *_ in found:
                self.assertEqual(sorted(tensors), sorted(expected(self.tensors)))

    def test_an_error_of_one_rank(self):
        bad = self.path("bad.safetensors")
        with open(bad, "wb") as out:
            out.write(b"\x05\0\0\0\0\0\0\0{oops")

        def body(rank):
            return self.stream([bad] if rank == 1 else self.paths)
        for rank, text in enumerate(self.on_ranks(3, body)):
            self.assertRegex(text, "^ValueError: .*not valid JSON")
            if rank != 1:
                self.assertIn("rank 1: ", text)

    def test_policies_and_places_as_the_original_has_them(self):
        def body(rank):
            with SafetensorsStreamer() as streamer:
                streamer.stream_files(self.paths, is_distributed=True)
                self.assertTrue(streamer.file_streamer.is_distributed)
                found = list(streamer.get_tensors())
                rank_there, _, size = streamer.file_streamer.ring_info()
            places = {tensor.data_ptr() % 256 for _, tensor in found if tensor.numel()}
            return [seen(*one) for one in found], places, rank_there == rank and size > 0
        for policy in ("spans", "chunks", "files"):
            self.environment(RUNAI_STREAMER_PARTITION_POLICY=policy, RUNAI_STREAMER_CUDA_ALIGNMENT=200)
            for found in self.on_ranks(2, body):
                self.assertIsInstance(found, tuple, found)
                self.assertEqual(sorted(found[0]), sorted(expected(self.tensors)))
                self.assertEqual(found[1:], ({0}, True))
        self.environment(RUNAI_STREAMER_CUDA_ALIGNMENT=1 << 21)
        for text in self.on_ranks(2, lambda rank: self.stream()):
            self.assertRegex(text, "ValueError: Invalid value for RUNAI_STREAMER_CUDA_ALIGNMENT: "
                                   "2097152")

    def test_memory_is_decided_upon_together(self):
        from runai_model_streamer.distributed_streamer import distributed_streamer

        def body(rank):
            # As if the device of rank 1 alone had nothing left.
            lack = libstreamer.MemoryLimitError("cuda:1 has 5 bytes free", kind="memory_limit",
                                                code=103) if rank == 1 else None
            with unittest.mock.patch.object(distributed_streamer, "_lack_of_memory",
                                            lambda device: lack), DistributedStreamer() as streamer:
                streamer.set_is_distributed(True, "cpu")
                return streamer.is_distributed
        self.assertEqual(self.on_ranks(3, body), [False, False, False])


if __name__ == "__main__":
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        sys.exit("this torch has no gloo")
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
