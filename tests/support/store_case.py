# SPDX-License-Identifier: Apache-2.0
"""What tests of the streamer command against a real store have in common."""
import hashlib
import json
import os
import random
import struct
import subprocess
import unittest

CANARY = "CANARYSECRET"
# Names that some tool or other got wrong.
ODD_NAMES = ["plain", "a b", "a+b", "a%b", "a%2Fb", "a&b=c", "a?b#c", "a~b*c'd(e)!", "a@b$c,d;e:f",
             "a\"b\\c|d<e>f^g`h{i}[j]", "é", "e\u0301", "中", "😀", "trailing space ", "trailing.dot.",
             "x/./y", "x/../y", "x//y", "k" * 1000]


def checkpoint(tensors, seed):
    """A safetensors file and the SHA-256 of each tensor."""
    generator = random.Random(seed)
    header, data, digests = {}, b"", {}
    for name, size in tensors.items():
        content = generator.randbytes(size)
        header[name] = {"dtype": "U8", "shape": [size],
                        "data_offsets": [len(data), len(data) + size]}
        data += content
        digests[name] = hashlib.sha256(content).hexdigest()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data, digests


class StoreCase(unittest.TestCase):
    @classmethod
    def upload(cls, client, odd_names):
        """Into "models": a checkpoint of four shards in "llama 3/", one file of each odd name in
        "odd/". Their digests are cls.digests and cls.odd_NUMBER."""
        cls.digests = {}
        shards = {}
        for shard in range(4):
            tensors = {f"layer.{shard}.{t}": 300_000 + 7777 * t for t in range(5)}
            tensors[f"empty.{shard}"] = 0
            content, digests = checkpoint(tensors, shard)
            name = f"model-{shard + 1:05}-of-00004.safetensors"
            client.put("models", "llama 3/" + name, content)
            shards.update({tensor: name for tensor in tensors})
            cls.digests.update(digests)
        index = json.dumps({"metadata": {}, "weight_map": shards}).encode()
        client.put("models", "llama 3/model.safetensors.index.json", index)
        client.put("models", "llama 3/config.json", b'{"a": 1}')
        client.put("models", "llama 3/sub/tokenizer.json", b'{"b": 2}')
        for number, name in enumerate(odd_names):
            content, digests = checkpoint({f"odd.{number}": 5000 + number}, 100 + number)
            client.put("models", f"odd/{name}.safetensors"[:1024], content)
            setattr(cls, f"odd_{number}", digests)

    def run_streamer(self, program, arguments, variables, secret_variables, secrets=()):
        """At TRACE, so that every test is one for secrets in the log too. A variable that is None is
        not set."""
        environment = {"PATH": os.environ["PATH"], "HOME": self.folder, **variables}
        environment = {name: value for name, value in environment.items() if value is not None}
        done = subprocess.run([program, "--log", "trace", *arguments], env=environment,
                              capture_output=True, text=True, timeout=120)
        hidden = [environment[name] for name in secret_variables if environment.get(name)]
        for secret in [*hidden, *secrets, CANARY, "Signature=", "sig=", "eyJ", "Bearer "]:
            self.assertNotIn(secret, done.stdout + done.stderr)
        return done

    def digest(self, uri, **how):
        done = self.streamer("digest", uri, **how)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        lines = [line.split(None, 1) for line in done.stdout.splitlines()]
        return {name: digest for digest, name in lines}
