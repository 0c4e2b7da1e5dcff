#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""hf:// through the streamer command, against a small hub: hub_test.py STREAMER ROOT"""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

STREAMER, ROOT = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
sys.path.insert(0, os.path.join(ROOT, "tests", "servers"))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))

import fake_hub  # noqa: E402
from store_case import checkpoint  # noqa: E402

TOKEN = "hf_CANARYtokenofthetest"


def model(seed=0, shards=3):
    """Files of a model, and the digests of its tensors."""
    files, digests, index = {}, {}, {}
    for shard in range(shards):
        name = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        tensors = {f"layer.{shard}.{t}": 100_000 + 777 * t for t in range(3)}
        files[name], some = checkpoint(tensors, 100 * seed + shard)
        digests |= some
        index |= {tensor: name for tensor in tensors}
    files["model.safetensors.index.json"] = json.dumps(
        {"metadata": {}, "weight_map": index}).encode()
    files["config.json"] = b'{"a": %d}' % seed
    files["sub/tokenizer.json"] = b'{"b": 2}'
    files["empty.txt"] = b""
    return files, digests


FILES, DIGESTS = model()


class Hub(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.home = temporary.name
        self.hub = fake_hub.FakeHub()
        self.addCleanup(self.hub.stop)
        self.commit = self.hub.repository().commit(FILES)

    def streamer(self, *arguments, env=None, code=0):
        environment = {"PATH": os.environ["PATH"], "HOME": self.home, "HF_ENDPOINT": self.hub.url,
                       **(env or {})}
        environment = {name: value for name, value in environment.items() if value is not None}
        done = subprocess.run([STREAMER, "--log", "trace", *arguments], env=environment,
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode == 0, code == 0, done.stdout + done.stderr[-3000:])
        for secret in (TOKEN, "Signature=s"):
            self.assertNotIn(secret, done.stdout + done.stderr)
        return done

    def digest(self, uri, **how):
        lines = self.streamer("digest", uri, **how).stdout.splitlines()
        return dict(reversed(line.split(None, 1)) for line in lines)

    def error(self, *arguments, env=None):
        done = self.streamer(*arguments, env=env, code=1)
        lines = [line for line in done.stderr.splitlines() if line.startswith("streamer: hf:")]
        self.assertEqual(len(lines), 1, done.stderr[-3000:])
        return lines[0]

    def names(self, *arguments, **how):
        return [line.split(None, 1)[1] for line in
                self.streamer("ls", *arguments, **how).stdout.splitlines()]

    # ---- Listing ----

    def test_a_repository_is_a_folder(self):
        root = "hf://org/model"
        self.assertEqual(self.names(root), sorted(
            [f"{root}/{name}" for name in FILES if "/" not in name] + [f"{root}/sub/"]))
        self.assertEqual(self.names("-r", root), sorted(f"{root}/{name}" for name in FILES))
        self.assertEqual(self.names(root + "/sub/"), [root + "/sub/tokenizer.json"])
        self.assertEqual(self.names(root + "/sub"), [root + "/sub/tokenizer.json"])
        self.assertEqual(self.names(root + "/config.json"), [root + "/config.json"])

    def test_long_listings_come_in_pages(self):
        self.hub.page_entries = 2
        self.assertEqual(self.names("-r", "hf://org/model"),
                         sorted(f"hf://org/model/{name}" for name in FILES))
        self.assertGreater(len(self.hub.asked("cursor=")), 2)

    def test_a_mirror_may_name_its_original_in_links_and_that_does_not_get_the_token(self):
        other = fake_hub.FakeHub()
        self.addCleanup(other.stop)
        self.hub.page_entries, self.hub.link_origin = 3, other.url
        self.assertEqual(len(self.names("-r", "hf://org/model", env={"HF_TOKEN": TOKEN})),
                         len(FILES))
        self.assertEqual(other.requests, [])

    def test_names_that_urls_must_escape(self):
        odd = ["a b/c+d.json", "e%2Ff.json", "é/x?y#z.json", "中.json"]
        self.hub.repository("org/odd").commit({name: name.encode() for name in odd})
        self.assertEqual(self.names("-r", "hf://org/odd"), sorted(f"hf://org/odd/{n}" for n in odd))
        folder = os.path.join(self.home, "odd")
        self.streamer("pull", "hf://org/odd", folder)
        for name in odd:
            with open(os.path.join(folder, name), "rb") as file:
                self.assertEqual(file.read(), name.encode())

    def test_kinds_and_revisions(self):
        repository = self.hub.repository()
        for revision, text in {"v1.0": "v1.0", "feature/x": "feature%2Fx",
                               "refs/pr/1": "refs/pr/1"}.items():
            commit = repository.commit({"only": revision.encode()}, revision)
            for uri in (f"hf://org/model@{text}/only", f"hf://models/org/model@{text}/only",
                        f"hf://org/model@{commit}/only"):
                self.assertEqual(self.names(uri), [uri])
        self.hub.repository("datasets/org/data").commit({"x": b"1"})
        self.assertEqual(self.names("hf://datasets/org/data"), ["hf://datasets/org/data/x"])
        self.hub.repository("old").commit({"x": b"1"}, "v2")
        self.assertEqual(self.names("hf://old@v2"), ["hf://old@v2/x"])
        for wrong in ("hf://org/../model", "hf://org/model@a..%2F..%2Fb", "hf://org/mo del"):
            self.assertIn("write hf://ORGANISATION/MODEL", self.error("ls", wrong))

    # ---- Loading ----

    def test_a_model_loads_and_the_cdn_never_sees_the_token(self):
        self.assertEqual(self.digest("hf://org/model", env={"HF_TOKEN": TOKEN}), DIGESTS)
        self.assertEqual(self.hub.tokens, {TOKEN})
        self.assertEqual({token for token, _ in self.hub.cdn_requests}, {None})
        self.streamer("inspect", "hf://org/model")
        self.streamer("load", "hf://org/model", "--set", "verify=required")

    def test_signed_urls_expire_as_often_as_they_like(self):
        self.hub.uses_of_url = 2
        self.assertEqual(self.digest("hf://org/model", env={"STREAMER_DEBUG_CHUNK_BYTES": "16KiB",
                                                            "STREAMER_CONCURRENCY": "8"}), DIGESTS)
        self.assertGreater(len(self.hub.asked("/resolve/")), 6)

    def test_one_open_reads_one_commit(self):
        files, _ = model(seed=1)
        pages = []

        def push():
            if not pages:
                self.hub.repository().commit(files)
            pages.append(1)
        self.hub.after_page = push
        self.assertEqual(self.digest("hf://org/model"), DIGESTS)
        self.assertEqual(len(self.hub.asked("/revision/")), 1)
        self.assertTrue(all(self.commit in line for line in self.hub.asked("/resolve/")))
        self.assertNotEqual(self.digest("hf://org/model"), DIGESTS)

    def test_a_renamed_repository_is_found(self):
        self.hub.renamed["old-org/model"] = "org/model"
        self.assertEqual(self.digest("hf://old-org/model"), DIGESTS)

    def test_damage_on_the_way_is_found_by_the_sha256(self):
        self.hub.damage = lambda content: content[:-1] + bytes([content[-1] ^ 1])
        self.streamer("load", "hf://org/model")
        self.assertIn("ChecksumMismatch",
                      self.error("load", "hf://org/model", "--set", "verify=store"))

    def test_a_cdn_with_another_file_is_refused(self):
        self.hub.damage = lambda content: content + b"x"
        self.assertIn("the hub says that it has", self.error("load", "hf://org/model"))

    def test_snapshots_are_the_small_files(self):
        folder = self.streamer("snapshot", "hf://org/model", "--set",
                               f"cache_folder={self.home}/snapshots").stdout.split("\n")[0].strip()
        found = {os.path.relpath(os.path.join(at, name), folder)
                 for at, _, names in os.walk(folder) for name in names}
        self.assertEqual(found, {name for name in FILES if not name.endswith(".safetensors")})
        self.assertEqual(self.hub.cdn_requests, [])

    def test_a_second_pull_fetches_nothing(self):
        folder = os.path.join(self.home, "pulled")
        self.streamer("pull", "hf://org/model", folder)
        before = len(self.hub.cdn_requests)
        self.streamer("pull", "hf://org/model", folder)
        self.assertEqual(len(self.hub.cdn_requests), before)
        for name, content in FILES.items():
            with open(os.path.join(folder, name), "rb") as file:
                self.assertEqual(file.read(), content)

    # ---- Tokens ----

    def test_where_tokens_come_from(self):
        self.hub.repository().readers = {TOKEN}
        stored = os.path.join(self.home, ".cache", "huggingface")
        os.makedirs(stored)
        other = os.path.join(self.home, "other")
        with open(other, "w", encoding="utf-8") as file:
            file.write(TOKEN + "\n")
        uri = "hf://org/model/config.json"
        self.error("ls", uri)
        for env in ({"HF_TOKEN": TOKEN + "\n"}, {"HUGGING_FACE_HUB_TOKEN": TOKEN},
                    {"STREAMER_HF_TOKEN": TOKEN}, {"HF_TOKEN_PATH": other}):
            self.names(uri, env=env)
        shutil.copy(other, os.path.join(stored, "token"))
        self.names(uri)
        self.names(uri, env={"HF_HOME": stored, "HOME": "/nonexistent"})
        self.error("ls", uri, env={"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"})
        self.error("ls", uri, env={"STREAMER_HF_TOKEN": "off"})
        self.assertEqual(self.hub.tokens, {TOKEN})

    # ---- Refusals ----

    def test_refusals_say_what_to_do(self):
        gated, private = self.hub.repository("org/gated"), self.hub.repository("org/private")
        for repository in (gated, private):
            repository.commit(FILES)
            repository.readers = set()
        gated.is_gated = True
        token = {"HF_TOKEN": TOKEN}
        for arguments, env, words in [
                (("load", "hf://org/gated"), None, "GatedRepo|the model is gated|HF_TOKEN"),
                (("load", "hf://org/gated"), token, "GatedRepo|account that the token belongs to"),
                (("ls", "hf://org/private"), None, "RepoNotFound|or it is private and needs"),
                (("ls", "hf://org/nothing"), token, "RepoNotFound|the token may not read it"),
                (("ls", "hf://org/model@none"), None, "RevisionNotFound|what follows the @"),
                (("load", "hf://org/model/no.safetensors"), None, "EntryNotFound|check the path"),
                (("ls", "hf://org/model"), {"HF_TOKEN": "wrong-token"},
                 "401|the token from HF_TOKEN is not valid there")]:
            line = self.error(*arguments, env=env)
            for word in words.split("|"):
                self.assertIn(word, line)

    def test_a_rate_limit_is_waited_out_or_said(self):
        limit = (429, {"RateLimit": '"api";r=0;t=1'})
        self.hub.answers_first = [limit]
        self.assertEqual(self.digest("hf://org/model"), DIGESTS)
        self.hub.answers_first = [(429, {"RateLimit": '"api";r=0;t=200'})]
        line = self.error("ls", "hf://org/model", "--set", "debug.max_attempts=1")
        for word in ("429", "the limit ends in 200 s", "HF_TOKEN"):
            self.assertIn(word, line)

    def test_what_is_no_hub_is_said(self):
        self.hub.answers_first = [(200, {})]
        self.assertIn("is it a hub", self.error("ls", "hf://org/model"))

    # ---- The cache of the hub's client ----

    def cache(self, files=None, refs="main", tree=None):
        """Lays out what huggingface_hub leaves behind; tests/peers/peer_hub.py compares with it."""
        root = os.path.join(self.home, ".cache", "huggingface", "hub", "models--org--model")
        shutil.rmtree(root, ignore_errors=True)
        for path, content in (FILES if files is None else files).items():
            etag = fake_hub.etag_of(path, content)
            link = os.path.join(root, "snapshots", self.commit, path)
            os.makedirs(os.path.dirname(link), exist_ok=True)
            os.makedirs(os.path.join(root, "blobs"), exist_ok=True)
            with open(os.path.join(root, "blobs", etag), "wb") as file:
                file.write(content)
            os.symlink(os.path.relpath(os.path.join(root, "blobs", etag), os.path.dirname(link)),
                       link)
        os.makedirs(os.path.join(root, "refs"))
        if refs:
            with open(os.path.join(root, "refs", refs), "w", encoding="utf-8") as file:
                file.write(self.commit)
        if tree:
            os.makedirs(os.path.join(root, "trees"))
            about = {path: {"size": len(content), "blob_id": fake_hub.git_id(content),
                            **({"lfs_sha256": hashlib.sha256(content).hexdigest(),
                                "lfs_size": len(content)} if fake_hub.is_in_lfs(path) else {})}
                     for path, content in FILES.items()}
            with open(os.path.join(root, "trees", self.commit + ".json"), "w",
                      encoding="utf-8") as file:
                json.dump({"format_version": 1, "files": about}, file)
        return root

    def test_what_the_cache_has_is_not_fetched(self):
        self.cache()
        self.assertEqual(self.digest("hf://org/model"), DIGESTS)
        self.assertEqual(self.hub.asked("/resolve/"), [])
        self.assertEqual(self.hub.cdn_requests, [])
        self.streamer("load", "hf://org/model", "--set", "verify=required")

    def test_a_commit_whose_tree_is_cached_needs_no_request(self):
        self.cache(tree=True)
        self.assertEqual(self.digest(f"hf://org/model@{self.commit}"), DIGESTS)
        self.assertEqual(self.names("-r", f"hf://org/model@{self.commit}"),
                         sorted(f"hf://org/model@{self.commit}/{name}" for name in FILES))
        self.names(f"hf://org/model@{self.commit}/sub")
        self.assertEqual(self.hub.requests, [])

    def test_what_the_cache_lacks_is_fetched(self):
        shard = "model-00002-of-00003.safetensors"
        self.cache({path: content for path, content in FILES.items() if path != shard})
        self.assertEqual(self.digest("hf://org/model"), DIGESTS)
        self.assertEqual({line.rpartition("/")[2] for line in self.hub.asked("/resolve/")}, {shard})

    def test_a_damaged_file_of_the_cache_is_not_used(self):
        root = self.cache()
        shard = "model-00002-of-00003.safetensors"
        with open(os.path.join(root, "snapshots", self.commit, shard), "ab") as file:
            file.write(b"more")
        self.assertEqual(self.digest("hf://org/model"), DIGESTS)
        self.assertEqual({line.rpartition("/")[2] for line in self.hub.asked("/resolve/")}, {shard})

    def test_offline_there_is_only_the_cache(self):
        offline = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:1"}
        self.assertIn("HF_HUB_OFFLINE says to make no request",
                      self.error("ls", "hf://org/model", env=offline))
        self.cache()
        self.assertEqual(self.digest("hf://org/model", env=offline), DIGESTS)
        self.assertEqual(self.names("-r", "hf://org/model", env=offline),
                         sorted(f"hf://org/model/{name}" for name in FILES))
        self.assertIn("no such file", self.error("load", "hf://org/model/other.safetensors",
                                                 env=offline))
        done = self.streamer("doctor", "hf://org/model", env=offline)
        self.assertIn("HF_HUB_OFFLINE", done.stdout)
        folder = os.path.join(self.home, "pulled")
        self.streamer("pull", "hf://org/model", folder, env=offline)
        self.streamer("snapshot", "hf://org/model", env=offline)
        moved = os.path.join(self.home, "elsewhere")
        shutil.move(os.path.join(self.home, ".cache", "huggingface", "hub"), moved)
        self.assertEqual(self.digest("hf://org/model", env=offline | {"HF_HUB_CACHE": moved}),
                         DIGESTS)
        self.assertEqual(self.hub.requests, [])

    def test_a_hub_that_cannot_be_reached_leaves_the_cache(self):
        self.cache()
        down = {"HF_ENDPOINT": "http://127.0.0.1:1", "STREAMER_DEBUG_MAX_ATTEMPTS": "1"}
        self.assertEqual(self.digest("hf://org/model", env=down), DIGESTS)
        self.assertEqual(self.digest(f"hf://org/model@{self.commit}", env=down), DIGESTS)
        self.error("ls", "hf://org/model@other", env=down)

    def test_a_newer_commit_is_fetched(self):
        self.cache()
        files, digests = model(seed=1)
        self.hub.repository().commit(files)
        self.assertEqual(self.digest("hf://org/model"), digests)

    # ---- The doctor ----

    def test_the_doctor_says_what_it_reads(self):
        text = self.streamer("doctor", "hf://org/model", env={"HF_TOKEN": TOKEN}).stdout
        for word in (self.hub.url, "HF_ENDPOINT", "org/model, revision main",
                     f"main is {self.commit}", "a token from HF_TOKEN"):
            self.assertIn(word, text)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
