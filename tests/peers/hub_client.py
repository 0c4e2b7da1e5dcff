#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""hf:// against the hub's own client, huggingface_hub, on the same small hub.

By hand, not in CI: pip install -r requirements.txt, then hub_client.py STREAMER
Names, commits, tokens and the meaning of URIs must be the same for both; and a cache that the client
filled must be one that we read, without a request.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in ("servers", "support"):
    sys.path.insert(0, os.path.join(HERE, "..", folder))
STREAMER = os.path.abspath(sys.argv[1])

import fake_hub  # noqa: E402
from store_case import checkpoint  # noqa: E402

# In a process of its own, because the client reads its variables when it is imported.
CLIENT = """
import json, sys
import huggingface_hub as hub
from huggingface_hub import HfFileSystem
what, argument = sys.argv[1:3]
api = hub.HfApi()
if what == "names":
    print(json.dumps(sorted(api.list_repo_files(argument))))
elif what == "commit":
    print(json.dumps(api.model_info(argument).sha))
elif what == "snapshot":
    print(json.dumps(hub.snapshot_download(argument, **json.loads(sys.argv[3]))))
elif what == "file":
    print(json.dumps(hub.hf_hub_download(argument, "config.json")))
elif what == "place":
    from huggingface_hub.utils import parse_hf_uri
    try:
        it = parse_hf_uri(argument)
        print(json.dumps([it.type, it.id, it.revision or "main", it.path_in_repo]))
    except ValueError:
        print(json.dumps(None))
"""


def model():
    files, index = {}, {}
    for shard in range(2):
        name = f"model-{shard + 1:05}-of-00002.safetensors"
        files[name], digests = checkpoint({f"l.{shard}.{t}": 50_000 + t for t in range(3)}, shard)
        index |= {tensor: name for tensor in digests}
    files["model.safetensors.index.json"] = json.dumps({"weight_map": index}).encode()
    files["config.json"] = b"{}"
    files["sub/deep/a b.txt"] = b"1"
    return files


class Client(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.home = temporary.name
        self.hub = fake_hub.FakeHub()
        self.addCleanup(self.hub.stop)
        self.files = model()
        self.commit = self.hub.repository().commit(self.files)

    def run_with(self, command, env):
        environment = {"PATH": os.environ["PATH"], "HOME": self.home, "HF_ENDPOINT": self.hub.url,
                       "HF_HUB_DISABLE_XET": "1", **env}
        return subprocess.run(command, env=environment, capture_output=True, text=True,
                              timeout=120, check=False)

    def theirs(self, *arguments, env=None):
        done = self.run_with([sys.executable, "-c", CLIENT, *arguments], env or {})
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        return json.loads(done.stdout.splitlines()[-1])

    def ours(self, *arguments, env=None):
        done = self.run_with([STREAMER, *arguments], env or {})
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_names_and_commits(self):
        self.hub.page_entries = 2
        root = "hf://org/model/"
        ours = [line.split(None, 1)[1].removeprefix(root)
                for line in self.ours("ls", "-r", root).splitlines()]
        self.assertEqual(ours, self.theirs("names", "org/model"))
        self.assertIn(f"main is {self.theirs('commit', 'org/model')}", self.ours("doctor", root))

    def test_a_cache_that_the_client_filled(self):
        self.theirs("snapshot", "org/model", "{}")
        expected = self.ours("digest", "hf://org/model", env={"STREAMER_HF_CACHE_FOLDER": "off"})
        self.hub.requests.clear()
        offline = {"HF_HUB_OFFLINE": "1"}
        self.assertEqual(self.ours("digest", "hf://org/model", env=offline), expected)
        self.assertEqual(self.ours("digest", f"hf://org/model@{self.commit}"), expected)
        self.ours("load", f"hf://org/model@{self.commit}", "--set", "verify=required")
        pulled = os.path.join(self.home, "pulled")
        self.ours("pull", f"hf://org/model@{self.commit}", pulled)
        for name, content in self.files.items():
            with open(os.path.join(pulled, name), "rb") as file:
                self.assertEqual(file.read(), content)
        self.assertEqual(self.hub.requests, [])

    def test_a_cache_that_the_client_filled_in_part(self):
        self.theirs("snapshot", "org/model", '{"allow_patterns": "*1-of*"}')
        self.hub.requests.clear()
        self.ours("digest", "hf://org/model")
        self.assertEqual([line.rpartition("/")[2] for line in self.hub.asked("2-of-00002")][:1],
                         ["model-00002-of-00002.safetensors"])
        self.assertEqual(self.hub.asked("1-of-00002"), [])
        shutil.rmtree(os.path.join(self.home, ".cache"))
        self.theirs("file", "org/model")
        self.ours("digest", "hf://org/model")

    def test_the_same_token(self):
        self.hub.repository().readers = {f"hf_{name}" for name in ("one", "two", "file", "path")}
        for name, place in (("file", ".cache/huggingface/token"), ("path", "elsewhere")):
            path = os.path.join(self.home, place)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"hf_{name}\n")
        elsewhere = os.path.join(self.home, "elsewhere")
        for env in ({}, {"HF_TOKEN": "hf_one"}, {"HF_TOKEN": "hf_one\n", "HF_TOKEN_PATH": elsewhere},
                    {"HUGGING_FACE_HUB_TOKEN": "hf_two"}, {"HF_TOKEN_PATH": elsewhere},
                    {"HF_TOKEN": "hf_one", "HUGGING_FACE_HUB_TOKEN": "hf_two"},
                    {"HF_HOME": os.path.join(self.home, ".cache", "huggingface"),
                     "XDG_CACHE_HOME": "/nonexistent"}, {"HF_TOKEN_PATH": "~/elsewhere"}):
            with self.subTest(env):
                seen = []
                for run in (lambda: self.theirs("names", "org/model", env=env),
                            lambda: self.ours("ls", "hf://org/model", env=env)):
                    self.hub.tokens.clear()
                    run()
                    seen.append(set(self.hub.tokens))
                self.assertEqual(seen[0], seen[1])

    def test_the_same_meaning_of_uris(self):
        for uri in ("hf://org/model", "hf://org/model/x/y", "hf://org/model@v1/x",
                    "hf://models/org/model@v1", "hf://datasets/org/data/x",
                    "hf://spaces/org/app@a%2Fb/x", "hf://org/model@refs/pr/3/x",
                    "hf://org/model@refs/convert/parquet/x/y"):
            with self.subTest(uri):
                kind, name, revision, path = self.theirs("place", uri)
                page = name if kind == "model" else f"{kind}s/{name}"
                done = self.run_with([STREAMER, "doctor", uri], {"HF_HUB_OFFLINE": "1"})
                self.assertIn(f"{page}, revision {revision}" + (f", path {path}" if path else ""),
                              done.stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
