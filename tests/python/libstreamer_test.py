#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Python package on real files: libstreamer_test.py SOURCE_ROOT (STREAMER_LIBRARY is set)"""
import gc
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest
import unittest.mock

ROOT = sys.argv[1]
sys.path.insert(0, os.path.join(ROOT, "capi", "python"))
import libstreamer  # noqa: E402
from safetensors_file import write_mebibytes, write_safetensors  # noqa: E402

assert "numpy" not in sys.modules and "torch" not in sys.modules
import numpy  # noqa: E402
import torch  # noqa: E402

SIZES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4,
         "F32": 4, "C64": 8, "F64": 8, "I64": 8, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1}


def some_tensors():
    tensors = []
    for number, (dtype, size) in enumerate(SIZES.items()):
        data = bytes((number + i) % 2 if dtype == "BOOL" else (number * 7 + i) % 251
                     for i in range(6 * size))
        tensors.append((f"t.{dtype}", dtype, [2, 3], data))
    tensors += [("scalar", "F32", [], struct.pack("<f", 1.5)), ("none", "F32", [0, 4], b""),
                ("odd", "U8", [3], b"abc"), ("unaligned", "F32", [2], struct.pack("<2f", 2, 3))]
    return tensors


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.tensors = some_tensors()
        cls.path = os.path.join(cls.folder.name, "model.safetensors")
        write_safetensors(cls.path, cls.tensors, {"format": "pt"})
        cls.big = os.path.join(cls.folder.name, "big.safetensors")
        write_mebibytes(cls.big, 64)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def by_name(self):
        return {name: (dtype, tuple(shape), data) for name, dtype, shape, data in self.tensors}

    def test_infos_of_many_tensors(self):
        wanted = [(f"t{number:05}" + "\u00fc" * (number % 3), "U8", [1] * (number % 4), b"x")
                  for number in range(9000)]
        path = os.path.join(self.folder.name, "many.safetensors")
        for name in ("last", "with\0NUL"):
            wanted[-1] = (name, "U8", [1], b"x")
            write_safetensors(path, wanted)
            checkpoint = libstreamer.open(path)
            self.assertEqual([(t.name, t.dtype, list(t.shape)) for t in checkpoint.tensors],
                             [one[:3] for one in wanted])
            begin = checkpoint.tensors[0].object_offset
            self.assertEqual([(t.bytes, t.number, t.object, t.object_offset - begin)
                              for t in checkpoint.tensors],
                             [(1, number, 0, number) for number in range(9000)])
            with libstreamer.start(checkpoint) as load:
                self.assertEqual(sorted((t.name, t.number, t.shape) for _, t in load),
                                 sorted((t.name, t.number, t.shape) for t in checkpoint.tensors))
        write_safetensors(path, [])
        self.assertEqual(libstreamer.open(path).tensors, ())

    def test_opening_makes_no_object_for_a_tensor_before_one_is_asked_for(self):
        checkpoint = libstreamer.open(self.path)
        self.assertNotIn("tensors", vars(checkpoint))
        tensors = {t.name: (t.dtype, t.shape, t.bytes) for t in checkpoint.tensors}
        self.assertEqual(tensors, {name: (dtype, shape, len(data))
                                   for name, (dtype, shape, data) in self.by_name().items()})
        self.assertIs(checkpoint.tensors, checkpoint.tensors)

    def test_a_checkpoint_is_a_mapping(self):
        checkpoint = libstreamer.open(self.path)
        self.assertEqual(set(checkpoint), set(self.by_name()))
        self.assertEqual(len(checkpoint), len(self.tensors))
        for name, (dtype, shape, data) in self.by_name().items():
            info = checkpoint[name]
            self.assertEqual((info.dtype, info.shape, info.bytes), (dtype, shape, len(data)))
        self.assertEqual(checkpoint.metadata, {"format": "pt"})
        self.assertEqual(checkpoint.objects[0].uri, self.path)
        self.assertEqual(checkpoint.bytes, sum(len(t[3]) for t in self.tensors))
        with self.assertRaises(KeyError):
            checkpoint["nobody"]

    def test_every_byte_as_raw_numpy_and_torch(self):
        expected = self.by_name()
        for limit in (None, "minimum", "unlimited", 1 << 20):
            seen = set()
            for name, tensor in libstreamer.load(self.path, memory_limit=limit):
                dtype, shape, data = expected[name]
                self.assertEqual((tensor.dtype, tensor.shape, bytes(tensor)), (dtype, shape, data))
                self.assertEqual(bytes(tensor.memoryview()), data)
                seen.add(name)
            self.assertEqual(seen, set(expected))
        for name, array in libstreamer.load(self.path, framework="numpy",
                                            select=lambda t: t.dtype not in
                                            ("BF16", "F8_E4M3", "F8_E5M2")):
            self.assertEqual((array.shape, array.tobytes()), expected[name][1:])
        missing = {d for d in SIZES if not hasattr(torch, {"F8_E4M3": "float8_e4m3fn",
                                                           "F8_E5M2": "float8_e5m2",
                                                           "U16": "uint16", "U32": "uint32",
                                                           "U64": "uint64"}.get(d, "uint8"))}
        for name, tensor in libstreamer.load(self.path, framework="torch",
                                             select=lambda t: t.dtype not in missing):
            _, shape, data = expected[name]
            self.assertEqual(tuple(tensor.shape), shape)
            self.assertTrue(tensor.is_contiguous())
            raw = tensor.clone().contiguous().view(-1).view(torch.uint8) if data else tensor
            self.assertEqual(bytes(raw.numpy().tobytes()), data)
        for dtype in missing:
            tensor = next(libstreamer.load(self.path, select=f"t.{dtype}"))[1]
            with self.assertRaises(libstreamer.UnsupportedError):
                tensor.torch()

    def test_the_smallest_limit_is_the_largest_tensor(self):
        with libstreamer.start(self.big, memory_limit="minimum") as load:
            kept = {}
            for name, tensor in load:
                kept[name] = tensor
            self.assertEqual(load.stats()["memory_limit"], 1 << 20)
            self.assertLessEqual(load.stats()["arena_bytes"], 2 << 20)
        for i in range(64):
            self.assertEqual(bytes(kept[f"b{i}"]), bytes([i]) * (1 << 20))
            self.assertEqual(kept[f"b{i}"].torch().unique().tolist(), [i])
        for framework in ("torch", "numpy"):
            kept = dict(libstreamer.load(self.big, memory_limit="minimum", framework=framework))
            self.assertEqual([int(kept[f"b{i}"].max()) for i in range(64)], [*range(64)])
        # What a program made of the tensor itself stays where it is.
        with libstreamer.start(self.big, memory_limit="minimum") as load:
            view = load.next().torch()
            with self.assertRaises(libstreamer.MemoryLimitError):
                load.next()
            self.assertEqual(view.unique().tolist(), [0])

    def test_patterns_that_match_nothing_are_an_error(self):
        for select in ("nope*", ["t.*", "nope.?"]):
            with self.assertRaisesRegex(ValueError, "nope.*matches none of the .*allow_empty"):
                next(libstreamer.load(self.path, select=select))
        self.assertEqual([*libstreamer.load(self.path, select="nope*", allow_empty=True)], [])
        self.assertEqual([*libstreamer.load(self.path, select=lambda tensor: False)], [])

    def test_tied_weights_are_loaded_once(self):
        class Tied(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.embed = torch.nn.Embedding(4, 3)
                self.head = torch.nn.Linear(3, 4, bias=False)
                self.other = torch.nn.Linear(3, 2)
                self.head.weight = self.embed.weight
                self.register_buffer("first", self.embed.weight.data[:1])
                self.register_buffer("turned", self.embed.weight.data.t())

        wanted = Tied()
        path = os.path.join(self.folder.name, "tied.safetensors")

        def write(names):
            state = wanted.state_dict()
            write_safetensors(path, [(name, "F32", [*state[name].shape],
                                      state[name].numpy().tobytes()) for name in names])

        for one in ("embed.weight", "head.weight"):
            write([one, "other.weight", "other.bias"])
            model = Tied()
            names = libstreamer.load_into(model, path)
            self.assertEqual(sorted(names), sorted([one, "other.weight", "other.bias"]))
            for name, tensor in wanted.state_dict().items():
                self.assertTrue(torch.equal(model.state_dict()[name], tensor), name)
        for missing, names in (("other.bias", ["embed.weight", "other.weight"]),
                               ("embed.weight", ["other.weight", "other.bias"])):
            write(names)
            with self.assertRaisesRegex(ValueError, missing):
                libstreamer.load_into(Tied(), path)
        # A part of a tensor does not stand for all of it.
        write(["first", "other.weight", "other.bias"])
        with self.assertRaisesRegex(ValueError, "embed.weight"):
            libstreamer.load_into(Tied(), path)

    def test_what_credentials_raise_is_the_cause(self):
        class Vault(Exception):
            pass

        def refuse():
            raise Vault("sealed")

        settings = {"s3_endpoint": "http://127.0.0.1:9", "s3_region": "us-east-1"}
        uri = "s3://bucket/model"
        target = os.path.join(self.folder.name, "pulled")
        for body in (lambda **how: libstreamer.open(uri, **how),
                     lambda **how: libstreamer.open_rank(uri, 0, **how),
                     lambda **how: next(libstreamer.load(uri, **how)),
                     lambda **how: libstreamer.load_into({}, uri, **how),
                     lambda **how: libstreamer.list(uri, **how),
                     lambda **how: libstreamer.list_model(uri, **how),
                     lambda **how: libstreamer.pull(uri, target, **how),
                     lambda **how: libstreamer.snapshot(uri, cache=target, **how)):
            with self.assertRaises(libstreamer.AccessError) as caught:
                body(settings=settings, credentials=refuse)
            self.assertIsInstance(caught.exception.__cause__, Vault)
            self.assertEqual(str(caught.exception.__cause__), "sealed")
            self.assertEqual(str(caught.exception).count("; it raised Vault: sealed"), 1)
            self.assertIn("; it raised Vault: sealed", caught.exception.message)

    def test_a_model_is_listed_as_it_is_opened(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("model.safetensors", "consolidated.safetensors"):
                write_safetensors(os.path.join(folder, name), [("a", "U8", [1], b"x")])
            model = libstreamer.list_model(folder)
            self.assertEqual([entry.uri for entry in model.objects],
                             [os.path.join(folder, "model.safetensors")])
            self.assertEqual(model.objects[0].bytes, os.path.getsize(model.objects[0].uri))
            self.assertEqual(model.folder, folder)
            checkpoint = libstreamer.open(folder)
            self.assertEqual(checkpoint.notes, model.notes)
            self.assertIn("consolidated.safetensors", checkpoint.notes[0])
            with libstreamer.start(checkpoint) as load:
                self.assertIn(checkpoint.notes[0], load.stats()["notes"])

    def test_dlpack_holds_the_memory(self):
        tensor = next(libstreamer.load(self.path, select="t.F32"))[1]
        expected = self.by_name()["t.F32"][2]
        self.assertEqual(tensor.__dlpack_device__(), (1, 0))
        other = torch.utils.dlpack.from_dlpack(tensor.__dlpack__())
        array = numpy.from_dlpack(tensor)
        unused = tensor.__dlpack__()
        del tensor, unused
        gc.collect()
        self.assertEqual(other.numpy().tobytes(), expected)
        self.assertEqual(array.tobytes(), expected)

    def test_a_tensor_outlives_its_load(self):
        kept = dict(libstreamer.load(self.big, framework="numpy", memory_limit="unlimited"))
        gc.collect()
        for i in range(64):
            self.assertEqual((kept[f"b{i}"].min(), kept[f"b{i}"].max()), (i, i))

    def test_selection_and_slices(self):
        names = [name for name, _ in libstreamer.load(self.path, select=["t.*8", "odd"])]
        self.assertEqual(sorted(names), ["odd", "t.I8", "t.U8"])
        data = self.by_name()["t.I32"][2]
        for wanted in ((0, 1, 2), slice(1, 2), (slice(1, None), slice(None))):
            tensor = next(libstreamer.load(self.path, select="t.I32",
                                           slices={"t.I32": wanted}))[1]
            self.assertEqual((tensor.shape, bytes(tensor)), ((1, 3), data[12:]))
        for wrong in ((slice(0, 1), slice(0, 1)), slice(0, 2, 2)):
            with self.assertRaises(libstreamer.InvalidArgumentError):
                next(libstreamer.load(self.path, select="t.I32", slices={"t.I32": wrong}))
        with self.assertRaisesRegex(libstreamer.InvalidArgumentError, "nobody"):
            next(libstreamer.load(self.path, select=["nobody"]))

    def test_into_memory_of_the_caller(self):
        target = {"t.F32": torch.zeros(2, 3), "t.I64": numpy.zeros((2, 3), numpy.int64),
                  "odd": bytearray(3), "none": torch.zeros(0, 4)}
        names = libstreamer.load_into(target, self.path, strict=False)
        self.assertEqual(sorted(names), sorted(target))
        self.assertEqual(target["t.F32"].numpy().tobytes(), self.by_name()["t.F32"][2])
        self.assertEqual(target["t.I64"].tobytes(), self.by_name()["t.I64"][2])
        self.assertEqual(bytes(target["odd"]), b"abc")
        for wrong in ({"t.F32": torch.zeros(3, 2)}, {"t.F32": torch.zeros(2, 3).int()},
                      {"t.F32": b"x" * 24}, {"t.F32": torch.zeros(3, 2).t()},
                      {"t.F32": bytearray(23)}):
            with self.assertRaises((libstreamer.InvalidArgumentError, TypeError)):
                libstreamer.load_into(wrong, self.path, strict=False)
        with self.assertRaisesRegex(libstreamer.InvalidArgumentError, "names differ"):
            libstreamer.load_into(target, self.path)
        with self.assertRaisesRegex(ValueError, "order is 'random'; it may be 'completion' or 'plan'"):
            libstreamer.load(self.path, order="random").__next__()
        # Not strict is not blind.
        for nothing in ("x", torch.zeros(3), None):
            with self.assertRaisesRegex(TypeError, "mapping of names"):
                libstreamer.load_into(nothing, self.path, strict=False)
        with self.assertRaisesRegex(libstreamer.InvalidArgumentError, "no name .*'model.t.F32'"):
            libstreamer.load_into({"model.t.F32": torch.zeros(2, 3)}, self.path, strict=False)

        class Module(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.b0 = torch.nn.Parameter(torch.zeros(1 << 20, dtype=torch.uint8),
                                             requires_grad=False)

        module = Module()
        libstreamer.load_into(module, self.big, strict=False)
        libstreamer.load_into({"b1": module.b0}, self.big, strict=False)
        self.assertEqual(module.b0.unique().tolist(), [1])

    def test_of_several_of_one_name_the_first_goes_into_memory(self):
        paths = [os.path.join(self.folder.name, name) for name in ("one.tensors", "two.tensors")]
        for path, byte in zip(paths, (b"a", b"b")):
            write_safetensors(path, [("w", "U8", [4 << 20], byte * (4 << 20))])
        for _ in range(3):
            target = bytearray(4 << 20)
            names = libstreamer.load_into({"w": target}, paths, settings={"same_names": "keep"})
            self.assertEqual((names, set(target)), (["w"], {ord("a")}))

    def test_errors_carry_every_field(self):
        with self.assertRaises(libstreamer.NotFoundError) as caught:
            libstreamer.open("/nowhere/model.safetensors")
        error = caught.exception
        self.assertEqual((error.kind, error.code, error.os_error), ("not_found", 200, 2))
        self.assertIn("/nowhere/model.safetensors", error.uri)
        self.assertIsInstance(error, FileNotFoundError)
        again = pickle.loads(pickle.dumps(error))
        self.assertEqual((str(again), again.__dict__), (str(error), error.__dict__))
        bad = os.path.join(self.folder.name, "bad.safetensors")
        with open(bad, "wb") as out:
            out.write(b"\x05\0\0\0\0\0\0\0hello")
        with self.assertRaises(libstreamer.CorruptError):
            libstreamer.open(bad)
        with self.assertRaisesRegex(libstreamer.InvalidArgumentError, "nonsense"):
            libstreamer.open(self.path, {"nonsense": 1})
        with self.assertRaises(libstreamer.MemoryLimitError):
            next(libstreamer.load(self.big, memory_limit=1000))
        with self.assertRaises(libstreamer.InvalidArgumentError):
            next(libstreamer.load(self.path, device="tpu:0"))

    def test_a_load_inherits_what_its_checkpoint_was_opened_with(self):
        opened = libstreamer.open(self.big, {"memory_limit": 6 << 20, "s3_region": "eu-west-1"})
        with libstreamer.start(opened) as load:
            self.assertEqual(load.stats()["memory_limit"], 6 << 20)
            self.assertEqual(sum(1 for _ in load), 64)
        with libstreamer.start(opened, memory_limit=7 << 20) as load:
            self.assertEqual(load.stats()["memory_limit"], 7 << 20)
        # What opens and loads in one takes all of them.
        with libstreamer.start(self.big, memory_limit=6 << 20,
                               settings={"same_names": "keep", "s3_region": "eu-west-1"}) as load:
            self.assertEqual(load.stats()["memory_limit"], 6 << 20)
        into = {f"b{i}": bytearray(1 << 20) for i in range(64)}
        libstreamer.load_into(into, self.big, settings={"stall_timeout_ms": 500})
        self.assertEqual(into["b7"], bytes([7]) * (1 << 20))

    def test_a_setting_out_of_its_scope_says_where_it_belongs(self):
        opened = libstreamer.open(self.big)
        for name, value in (("s3_endpoint", "http://127.0.0.1:1"), ("same_names", "keep"),
                            ("stall_timeout_ms", 500)):
            with self.assertRaisesRegex(libstreamer.InvalidArgumentError,
                                        f"{name} is a setting of the .* opened"):
                libstreamer.start(opened, settings={name: value})
        with self.assertRaisesRegex(libstreamer.InvalidArgumentError,
                                    "credentials, belong to the store"):
            libstreamer.start(opened, credentials=dict)
        with self.assertRaisesRegex(libstreamer.InvalidArgumentError,
                                    "memory_limit .* cannot have a prefix"):
            libstreamer.open(self.big, prefixes={"s3://bucket/": {"memory_limit": "minimum"}})

    def test_a_limit_that_is_held_is_an_error_and_released_memory_is_used_again(self):
        with libstreamer.start(self.big, memory_limit=6 << 20) as load:
            held = []
            with self.assertRaises(libstreamer.MemoryLimitError):
                while True:
                    held.append(load.next())
            self.assertGreaterEqual(len(held), 3)
            for tensor in held:
                number = int(tensor.name[1:])
                self.assertEqual(bytes(tensor), bytes([number]) * (1 << 20))
                tensor.release()
            self.assertEqual(sum(1 for _ in load), 64 - len(held))
            stats = load.stats()
            self.assertEqual(stats["items_ready"], 64)
            self.assertLessEqual(stats["arena_bytes"], 5 << 20)
            self.assertEqual(set(stats), set(libstreamer.all_stats()) | {"held_back_by", "notes"})
            self.assertTrue(any(line.startswith("window: ") for line in load.explain()))
            self.assertEqual(stats["bytes_read"], stats["bytes_direct"] + stats["bytes_page_cache"] +
                             stats["bytes_buffered"])
        with self.assertRaises(TypeError):
            pickle.dumps(load)

    def test_what_is_wanted_first_comes_first(self):
        names = [name for name, _ in libstreamer.load(
            self.big, order="plan", first=["b63", "b6?"], memory_limit="unlimited")]
        self.assertEqual(names[:6], ["b63", "b60", "b61", "b62", "b0", "b1"])
        self.assertEqual(len(set(names)), 64)

    def test_progress(self):
        seen = []
        for _ in libstreamer.load(self.big, progress=lambda done, total: seen.append((done, total))):
            pass
        self.assertEqual(seen[-1], (64 << 20, 64 << 20))
        self.assertEqual(len(seen), 64)

    def test_list_and_pull(self):
        entries = libstreamer.list(self.folder.name)
        self.assertIn(self.path, [entry.uri for entry in entries])
        with tempfile.TemporaryDirectory() as target:
            made = libstreamer.pull(self.folder.name, target, allow=["model.*"])
            self.assertEqual([os.path.basename(entry.path) for entry in made],
                             ["model.safetensors"])
            with open(made[0].path, "rb") as copy, open(self.path, "rb") as original:
                self.assertEqual(copy.read(), original.read())

    def test_waiting_lets_other_threads_run_and_cancel(self):
        load = libstreamer.start(self.big, settings={"max_bandwidth": 1 << 20})
        timer = threading.Timer(0.2, load.cancel)
        timer.start()
        began = time.monotonic()
        with self.assertRaises(libstreamer.CancelledError):
            for _ in load:
                pass
        self.assertLess(time.monotonic() - began, 30)
        timer.join()

    def test_ctrl_c_ends_a_load_at_once(self):
        program = (f"import sys; sys.path.insert(0, {os.path.join(ROOT, 'capi', 'python')!r})\n"
                   "import libstreamer\n"
                   "try:\n"
                   f"  for _ in libstreamer.load([{self.path!r}, {self.big!r}], order='plan',\n"
                   "                            settings={'max_bandwidth': 65536}):\n"
                   "    print('one is there', flush=True)\n"
                   "except KeyboardInterrupt:\n"
                   "  sys.exit(42)\n")
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
            child.stdout.readline()
            began = time.monotonic()
            child.send_signal(signal.SIGINT)
            self.assertEqual(child.wait(timeout=60), 42)
            self.assertLess(time.monotonic() - began, 30)

    def test_a_child_of_fork_is_told(self):
        load = libstreamer.start(self.big)
        load.next()
        child = os.fork()
        if child == 0:
            try:
                load.next()
            except libstreamer.UnsupportedError:
                os._exit(7)
            os._exit(1)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 7)
        self.assertEqual(sum(1 for _ in load), 63)

    def test_children_load_for_themselves(self):
        # What the parent used does not stand in the way of a child: not after fork, nor with spawn.
        self.assertEqual(len(list(libstreamer.load(self.path))), len(self.tensors))
        checkpoint = libstreamer.open(self.big)
        child = os.fork()
        if child == 0:
            try:
                found = sum(1 for _ in libstreamer.load(checkpoint)) + \
                    sum(1 for _ in libstreamer.load(self.path))
                os._exit(0 if found == 64 + len(self.tensors) else 1)
            except BaseException:
                os._exit(2)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        settings = {"memory_limit": "64MiB", "concurrency": 2}
        program = ("import pickle, sys\n"
                   f"sys.path.insert(0, {os.path.join(ROOT, 'capi', 'python')!r})\n"
                   "import libstreamer\n"
                   "uri, settings = pickle.load(sys.stdin.buffer)\n"
                   "print(sum(1 for _ in libstreamer.load(uri, settings=settings)))\n")
        done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE,
                              input=pickle.dumps((self.path, settings)), check=True)
        self.assertEqual(int(done.stdout), len(self.tensors))

    def test_a_misspelt_argument_fails_at_the_call(self):
        with self.assertRaisesRegex(TypeError, r"load\(\) has no argument 'framwork'; did you mean "
                                               r"framework\?"):
            libstreamer.load(self.path, framwork="torch")

    def test_a_bar_of_tqdm_if_there_is_one(self):
        class Bar:
            made = []

            def __init__(self, total, **_):
                self.total, self.done, self.is_closed = total, 0, False
                self.made.append(self)

            def update(self, amount):
                self.done += amount

            def close(self):
                self.is_closed = True

        module = types.ModuleType("tqdm")
        module.tqdm = Bar
        with unittest.mock.patch.dict(sys.modules, tqdm=module):
            list(libstreamer.load(self.path, progress=True))
        (bar,) = Bar.made
        total = sum(len(data) for _, _, _, data in self.tensors)
        self.assertEqual((bar.total, bar.done, bar.is_closed), (total, total, True))
        with unittest.mock.patch.dict(sys.modules, tqdm=None):
            self.assertEqual(len(list(libstreamer.load(self.path, progress=True))),
                             len(self.tensors))

    def test_a_sharded_state_opens_one_rank(self):
        with tempfile.TemporaryDirectory() as folder:
            def part(rank, number, pattern="model-rank-{}-part-{}.safetensors"):
                write_safetensors(os.path.join(folder, pattern.format(rank, number)),
                                  [(f"p{number}", "U8", [1], bytes([rank * 16 + number]))])
            for rank, parts in ((0, 11), (1, 2), (10, 1)):
                for number in range(parts):
                    part(rank, number)
            for rank, parts in ((0, 11), (1, 2), (10, 1)):
                found = {name: bytes(tensor)
                         for name, tensor in libstreamer.load(libstreamer.open_rank(folder, rank))}
                self.assertEqual(found, {f"p{n}": bytes([rank * 16 + n]) for n in range(parts)})
            with self.assertRaises(libstreamer.NotFoundError):
                libstreamer.open_rank(folder, 2)
            part(3, 1)
            with self.assertRaisesRegex(libstreamer.CorruptError, "part 0"):
                libstreamer.open_rank(folder, 3)
            part(0, 0, "r{}.p{}.st")
            self.assertEqual(len(libstreamer.open_rank(folder, 0, "r{rank}.p{part}.st")), 1)
            for wrong in ("r{rank}.st", "{part}", "{rank}{rank}{part}", "a/{rank}{part}"):
                with self.assertRaises(libstreamer.InvalidArgumentError):
                    libstreamer.open_rank(folder, 0, wrong)

    def test_ranges_of_any_file(self):
        raw = os.path.join(self.folder.name, "raw")
        with open(raw, "wb") as out:
            out.write(bytes(range(100)))
        ranges = libstreamer.Ranges([(raw, 50, 10), (raw, 0, 5), (self.path, 0, 8), (raw, 7, 0)])
        found = {name: bytes(tensor) for name, tensor in libstreamer.load(ranges)}
        with open(self.path, "rb") as file:
            first = file.read(8)
        self.assertEqual(found, {"0": bytes(range(50, 60)), "1": bytes(range(5)), "2": first,
                                 "3": b""})
        with self.assertRaisesRegex(libstreamer.InvalidArgumentError, "RangeBeyondEnd"):
            libstreamer.Ranges([(raw, 99, 2)])

    def test_loads_of_the_process_share_memory(self):
        self.addCleanup(libstreamer.configure_process)
        libstreamer.configure_process({"process_memory_limit": "64MiB"})
        with libstreamer.start(self.big) as load:
            held = load.next()
            use = libstreamer.process_use()
            self.assertEqual(use.memory_limit_bytes, 64 << 20)
            self.assertGreaterEqual(use.loads, 1)
            self.assertGreaterEqual(use.memory_bytes, held.nbytes)
        with self.assertRaisesRegex(libstreamer.InvalidArgumentError, "process_memory_limit"):
            libstreamer.configure_process({"process_memory_limit": "much"})
        with self.assertRaisesRegex(ValueError, "memory_limit is a setting of the load"):
            libstreamer.configure_process({"memory_limit": "1GiB"})
        with self.assertRaisesRegex(libstreamer.InvalidArgumentError,
                                    "process_connections is a setting of the process"):
            libstreamer.start(self.big, settings={"process_connections": 3})

    def test_settings_are_described(self):
        rows = {row["name"]: row for row in libstreamer.all_settings()}
        self.assertEqual(rows["memory_limit"]["default_value"], "auto")
        self.assertRegex(libstreamer.library_version(), r"^\d+\.\d+\.\d+$")

    def test_a_missing_library_is_an_import_error(self):
        environment = dict(os.environ, STREAMER_LIBRARY="/nowhere/libstreamer.so",
                           PYTHONPATH=os.path.join(ROOT, "capi", "python"))
        done = subprocess.run([sys.executable, "-c", "import libstreamer"], env=environment,
                              capture_output=True, text=True, check=False)
        self.assertIn("ImportError", done.stderr)
        self.assertIn("/nowhere/libstreamer.so", done.stderr)
        self.assertIn("STREAMER_LIBRARY", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
