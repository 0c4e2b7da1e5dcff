#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Python packages on stores: stores_test.py SOURCE_ROOT s3|google|azure"""
import ctypes
import hashlib
import json
import os
import re
import socket
import sys
import tempfile
import threading
import unittest
import unittest.mock

ROOT, STORE = sys.argv[1], sys.argv[2]
for folder in ("capi/python", "capi/runai/python", "tests/servers", "tests/support"):
    sys.path.insert(0, os.path.join(ROOT, folder))

import azure_client  # noqa: E402
import azurite  # noqa: E402
import certificates  # noqa: E402
import fake_aws  # noqa: E402
import fake_google  # noqa: E402
import libstreamer  # noqa: E402
import radosgw  # noqa: E402
import s3_client  # noqa: E402
from runai_model_streamer import (  # noqa: E402
    FileStreamer, ObjectStorageModel, SafetensorsStreamer, list_safetensors, pull_files)
from runai_model_streamer.s3_utils.s3_utils import S3Credentials  # noqa: E402
from runai_old import OldFunctions  # noqa: E402
from store_case import StoreCase, checkpoint  # noqa: E402


def digests_of(content):
    """Of the tensors of a safetensors file, by name."""
    length = int.from_bytes(content[:8], "little")
    return {name: hashlib.sha256(content[8 + length + tensor["data_offsets"][0]:
                                         8 + length + tensor["data_offsets"][1]]).hexdigest()
            for name, tensor in json.loads(content[8:8 + length]).items()}


class Device(ctypes.Structure):
    """RunaiFileStreamerDevice."""

    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int)]


class World:
    """A server with the case's files in it, and the environment that leads there."""

    def __init__(self, case, folder):
        self.credentials = None
        authority = certificates.Authority(folder)
        if STORE == "s3":
            store = radosgw.Radosgw(os.path.join(folder, "ceph"), authority)
            case.addClassCleanup(store.stop)
            store.start()
            client = s3_client.Client(store.url(), radosgw.ACCESS_KEY, radosgw.SECRET_KEY)
            client.make_bucket("models")
            self.scheme, self.client = "s3", client
            self.variables = {
                "RUNAI_STREAMER_S3_ENDPOINT": store.url(), "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": radosgw.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": radosgw.SECRET_KEY,
                "AWS_EC2_METADATA_DISABLED": "true"}
            self.credentials = S3Credentials(radosgw.ACCESS_KEY, radosgw.SECRET_KEY, None,
                                             "us-east-1", store.url())
        elif STORE == "azure":
            store = azurite.Azurite(os.path.join(folder, "azurite"), authority)
            case.addClassCleanup(store.stop)
            store.start()
            client = azure_client.Client(store.url(), azurite.ACCOUNT, azurite.KEY)
            client.make_container("models")
            self.scheme, self.client = "az", client
            self.variables = {"AZURE_STORAGE_ACCOUNT_NAME": azurite.ACCOUNT,
                              "AZURE_STORAGE_ACCOUNT_KEY": azurite.KEY,
                              "AZURE_STORAGE_ENDPOINT": store.url()}
        else:
            client = fake_google.FakeGoogle(folder, "1//refresh-CANARYSECRET")
            case.addClassCleanup(client.stop)
            self.scheme, self.client = "gs", client
            self.variables = {"STREAMER_GCS_ENDPOINT": client.url, "NO_GCE_CHECK": "true",
                              "GOOGLE_APPLICATION_CREDENTIALS": client.account_file()}
        case.upload(client, [])


