# SPDX-License-Identifier: Apache-2.0
"""What the example servers do, in each language: ask(program, checkpoint, environment)."""
import glob
import json
import signal
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request


def ask(program, checkpoint, environment):
    """It is there at once, gets ready, gives every tensor's bytes, and says what failed."""
    shard = sorted(glob.glob(f"{checkpoint}/*.safetensors"))[0]
    with open(shard, "rb") as file:
        content = file.read()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8:8 + length])
    header.pop("__metadata__", None)
    with subprocess.Popen([program, checkpoint, "0"], stdout=subprocess.PIPE, text=True,
                          env=environment) as server:
        url = "http://127.0.0.1:" + server.stdout.readline().split()[-1]
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(url + "/health") as answer:
                    assert answer.read() == b"ready"
                break
            except urllib.error.HTTPError as busy:
                assert busy.code == 503 and time.monotonic() < deadline, busy.read()
        for name, tensor in header.items():
            begin, end = tensor["data_offsets"]
            with urllib.request.urlopen(f"{url}/tensors/{name}") as answer:
                assert answer.read() == content[8 + length + begin:8 + length + end], name
        server.terminate()
        # A program that does not handle the signal ends by it.
        assert server.wait(30) in (0, -signal.SIGTERM)
    with subprocess.Popen([program, "/nowhere", "0"], stdout=subprocess.PIPE, text=True,
                          env=environment) as server:
        url = "http://127.0.0.1:" + server.stdout.readline().split()[-1]
        failure = b""
        while b"/nowhere" not in failure:
            try:
                urllib.request.urlopen(url + "/health").close()
                sys.exit("a server without weights says that it is ready")
            except urllib.error.HTTPError as error:
                failure = error.read()
        server.terminate()
