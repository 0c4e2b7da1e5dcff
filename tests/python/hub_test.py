#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Python package on models of a hub: hub_test.py SOURCE_ROOT"""
import hashlib
import os
import sys
import tempfile
import unittest

ROOT = sys.argv[1]
for folder in ("capi/python", "tests/servers", "tests/support"):
    sys.path.insert(0, os.path.join(ROOT, folder))

import fake_hub  # noqa: E402
import libstreamer  # noqa: E402
from store_case import checkpoint  # noqa: E402

TOKEN = "hf_CANARYtokenofthetest"
MODEL = "hf://org/model"


def files_of(seed):
    weights, digests = checkpoint({f"t{t}": 40_000 + t for t in range(3)}, seed)
    return {"model.safetensors": weights, "config.json": b'{"a": %d}' % seed,
            "sub/tokenizer.json": b"{}"}, digests


FILES, DIGESTS = files_of(1)


class Hub(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.home = temporary.name
        self.hub = fake_hub.FakeHub()
        self.addCleanup(self.hub.stop)
        self.commit = self.hub.repository().commit(FILES)
        self.cache = os.path.join(self.home, "hub")
        self.settings = {"hf_endpoint": self.hub.url, "hf_cache_folder": self.cache}

    def digests(self, uri=MODEL, **settings):
        return {name: hashlib.sha256(bytes(tensor)).hexdigest() for name, tensor in
                libstreamer.load(uri, settings={**self.settings, **settings})}

    def fill_cache(self):
        """As the hub's client leaves it."""
        root = os.path.join(self.cache, "models--org--model")
        for path, content in FILES.items():
            blob = os.path.join(root, "blobs", fake_hub.etag_of(path, content))
            name = os.path.join(root, "snapshots", self.commit, path)
            for folder in (os.path.dirname(blob), os.path.dirname(name)):
                os.makedirs(folder, exist_ok=True)
            with open(blob, "wb") as file:
                file.write(content)
            os.symlink(os.path.relpath(blob, os.path.dirname(name)), name)
        os.makedirs(os.path.join(root, "refs"))
        with open(os.path.join(root, "refs", "main"), "w", encoding="ascii") as file:
            file.write(self.commit)

    def test_lists(self):
        listed = libstreamer.list(MODEL, recursive=True, settings=self.settings)
        self.assertEqual([(entry.uri, entry.bytes) for entry in listed],
                         [(f"{MODEL}/{path}", len(FILES[path])) for path in sorted(FILES)])
        model = libstreamer.list_model(MODEL, settings=self.settings)
        self.assertEqual([entry.uri for entry in model.objects], [MODEL + "/model.safetensors"])

    def test_loads_and_verifies(self):
        self.assertEqual(self.digests(verify="required"), DIGESTS)
        # Signed URLs go to a CDN, which does not get the token.
        self.hub.tokens.clear()
        self.assertEqual(self.digests(hf_token=TOKEN), DIGESTS)
        self.assertEqual(self.hub.tokens, {TOKEN})
        self.assertEqual({token for token, _ in self.hub.cdn_requests}, {None})

    def test_revisions(self):
        other, digests = files_of(2)
        commit = self.hub.repository().commit(other, "v2")
        self.assertEqual(self.digests(MODEL + "@v2"), digests)
        self.assertEqual(self.digests(f"{MODEL}@{commit}/model.safetensors"), digests)
        self.assertEqual(self.digests(), DIGESTS)
        with self.assertRaises(libstreamer.NotFoundError) as raised:
            libstreamer.open(MODEL + "@v3", settings=self.settings)
        self.assertIn("RevisionNotFound", str(raised.exception))

    def test_one_commit_is_read_whatever_is_pushed(self):
        opened = libstreamer.open(MODEL, settings=self.settings)
        self.hub.repository().commit(files_of(2)[0])
        self.assertEqual({name: hashlib.sha256(bytes(tensor)).hexdigest()
                          for name, tensor in libstreamer.load(opened)}, DIGESTS)

    def test_pulls_and_snapshots(self):
        to = os.path.join(self.home, "to")
        pulled = libstreamer.pull(MODEL, to, settings=self.settings)
        self.assertEqual(len(pulled), len(FILES))
        for path, content in FILES.items():
            with open(os.path.join(to, path), "rb") as file:
                self.assertEqual(file.read(), content)
        self.assertTrue(all(file.was_there for file in
                            libstreamer.pull(MODEL, to, settings=self.settings)))
        folder = libstreamer.snapshot(MODEL, cache=os.path.join(self.home, "snapshots"),
                                      settings=self.settings)
        self.assertEqual(sorted(os.listdir(folder)), ["config.json", "sub"])

    def test_the_cache_of_the_hubs_client_is_used_and_enough_offline(self):
        self.fill_cache()
        self.assertEqual(self.digests(), DIGESTS)
        self.assertEqual(self.hub.asked("/resolve/"), [])
        self.hub.requests.clear()
        self.assertEqual(self.digests(hf_endpoint="off"), DIGESTS)
        self.assertEqual(self.hub.requests, [])

    def test_offline_a_token_is_not_needed_and_does_no_harm(self):
        self.fill_cache()
        self.hub.requests.clear()
        self.assertEqual(self.digests(hf_endpoint="OFF", hf_token="hf_CANARY3"), DIGESTS)
        self.assertEqual(self.hub.requests, [])

    def test_offline_without_the_cache(self):
        with self.assertRaises(libstreamer.StreamerError) as raised:
            self.digests(hf_endpoint="off")
        self.assertIn("no request", str(raised.exception))
        self.assertEqual(self.hub.requests, [])

    def test_refusals_and_what_the_doctor_says(self):
        self.hub.repository("org/private").readers = {TOKEN}
        with self.assertRaises(libstreamer.StreamerError) as raised:
            libstreamer.open("hf://org/private", settings=self.settings | {"hf_token": "hf_CANARY2"})
        self.assertNotIn("CANARY", str(raised.exception))
        steps = libstreamer.diagnose(MODEL, settings=self.settings)
        self.assertIn(self.commit, " ".join(step.detail for step in steps))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