class Stores(StoreCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = cls.temporary.name
        cls.world = World(cls, cls.folder)
        os.environ.update(cls.world.variables)
        cls.model = f"{cls.world.scheme}://models/llama 3"
        cls.shards = [f"{cls.model}/model-{n:05}-of-00004.safetensors" for n in range(1, 5)]

    def check(self, digests):
        self.assertEqual(digests, self.digests)

    def test_the_package(self):
        for source in (self.model, self.model + "/"):
            self.check({name: hashlib.sha256(bytes(tensor)).hexdigest()
                        for name, tensor in libstreamer.load(source)})
        names = [entry.uri for entry in libstreamer.list(self.model, recursive=True)]
        self.assertIn(self.model + "/sub/tokenizer.json", names)

    def test_the_quickstart(self):
        self.assertEqual(list_safetensors(self.model), self.shards)
        self.assertEqual(list_safetensors(self.model + "/"), self.shards)
        with SafetensorsStreamer() as streamer:
            streamer.stream_files(self.shards)
            self.assertEqual(sum(len(v) for v in streamer.files_to_tensors_metadata.values()),
                             len(self.digests))
            self.check({name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
                        for name, tensor in streamer.get_tensors()})
        self.assertEqual(list_safetensors(f"{self.world.scheme}://models/nothing"), [])
        # Of a bucket only what lies at its root.
        bucket = f"{self.world.scheme}://models"
        self.world.client.put("models", "root.safetensors", b"x")
        for uri in (bucket, bucket + "/", bucket + "//"):
            self.assertEqual(list_safetensors(uri), [bucket + "/root.safetensors"])

    def test_half_a_model_is_an_error(self):
        folder = f"{self.world.scheme}://models/half"
        shards = [f"model-{n:05}-of-00003.safetensors" for n in range(1, 4)]
        index = json.dumps({"weight_map": {f"t{n}": shard for n, shard in enumerate(shards)}})
        for shard in (shards[0], shards[2]):
            self.world.client.put("models", "half/" + shard, checkpoint({"x": 9}, 1)[0])
        for read in (list_safetensors, libstreamer.open):
            with self.assertRaisesRegex(ValueError, "missing: 2"):
                read(folder)
        self.world.client.put("models", "half/model.safetensors.index.json", index.encode())
        for read in (list_safetensors, libstreamer.open):
            with self.assertRaises(FileNotFoundError) as caught:
                read(folder)
            self.assertIn(shards[1], str(caught.exception))
            self.assertIn("model.safetensors.index.json", str(caught.exception))

    def test_the_folders_that_hold_models_are_named(self):
        for name in ("pipeline/model_index.json", "pipeline/unet/model.safetensors",
                     "pipeline/scheduler/config.json"):
            self.world.client.put("models", name, b"{}")
        folder = f"{self.world.scheme}://models/pipeline"
        with self.assertRaisesRegex(libstreamer.NotFoundError, "pipeline/unet/"):
            libstreamer.open(folder)
        with self.assertLogs("runai_model_streamer", "WARNING") as log:
            self.assertEqual(list_safetensors(folder), [])
        self.assertIn("pipeline/unet/", log.output[0])

    def test_a_bucket_that_is_not_there_is_an_error(self):
        missing = f"{self.world.scheme}://no-such-bucket-here/model"
        for read in (list_safetensors, lambda uri: pull_files(uri, self.folder + "/none")):
            with self.assertRaises(libstreamer.StreamerError) as caught:
                read(missing)
            self.assertIn("no-such-bucket-here", str(caught.exception))

    def test_an_endpoint_that_is_not_there_is_an_error(self):
        with socket.socket() as closed:  # bound and not listening: it refuses
            closed.bind(("127.0.0.1", 0))
            nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
            variables = {"STREAMER_S3_ENDPOINT": nobody, "STREAMER_GCS_ENDPOINT": nobody,
                         "STREAMER_AZURE_ENDPOINT": nobody + "/account",
                         "STREAMER_DEBUG_MAX_ATTEMPTS": "1"}
            with unittest.mock.patch.dict(os.environ, variables):
                for read in (list_safetensors, lambda uri: pull_files(uri, self.folder + "/no")):
                    with self.assertRaises(libstreamer.StreamerError) as caught:
                        read(self.model)
                    self.assertIn(nobody.removeprefix("http://"), str(caught.exception))

    def test_a_sharded_state(self):
        folder = f"{self.world.scheme}://models/sharded"
        wanted = {}
        for rank in range(2):
            for part in range(3):
                content, digests = checkpoint({f"p{part}": 50_000 + rank}, 10 * rank + part)
                name = f"model-rank-{rank}-part-{part}.safetensors"
                self.world.client.put("models", "sharded/" + name, content)
                wanted.setdefault(rank, {}).update(digests)
        for rank in range(2):
            opened = libstreamer.open_rank(folder, rank)
            self.assertEqual(len(opened.objects), 3)
            self.assertEqual({name: hashlib.sha256(bytes(tensor)).hexdigest()
                              for name, tensor in libstreamer.load(opened)}, wanted[rank])
        with self.assertRaises(libstreamer.NotFoundError):
            libstreamer.open_rank(folder, 2)

    def test_pulling(self):
        target = os.path.join(self.folder, "pulled")
        pull_files(self.model, target, allow_pattern=["*.json"])
        self.assertEqual(sorted(os.listdir(target)),
                         ["config.json", "model.safetensors.index.json", "sub"])
        with open(os.path.join(target, "sub", "tokenizer.json"), "rb") as file:
            self.assertEqual(file.read(), b'{"b": 2}')
        # Patterns are held against whole keys.
        none = os.path.join(self.folder, "none")
        pull_files(self.model + "/config.json", none)  # is a prefix too, of nothing
        self.assertFalse(os.path.exists(none))
        pull_files(self.model, none, allow_pattern=["config.json"])
        self.assertFalse(os.path.exists(none))
        pull_files(self.model, none, allow_pattern=["llama 3/config.json"], ignore_pattern=["*.py"])
        self.assertEqual(os.listdir(none), ["config.json"])
        pull_files(self.model, os.path.join(self.folder, "no"), allow_pattern=[])
        self.assertFalse(os.path.exists(os.path.join(self.folder, "no")))
        model = os.path.join(self.folder, "model")
        with ObjectStorageModel(self.model, model) as pulled:
            pulled.pull_files(allow_pattern=["*.model", "*.py", "*.json"])
            pulled.pull_files(ignore_pattern=["*.pt", "*.safetensors", "*.bin", "*.tensors", "*.pth"])
        self.assertIn(".runai_complete", os.listdir(model))

    def test_starting_in_two_phases(self):
        cache = os.path.join(self.folder, "cache")
        source = f"{self.world.scheme}://models/two phases"
        put = self.world.client.put
        shard, digests = checkpoint({"w": 100_000}, 7)
        put("models", "two phases/one.safetensors", shard)
        put("models", "two phases/old.safetensors", b"no index names it")
        put("models", "two phases/config.json", b"{}")
        put("models", "two phases/sub/tokenizer.json", b"[]")
        index = {"weight_map": {"w": "one.safetensors"}}
        put("models", "two phases/model.safetensors.index.json", json.dumps(index).encode())
        first = libstreamer.snapshot(source, cache=cache)
        self.assertEqual(sorted(os.path.relpath(os.path.join(folder, name), first)
                                for folder, _, names in os.walk(first) for name in names),
                         ["config.json", "model.safetensors.index.json", "sub/tokenizer.json"])
        self.assertEqual(libstreamer.snapshot(source + "/", cache=cache), first)
        self.assertEqual({name: hashlib.sha256(bytes(tensor)).hexdigest()
                          for name, tensor in libstreamer.load(source)}, digests)
        put("models", "two phases/config.json", b"[]")
        second = libstreamer.snapshot(source, cache=cache)
        for folder, content in ((first, b"{}"), (second, b"[]")):
            with open(os.path.join(folder, "config.json"), "rb") as file:
                self.assertEqual(file.read(), content)
        index["weight_map"]["v"] = "two.safetensors"
        put("models", "two phases/model.safetensors.index.json", json.dumps(index).encode())
        with self.assertRaisesRegex(libstreamer.StreamerError, "two.safetensors"):
            libstreamer.open(source)

    def test_a_child_of_fork_has_connections_of_its_own(self):
        checkpoint = libstreamer.open(self.model)
        self.assertEqual(len(list(libstreamer.load(checkpoint))), len(self.digests))
        child = os.fork()
        if child == 0:
            try:
                found = {name: hashlib.sha256(bytes(tensor)).hexdigest()
                         for name, tensor in libstreamer.load(self.model)}
                os._exit(0 if found == self.digests else 1)
            except BaseException:
                os._exit(2)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        self.assertEqual(len(list(libstreamer.load(checkpoint))), len(self.digests))

    def test_two_kinds_of_stores_in_one_process_and_answers_that_are_too_short(self):
        if STORE != "google":
            return
        content, digests = checkpoint({f"w{i}": 200_000 for i in range(4)}, 9)
        cut = []  # how many bytes are left out of each answer to come

        def answer(request):
            first, last = map(int, re.match(r"bytes=(\d+)-(\d+)",
                                            request.headers["Range"]).groups())
            last = min(last, len(content) - 1)
            body = content[first:last + 1]
            if cut and len(body) > 100_000:
                body = body[:-cut.pop()]
            return 206, {"ETag": '"1"',
                         "Content-Range": f"bytes {first}-{last}/{len(content)}"}, body

        store = fake_aws.Store(answer)
        self.addCleanup(store.stop)
        variables = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{store.port}", "AWS_REGION": "us-east-1",
                     "AWS_ACCESS_KEY_ID": "KEYID", "AWS_SECRET_ACCESS_KEY": "CANARYSECRET"}
        with unittest.mock.patch.dict(os.environ, variables):
            # The store that is used first serves no other's URIs.
            of_s3 = (["s3://bucket/m.safetensors"], digests)
            for paths, wanted in (of_s3, (self.shards, self.digests), of_s3):
                cut.append(1000)
                with SafetensorsStreamer() as streamer:
                    streamer.stream_files(paths)
                    self.assertEqual({name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
                                      for name, tensor in streamer.get_tensors()}, wanted)
            cut[:] = [1] * 1000
            with unittest.mock.patch.dict(os.environ, STREAMER_MAX_ATTEMPTS="2"), \
                    SafetensorsStreamer() as streamer, \
                    self.assertRaisesRegex(ValueError, "File access error"):
                streamer.stream_files(["s3://bucket/m.safetensors"])
                list(streamer.get_tensors())

    def test_what_is_not_there(self):
        with self.assertRaises(libstreamer.NotFoundError):
            libstreamer.open(self.model + "/nobody.safetensors")
        with SafetensorsStreamer() as streamer:
            with self.assertRaisesRegex(ValueError, "File access error"):
                streamer.stream_file(self.model + "/nobody.safetensors")

    def test_explicit_credentials(self):
        if self.world.credentials is None:
            return
        saved = {name: os.environ.pop(name) for name in self.world.variables}
        self.addCleanup(os.environ.update, saved)
        os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
        with SafetensorsStreamer() as streamer:
            streamer.stream_files(self.shards, s3_credentials=self.world.credentials)
            self.assertEqual(len(list(streamer.get_tensors())), len(self.digests))
        self.assertEqual(list_safetensors(self.model, self.world.credentials), self.shards)
        wrong = S3Credentials("nobody", "wrong", None, "us-east-1", self.world.credentials.endpoint)
        with SafetensorsStreamer() as streamer:
            with self.assertRaisesRegex(ValueError, "File access error"):
                streamer.stream_files(self.shards, s3_credentials=wrong)
        for credentials, code in ((self.world.credentials, 0), (wrong, 2)):
            native = OldFunctions(libstreamer._native.library.path)
            streamer = native.runai_start()
            buffer = bytearray(16)
            native.runai_request(streamer, [self.shards[0]], [0], [16], [memoryview(buffer)],
                                 [[8, 8]], credentials)
            for _ in range(2):
                first, second = ctypes.c_uint(), ctypes.c_uint()
                self.assertEqual(native.dll.runai_response(streamer, ctypes.byref(first),
                                                           ctypes.byref(second)), code)
            native.runai_end(streamer)
            self.assertEqual(any(buffer), code == 0)

    def test_the_native_functions_of_later_versions(self):
        library = ctypes.CDLL(libstreamer._native.library.path)
        found = {}
        callback = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p)
        note = callback(lambda path, size, _: found.__setitem__(path.decode(), size))
        strings = lambda texts: (ctypes.c_char_p * len(texts))(*(t.encode() for t in texts))
        streamer = ctypes.c_void_p()
        self.assertEqual(library.runai_file_streamer_start(ctypes.byref(streamer)), 0)
        saved = {}
        if self.world.credentials is not None:
            saved = {name: os.environ.pop(name) for name in self.world.variables}
            self.addCleanup(os.environ.update, saved)
            os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
            given = {"access_key_id": self.world.credentials.access_key_id,
                     "secret_access_key": self.world.credentials.secret_access_key,
                     "region": "us-east-1", "endpoint": self.world.credentials.endpoint}
            self.assertEqual(library.runai_file_streamer_set_credentials(
                streamer, strings(given), strings(given.values()), len(given)), 0)
        self.assertEqual(library.runai_file_streamer_list_files(
            streamer, self.model.encode(), 1, strings(["*.safetensors"]), 1, strings(["*4-of*"]), 1,
            note, None), 0)
        self.assertEqual(list(found), self.shards[:3])
        # Two submissions, each of all files, one from the front and one from the back.
        buffers, ids = [], []
        for _ in range(2):
            sizes = [size for one in found.values() for size in (one // 3, one - one // 3, 0)]
            offsets = [offset for one in found.values() for offset in (0, one // 3, one)]
            buffers.append(bytearray(sum(sizes)))
            base = ctypes.addressof((ctypes.c_ubyte * len(buffers[-1])).from_buffer(buffers[-1]))
            places = [base + sum(sizes[:i]) for i in range(len(sizes))]
            number = ctypes.c_uint64()
            self.assertEqual(library.runai_file_streamer_request(
                streamer, ctypes.byref(number), ctypes.c_uint(3), strings(found),
                (ctypes.c_uint * 3)(3, 3, 3), (ctypes.c_size_t * 9)(*offsets),
                (ctypes.c_size_t * 9)(*sizes), (ctypes.c_void_p * 9)(*places), Device(0, 0)), 0)
            ids.append(number.value)
        seen, done = [], []
        for _ in range(18):
            number, file, index = ctypes.c_uint64(), ctypes.c_uint(), ctypes.c_uint()
            is_last = ctypes.c_int()
            self.assertEqual(library.runai_file_streamer_response(
                streamer, *map(ctypes.byref, (number, file, index, is_last)), 0), 0)
            seen.append((number.value, file.value, index.value))
            done += [number.value] * is_last.value
        self.assertEqual(sorted(seen), [(i, f, r) for i in ids for f in range(3) for r in range(3)])
        self.assertEqual(sorted(done), ids)
        library.runai_file_streamer_end(streamer)
        os.environ.update(saved)
        for buffer in buffers:
            begin, digests = 0, {}
            for size in found.values():
                digests.update(digests_of(buffer[begin:begin + size]))
                begin += size
            self.assertEqual(digests, {name: digest for name, digest in self.digests.items()
                                       if name in digests})
            self.assertEqual(len(digests), 18)

    def test_a_submission_does_not_wait_for_the_store(self):
        if STORE != "google":
            return
        library = ctypes.CDLL(libstreamer._native.library.path)
        go_on, client = threading.Event(), self.world.client
        client.before_read = lambda key: go_on.wait(60)
        self.addCleanup(setattr, client, "before_read", lambda key: None)
        self.addCleanup(go_on.set)
        streamer, number = ctypes.c_void_p(), ctypes.c_uint64()
        self.assertEqual(library.runai_file_streamer_start(ctypes.byref(streamer)), 0)
        buffer = (ctypes.c_ubyte * 8)()
        one = ctypes.c_size_t * 1
        self.assertEqual(library.runai_file_streamer_request(
            streamer, ctypes.byref(number), ctypes.c_uint(1),
            (ctypes.c_char_p * 1)(self.shards[0].encode()), (ctypes.c_uint * 1)(1), one(0), one(8),
            (ctypes.c_void_p * 1)(ctypes.addressof(buffer)), Device(0, 0)), 0)
        rest = [ctypes.byref(value) for value in (ctypes.c_uint64(), ctypes.c_uint(),
                                                  ctypes.c_uint(), ctypes.c_int())]
        self.assertEqual(library.runai_file_streamer_response(streamer, *rest, 50), 16)
        go_on.set()
        self.assertEqual(library.runai_file_streamer_response(streamer, *rest, 0), 0)
        self.assertGreater(int.from_bytes(bytes(buffer), "little"), 100)
        library.runai_file_streamer_end(streamer)

    def test_listing_of_the_package(self):
        with FileStreamer() as streamer:
            every = streamer.list_files(self.model)
            self.assertEqual([uri for uri, _ in every if uri.endswith(".safetensors")], self.shards)
            self.assertIn((self.model + "/config.json", 8), every)
            self.assertIn((self.model + "/sub/tokenizer.json", 8), every)
            names = [uri for uri, _ in streamer.list_files(self.model + "/", False, ["*.json"],
                                                          ["*index*"])]
            self.assertEqual(names, [self.model + "/config.json"])

    def test_the_native_functions(self):
        native = OldFunctions(libstreamer._native.library.path)
        streamer = native.runai_start()
        buffer = bytearray(100)
        native.runai_request(streamer, self.shards[:2], [0, 8], [60, 40], [memoryview(buffer)],
                             [[30, 30], [40]])
        seen = sorted(native.runai_response(streamer) for _ in range(3))
        self.assertEqual(seen, [(0, 0), (0, 1), (1, 0)])
        self.assertEqual(bytes(buffer[8:9]), b"{")
        self.assertEqual(bytes(buffer[60:61]), b"{")
        native.runai_end(streamer)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
