#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the plugins for vLLM and SGLang are made of, without these engines:
engine_test.py SOURCE_ROOT (STREAMER_LIBRARY is set)"""
import hashlib
import json
import logging
import os
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = sys.argv[1]
sys.path.insert(0, os.path.join(ROOT, "capi", "python"))

import torch  # noqa: E402

import libstreamer  # noqa: E402
from libstreamer import engine_weights  # noqa: E402
from libstreamer.deferred import DeferredTensor  # noqa: E402
from libstreamer.engine_weights import Options, Weights  # noqa: E402

DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64"}


def write(path, tensors):
    header, offset, body = {}, 0, b""
    for name, tensor in tensors.items():
        flat = tensor.contiguous().view(-1).view(torch.uint8) if tensor.numel() else torch.empty(0)
        data = flat.numpy().tobytes()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [offset, offset + len(data)]}
        offset, body = offset + len(data), body + data
    text = json.dumps(header).encode()
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + body)


def some(*shape, dtype=torch.float32, seed=0):
    return (torch.arange(0, torch.Size(shape).numel()) + 1000 * seed).to(dtype).view(shape)


class Bar:
    def __init__(self, total):
        self.total, self.done, self.is_closed = total, 0, False

    def update(self, count):
        self.done += count

    def close(self):
        self.is_closed = True


class Log(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


class InFolder(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name
        self.log = Log()
        self.logger = logging.getLogger(self.id())
        self.logger.setLevel(logging.INFO)
        self.logger.addHandler(self.log)
        self.logger.propagate = False

    def path(self, name="model.safetensors"):
        return os.path.join(self.folder, name)

    def weights(self, **extra):
        options = Options.of(extra)
        self.bars = []

        def bar(total):
            self.bars.append(Bar(total))
            return self.bars[-1]

        return Weights(options.open(self.folder), self.folder, options, logger=self.logger, bar=bar)


class Direct(InFolder):
    """Every way of model code to take a tensor ends as with an iterator of real ones."""

    TENSORS = {
        "whole": some(8, 6), "rows": some(8, 6, seed=1), "columns": some(8, 6, seed=2),
        "turned": some(8, 6, seed=3), "converted": some(8, 6, dtype=torch.bfloat16),
        "scalar": some(seed=4), "empty": some(0, 3), "skipped": some(1000, seed=5),
        "number": some(1, dtype=torch.int64, seed=6), "twice": some(4, seed=7),
        "changed": some(4, seed=8), "composed": some(4, seed=9), "last": some(3, 2, 2, seed=10)}

    def setUp(self):
        super().setUp()
        write(self.path(), self.TENSORS)

    def take(self, tensors):
        """Model code of every kind; returns its parameters."""
        made = {}

        def parameter(name, *shape, dtype=torch.float32):
            made[name] = torch.nn.Parameter(torch.full(shape, -1.0).to(dtype), requires_grad=False)
            return made[name]

        for name, tensor in tensors:
            self.assertEqual(tuple(tensor.shape), tuple(self.TENSORS[name].shape))
            if name == "whole":
                parameter(name, 8, 6).data.copy_(tensor)
            elif name == "rows":  # a part of a packed parameter
                parameter(name, 12, 6).data.narrow(0, 4, 4).copy_(tensor.narrow(0, 2, 4))
            elif name == "columns":
                parameter(name, 8, 2).data.copy_(tensor[:, 3:5])
            elif name == "turned":
                parameter(name, 6, 8).data.copy_(tensor.t())
            elif name == "converted":
                parameter(name, 8, 6).data.copy_(tensor)
            elif name == "number":
                parameter(name, 1).data.fill_(tensor.item())
            elif name == "twice":
                parameter(name, 4).data.copy_(tensor)
                parameter(name + ".2", 2, 4).data.copy_(tensor)
            elif name == "changed":
                parameter(name, 4).data.copy_(tensor)
                tensor += 1
                parameter(name + ".2", 4).data.copy_(tensor)
            elif name == "composed":  # as loaders do that are made of a loader and a function
                target = parameter(name, 4)
                target.data.copy_(tensor)
                target.data.copy_(-torch.exp(target / 10000))
            elif name == "last":
                parameter(name, 2, 3, 2)[0].copy_(tensor[1:2].expand(3, 2, 2)[:, 0])
                made[name][1].fill_(5)
            elif name != "skipped":
                parameter(name, *tensor.shape).data.copy_(tensor)
        return made

    def test_parameters_are_those_of_an_iterator_of_real_tensors(self):
        expected = self.take((name, tensor.clone()) for name, tensor in self.TENSORS.items())
        found = self.weights().direct(self.take)
        self.assertEqual(set(found), set(expected))
        for name, tensor in expected.items():
            self.assertTrue(torch.equal(found[name], tensor), name)

    def test_streamed_too(self):
        found = self.take(self.weights().stream())
        for name, tensor in self.take(self.TENSORS.items()).items():
            if name != "changed.2":  # TENSORS' own was changed
                self.assertTrue(torch.equal(found[name], tensor), name)
        self.TENSORS["changed"] -= 1

    def test_what_is_not_copied_is_not_read(self):
        parameter = torch.zeros(2, 6)

        def take(tensors):
            for name, tensor in tensors:
                if name == "rows":
                    parameter.copy_(tensor[2:4])

        self.weights().direct(take)
        self.assertTrue(torch.equal(parameter, self.TENSORS["rows"][2:4]))
        line, = [one for one in self.log.lines if "GB/s" in one]
        self.assertIn(f"1 tensors landed in their parameters, 0 were copied, {len(self.TENSORS) - 1} "
                      "not needed", line)
        self.assertIn("libstreamer: 1 tensors, 0.000 GB", line)
        self.assertIn("held back by", line)
        self.assertEqual([(bar.total, bar.is_closed) for bar in self.bars],
                         [(len(self.TENSORS), True)])

    def test_of_two_tensors_for_one_place_the_later_one_stays(self):
        parameter = torch.zeros(8, 6)

        def take(tensors):
            for name, tensor in tensors:
                if name in ("whole", "rows"):
                    parameter.copy_(tensor)

        self.weights().direct(take)
        self.assertTrue(torch.equal(parameter, self.TENSORS["rows"]))

    def test_bytes_are_there_when_the_iterator_has_ended(self):
        parameter = torch.zeros(8, 6)

        def take(tensors):
            for name, tensor in tensors:
                if name == "whole":
                    parameter.copy_(tensor)
            return parameter.sum().item()

        self.assertEqual(self.weights().direct(take), self.TENSORS["whole"].sum().item())

    def test_bytes_are_there_if_model_code_stops_early(self):
        parameter = torch.zeros(8, 6)

        def take(tensors):
            for name, tensor in tensors:
                if name == "whole":
                    parameter.copy_(tensor)
                    return tensors  # which is kept, and not taken from any more

        kept = self.weights().direct(take)
        self.assertTrue(torch.equal(parameter, self.TENSORS["whole"]))
        del kept

    def test_a_tensor_that_model_code_keeps_has_its_bytes_later(self):
        kept = self.weights().direct(dict)
        self.assertIsInstance(kept["whole"], DeferredTensor)
        self.assertTrue(torch.equal(kept["whole"] + 0, self.TENSORS["whole"]))
        self.assertTrue(torch.equal(torch.cat([kept["rows"], kept["columns"]]),
                                    torch.cat([self.TENSORS["rows"], self.TENSORS["columns"]])))

    def test_an_error_of_model_code_is_its_own(self):
        def take(tensors):
            next(tensors)
            raise KeyError("no such parameter")

        with self.assertRaises(KeyError):
            self.weights().direct(take)
        self.assertTrue(self.bars[0].is_closed)

    def test_a_file_that_is_cut_off_meanwhile_fails(self):
        weights = self.weights()
        os.truncate(self.path(), os.path.getsize(self.path()) - 4)
        with self.assertRaises(libstreamer.StreamerError):
            weights.direct(self.take)


class Checksums(InFolder):
    def setUp(self):
        super().setUp()
        write(self.path(), {"a": some(100, 10), "b": some(7)})
        with open(self.path(), "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        self.manifest = self.path("SHA256SUMS")
        with open(self.manifest, "w", encoding="utf-8") as out:
            out.write(f"{digest}  model.safetensors\n")

    @staticmethod
    def take(rows):
        def take(tensors):
            for _, tensor in tensors:
                torch.empty(tensor.shape)[:rows].copy_(tensor[:rows])
        return take

    def test_of_what_is_read_are_checked_if_asked(self):
        def ways():
            yield lambda: self.weights(verify=self.manifest).direct(self.take(100))
            yield lambda: list(self.weights(verify=self.manifest).stream())

        for load in ways():
            load()
        self.assertNotIn("not verified", "".join(self.log.lines))
        with open(self.path(), "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x7f")
        for load in ways():
            with self.assertRaisesRegex(libstreamer.CorruptError, "ChecksumMismatch"):
                load()

    def test_of_a_part_cannot_be_and_the_log_says_so(self):
        self.weights(verify=self.manifest).direct(self.take(5))
        self.assertIn("is not verified: not all of it is loaded", "".join(self.log.lines))
        with self.assertRaisesRegex(libstreamer.StreamerError, "cannot be verified"):
            self.weights(verify="required").direct(self.take(5))


class Limited(InFolder):
    def test_an_engine_may_hold_a_tensor_while_it_asks_for_the_next(self):
        tensors = {f"layers.{i}": some(3 << 18, seed=i) for i in range(6)}  # of 3 MiB
        write(self.path(), tensors)
        for limit in (4 << 20, 8 << 20, "minimum", "unlimited"):
            found, held = 0, None
            for name, tensor in self.weights(memory_limit=limit).stream():
                self.assertTrue(torch.equal(tensor, tensors[name]), name)
                if held is not None:
                    self.assertTrue(torch.equal(held[1], tensors[held[0]]), held[0])
                found, held = found + 1, (name, tensor)
            self.assertEqual(found, len(tensors), limit)


RANK = """
import logging, os, sys
sys.path.insert(0, os.path.join(sys.argv[1], "capi", "python"))
import torch
import torch.distributed as dist
import libstreamer
from libstreamer.engine_weights import Options, Weights
rank = int(sys.argv[3])
dist.init_process_group("gloo", init_method="file://" + sys.argv[4], rank=rank, world_size=2)


