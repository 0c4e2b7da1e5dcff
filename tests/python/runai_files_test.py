#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rest of the Run:ai Model Streamer's surface: runai_files_test.py SOURCE_ROOT"""
import gc
import json
import multiprocessing
import os
import pathlib
import sys
import unittest

ROOT = sys.argv[1]
for folder in ("capi/python", "capi/runai/python", "tests/support"):
    sys.path.insert(0, os.path.join(ROOT, folder))
import libstreamer  # noqa: E402
import runai_model_streamer  # noqa: E402
from runai_case import Case, write  # noqa: E402
from runai_model_streamer import ObjectStorageModel, list_safetensors, pull_files  # noqa: E402
from runai_model_streamer.safetensors_streamer import safetensors_streamer as module  # noqa: E402
from runai_model_streamer.safetensors_streamer.streamer_mock import StreamerPatcher  # noqa: E402


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

    def index(self, shards, folder=""):
        with open(self.path(folder + "model.safetensors.index.json"), "w", encoding="utf-8") as out:
            json.dump({"weight_map": {f"t{i}": shard for i, shard in enumerate(shards)}}, out)

    def test_a_listing_is_a_whole_model(self):
        shards = [f"model-{n:05}-of-00007.safetensors" for n in range(1, 8)]
        for shard in shards:
            self.file(shard, [])
        whole = [self.path(shard) for shard in shards]
        self.assertEqual(list_safetensors(self.folder.name), whole)
        self.index(shards)
        self.file("consolidated.safetensors", [])
        with self.assertLogs("runai_model_streamer", "WARNING") as log:
            self.assertEqual(list_safetensors(self.folder.name), whole)
        self.assertIn("consolidated.safetensors", log.output[0])
        os.remove(whole[3])
        with self.assertRaises((ValueError, FileNotFoundError)) as caught:
            list_safetensors(self.folder.name)
        self.assertIn(shards[3], str(caught.exception))
        self.assertIn("model.safetensors.index.json", str(caught.exception))
        os.symlink("../blobs/gone", whole[3])
        with self.assertRaisesRegex((ValueError, FileNotFoundError), "blobs/gone"):
            list_safetensors(self.folder.name)
        os.remove(whole[3])
        os.remove(self.path("model.safetensors.index.json"))
        with self.assertRaisesRegex(ValueError, "missing: 4"):
            list_safetensors(self.folder.name)

    def test_a_folder_without_a_model_is_an_empty_list_and_a_warning(self):
        os.mkdir(self.path("unet"))
        self.file("unet/model.safetensors", [])
        with self.assertLogs("runai_model_streamer", "WARNING") as log:
            self.assertEqual(list_safetensors(self.folder.name), [])
        self.assertIn("unet", log.output[0])
        with self.assertLogs("runai_model_streamer", "WARNING"):
            self.assertEqual(list_safetensors(self.path("nowhere")), [])

    def test_a_hubs_cache_is_its_snapshot(self):
        snapshot = self.path("models--org--name/snapshots/c0ffee")
        os.makedirs(snapshot)
        os.mkdir(self.path("models--org--name/refs"))
        write(os.path.join(snapshot, "model.safetensors"), [])
        with open(self.path("models--org--name/refs/main"), "w", encoding="utf-8") as out:
            out.write("c0ffee")
        self.assertEqual(list_safetensors(self.path("models--org--name")),
                         [os.path.join(snapshot, "model.safetensors")])

    def test_pulling_is_for_stores(self):
        with self.assertRaisesRegex(NotImplementedError, "not implemented for file system paths"):
            pull_files("/models", "/tmp")

    def test_what_a_store_refuses_is_no_value_error(self):
        self.environment(AWS_REGION="no such region")
        with self.assertRaisesRegex(libstreamer.StreamerError, "is not a region") as caught:
            pull_files("s3://models/llama", self.path("to"))
        self.assertNotIsInstance(caught.exception, ValueError)
        self.assertEqual(caught.exception.kind, "invalid_argument")

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

    def test_a_model_whose_folder_cannot_be(self):
        with self.assertRaises(OSError):
            ObjectStorageModel("s3://b/m", self.path("nowhere/m"))
        for path in ("s3:/b/m", "file:///m", self.folder.name):
            with self.assertRaises(ValueError):
                ObjectStorageModel(path, self.path("x"))
        self.assertEqual(os.listdir(self.folder.name), [])

    def test_a_model_that_is_not_ended_lets_the_next_one_in(self):
        os.makedirs(self.path("m"))
        with open(self.path("m/half"), "wb"):
            pass
        first = ObjectStorageModel("s3://b/m", pathlib.Path(self.path("m")))
        self.assertEqual(os.listdir(self.path("m")), [])  # what was there was not whole
        self.assertTrue(os.path.exists(self.path("m.lock")))
        del first
        gc.collect()
        second = ObjectStorageModel("s3://b/m", self.path("m"))
        self.assertFalse(second._skip)
        # As programs call it that wrap the object in one of their own.
        self.assertFalse(second.__exit__(KeyError, KeyError("x"), None))
        second.__del__()
        third = ObjectStorageModel("s3://b/m", self.path("m"))
        with open(self.path("m/config.json"), "wb"):
            pass
        self.assertFalse(third.__exit__(None, None, None))
        fourth = ObjectStorageModel("s3://b/m", self.path("m"))
        fifth = ObjectStorageModel("s3://b/m", self.path("m"))  # both find it there
        self.assertTrue(fourth._skip and fifth._skip)

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

    def test_the_module(self):
        self.assertEqual(set(runai_model_streamer.__all__), {
            "SafetensorsStreamer", "ObjectStorageModel", "DistributedStreamer", "FileStreamer",
            "FileChunks", "list_safetensors", "pull_files"})


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