class Bar:
    update = close = lambda self, *count: None

expected = dict(libstreamer.load(sys.argv[2], framework="torch"))
for direct in (True, False):
    options = Options.of({"direct": direct})
    weights = Weights(options.open(sys.argv[2]), sys.argv[2], options,
                      logger=logging.getLogger("x"), bar=lambda total: Bar(), group=dist.group.WORLD)
    rows, columns, own = torch.zeros(256, 512), torch.zeros(512, 256), torch.zeros(512, 512)

    def take(tensors):
        for name, tensor in tensors:
            if name == "rows":
                rows.copy_(tensor.narrow(0, 256 * rank, 256))
            elif name == "columns":
                columns.copy_(tensor.narrow(1, 256 * rank, 256))
            elif name == f"own.{rank}":
                own.copy_(tensor)
            elif name == "early" and rank == 0:
                assert tensor.sum().item() == 3.0

    if direct:
        weights.direct(take)
    else:
        take(weights.stream())
    assert torch.equal(rows, expected["rows"][256 * rank:][:256])
    assert torch.equal(columns, expected["columns"][:, 256 * rank:][:, :256])
    assert torch.equal(own, expected[f"own.{rank}"])
dist.barrier()
"""


class Ranks(InFolder):
    def test_ranks_share_a_read_and_get_their_parts(self):
        write(self.path(), {"rows": some(512, 512), "columns": some(512, 512, seed=1),
                            "own.0": some(512, 512, seed=2), "own.1": some(512, 512, seed=3),
                            "early": some(3)})
        meeting = os.path.join(self.folder, "meeting")
        ranks = [subprocess.Popen([sys.executable, "-c", RANK, ROOT, self.path(), str(rank), meeting],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                 for rank in range(2)]
        for rank in ranks:
            text, _ = rank.communicate(timeout=100)
            self.assertEqual(rank.returncode, 0, text)


class OptionsOfAnEngine(InFolder):
    def test_settings_are_checked_before_anything_is_read(self):
        for extra, words in (({"no_such_setting": 1}, "no_such_setting"),
                             ({"concurrency": "many"}, "concurrency"),
                             ({"direct": "yes"}, "direct"), ({"distributed": 1}, "distributed"),
                             ({"source": 5}, "source"), ({"pattern": []}, "pattern"),
                             ({"pattern": "a", "sharded": False}, "sharded")):
            with self.assertRaisesRegex(libstreamer.InvalidArgumentError, words):
                Options.of(extra)

    def test_those_of_the_run_ai_loader_are_accepted(self):
        options = Options.of('{"distributed": true, "concurrency": 4, "memory_limit": -1}')
        self.assertIs(options.distributed, True)
        self.assertEqual(options.settings, {"concurrency": 4, "memory_limit": -1})

    def test_an_incomplete_model_is_an_error_before_the_engine_starts(self):
        write(self.path("model-00001-of-00002.safetensors"), {"a": some(4)})
        with self.assertRaisesRegex(libstreamer.StreamerError, "1 is missing: 2"):
            engine_weights.prepare(self.folder, {})

    def test_parameters_without_bytes_are_named_and_shards_that_no_index_names(self):
        write(self.path(), {"a": some(2)})
        self.assertRegex(str(self.weights().lack_of(["b", "c", "d", "e"])),
                         f"{self.folder}: the model has 4 parameters that are in none of the "
                         r"checkpoint's 1 objects: b, c, d, \.\.\.; check that the configuration")
        write(self.path("other.safetensors"), {"b": some(2)})
        with open(self.path("model.safetensors.index.json"), "w", encoding="utf-8") as out:
            json.dump({"weight_map": {"a": "model.safetensors"}}, out)
        error = self.weights().lack_of(["b"])
        self.assertIn("the index does not name other.safetensors, which is there", str(error))
        self.assertIsInstance(error, ValueError)  # as what engines raise

    def test_a_local_model_stays_where_it_is(self):
        write(self.path(), {"a": some(4)})
        self.assertIsNone(engine_weights.prepare(self.folder, {}))
        self.assertIsNone(engine_weights.prepare("organization/name", {}))

    def test_weights_may_be_elsewhere(self):
        with self.assertRaisesRegex(libstreamer.NotFoundError, "nowhere"):
            engine_weights.prepare(self.folder, {"source": "file:///nowhere/model.safetensors"})

    def test_parts_of_a_rank(self):
        for rank in range(2):
            write(self.path(f"model-rank-{rank}-part-0.safetensors"), {"a": some(4, seed=rank)})
        options = Options.of({"sharded": True})
        for rank in range(2):
            found = dict(libstreamer.load(options.open(self.folder, rank), framework="torch"))
            self.assertTrue(torch.equal(found["a"], some(4, seed=rank)))
        with self.assertRaisesRegex(libstreamer.StreamerError, "rank-2"):
            engine_weights.prepare(self.folder, {"sharded": True}, ranks=3)


class Reload(InFolder):
    def setUp(self):
        super().setUp()
        self.first = {"a": some(4), "model.layers.0.q": some(3, 2)}
        self.second = {"b": some(5), "model.layers.0.k": some(2), "model.layers.1.q": some(2)}
        write(self.path("one.safetensors"), self.first)
        write(self.path("two.safetensors"), self.second)
        self.uris = [self.path("one.safetensors"), self.path("two.safetensors")]
        self.memory = {**{n: t.clone() for n, t in self.first.items()},
                       **{n: t.clone() for n, t in self.second.items()}}
        self.checkpoint = libstreamer.open(self.uris)

    def replace(self, name, tensors):
        write(self.path(name + ".new"), tensors)
        os.rename(self.path(name + ".new"), self.path(name))

    def test_only_what_changed_is_read_and_the_memory_stays(self):
        self.replace("two.safetensors", {name: tensor + 1 for name, tensor in self.second.items()})
        addresses = {name: tensor.data_ptr() for name, tensor in self.memory.items()}
        self.memory["a"].fill_(9)  # which a second read would undo
        reloaded = libstreamer.reload(self.memory, self.uris, self.checkpoint)
        self.assertEqual(set(reloaded.names), set(self.second))
        for name, tensor in self.second.items():
            self.assertTrue(torch.equal(self.memory[name], tensor + 1), name)
        self.assertTrue(torch.equal(self.memory["a"], torch.full((4,), 9.0)))
        self.assertEqual(addresses, {name: tensor.data_ptr() for name, tensor in self.memory.items()})
        again = libstreamer.reload(self.memory, self.uris, reloaded.checkpoint)
        self.assertEqual(again.names, [])

    def test_numpy_arrays_without_elements(self):
        write(self.path("two.safetensors"), {**self.second, "b": some(0, 3)})
        self.checkpoint = libstreamer.open(self.uris)
        self.replace("two.safetensors", {**self.second, "b": some(0, 3)})
        memory = {name: torch.zeros(tensor.shape).numpy() for name, tensor in self.memory.items()}
        memory["b"] = torch.zeros(0, 3).numpy()
        names = libstreamer.reload(memory, self.uris, self.checkpoint).names
        self.assertEqual(set(names), set(self.second))
        for name in ("model.layers.0.k", "model.layers.1.q"):
            self.assertTrue(torch.equal(torch.from_numpy(memory[name]), self.second[name]), name)

    def test_a_file_that_is_written_in_place_changed(self):
        with open(self.uris[0], "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x7f")
        names = libstreamer.reload(self.memory, self.uris, self.checkpoint).names
        self.assertEqual(set(names), set(self.first))

    def test_memory_that_does_not_fit_is_an_error_before_anything_is_written(self):
        self.replace("two.safetensors", {"b": some(5) + 1, "model.layers.0.k": some(3),
                                         "model.layers.1.q": some(2)})
        with self.assertRaisesRegex(libstreamer.InvalidArgumentError, "model.layers.0.k"):
            libstreamer.reload(self.memory, self.uris, self.checkpoint)
        self.assertTrue(torch.equal(self.memory["b"], self.second["b"]))

    def test_after_a_failure_each_tensor_is_whole(self):
        big = {"b": some(3 << 20), "model.layers.0.k": some(2), "model.layers.1.q": some(2)}
        self.replace("two.safetensors", big)
        checkpoint = libstreamer.open(self.uris)
        memory = {**self.memory, "b": torch.zeros(3 << 20)}
        os.truncate(self.uris[1], os.path.getsize(self.uris[1]) // 2)
        with self.assertRaises(libstreamer.StreamerError):
            libstreamer.reload(memory, checkpoint, self.checkpoint)
        self.assertTrue(torch.equal(memory["b"], torch.zeros(3 << 20)))

    def test_names_differ(self):
        with self.assertRaisesRegex(libstreamer.InvalidArgumentError, "strict=False"):
            libstreamer.reload({"a": self.memory["a"]}, self.uris, self.checkpoint)
        names = libstreamer.reload({"a": self.memory["a"]}, self.uris, self.checkpoint,
                                   strict=False).names
        self.assertEqual(names, [])

    def test_blocks_are_whole(self):
        self.replace("one.safetensors", {"a": some(4), "model.layers.0.q": some(3, 2) + 1})
        new = libstreamer.open(self.uris)
        wanted = engine_weights.changed_blocks(new, self.checkpoint)
        self.assertEqual([tensor.name for tensor in new.tensors if wanted(tensor)],
                         ["a", "model.layers.0.q", "b", "model.layers.0.k"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
