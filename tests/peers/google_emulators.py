#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gs:// on real emulators of Google's storage, compared with Google's own client on the same objects.

By hand, not in CI: pip install -r requirements-emulators.txt, then
  google_emulators.py STREAMER [FAKE_GCS_SERVER]
in that environment: its bin folder must be in PATH. What the client cannot write or read on an
emulator is said and left out; what it can, must be the same for both.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in ("servers", "support"):
    sys.path.insert(0, os.path.join(HERE, "..", folder))

from ports import free_ports, wait_for  # noqa: E402
from store_case import ODD_NAMES, checkpoint  # noqa: E402

STREAMER = os.path.abspath(sys.argv[1])
FAKE_GCS_SERVER = sys.argv[2] if len(sys.argv) > 2 else shutil.which("fake-gcs-server")


def commands(port, folder):
    """How each is started; with its default options, but for where it listens."""
    where = f"127.0.0.1:{port}"
    yield "storage-testbench", ["gunicorn", f"--bind={where}", "--worker-class=sync", "--threads=10",
                                "testbench:run()"], "http"
    yield "gcp-storage-emulator", ["gcp-storage-emulator", "start", "--host=127.0.0.1",
                                   f"--port={port}", "--in-memory"], "http"
    if FAKE_GCS_SERVER:
        own = [FAKE_GCS_SERVER, "-host", "127.0.0.1", "-port", str(port), "-filesystem-root",
               os.path.join(folder, "fake")]
        yield "fake-gcs-server", own, "https"
        yield "fake-gcs-server, http", [*own, "-scheme", "http", "-backend", "memory"], "http"
    else:
        print("skipped: fake-gcs-server, which is not there")


def objects():
    found, index = {}, {}
    for shard in range(3):
        name = f"model-{shard + 1:05}-of-00003.safetensors"
        found["m/" + name], digests = checkpoint({f"l.{shard}.{t}": 90_000 + t for t in range(3)},
                                                 shard)
        index |= {tensor: name for tensor in digests}
    found["m/model.safetensors.index.json"] = json.dumps({"weight_map": index}).encode()
    found |= {"m/config.json": b"{}", "m/sub/deep/a.txt": b"1", "m/empty": b""}
    for number, name in enumerate(ODD_NAMES):
        found[f"odd/{name}"] = b"%d" % number
    for number in range(1203):
        found[f"many/{number:04}"] = b"x"
    return found


class Trial:
    def __init__(self, name, url, folder):
        self.name, self.url, self.folder, self.wrong = name, url, folder, 0
        self.env = {"PATH": os.environ["PATH"], "HOME": folder, "STORAGE_EMULATOR_HOST": url}
        if url.startswith("https"):
            self.env["STREAMER_CA_BUNDLE"] = self.certificate()
            os.environ["REQUESTS_CA_BUNDLE"] = self.env["STREAMER_CA_BUNDLE"]
        os.environ["STORAGE_EMULATOR_HOST"] = url
        self.client = storage.Client(project="test", credentials=AnonymousCredentials())
        self.bucket = self.client.create_bucket("bucket")

    def certificate(self):
        """The one that is built into fake-gcs-server."""
        shown = subprocess.run(["openssl", "s_client", "-connect", self.url.removeprefix("https://")],
                               input="", capture_output=True, text=True, check=False).stdout
        begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
        path = os.path.join(self.folder, "ca.pem")
        with open(path, "w", encoding="ascii") as file:
            file.write(begin + shown.partition(begin)[2].partition(end)[0] + end + "\n")
        return path

    def streamer(self, *arguments):
        return subprocess.run([STREAMER, *arguments], env=self.env, capture_output=True, text=True,
                              check=False)

    def check(self, what, is_right, more=""):
        self.wrong += not is_right
        print(f"{'ok    ' if is_right else 'WRONG '}{self.name}: {what}",
              "" if is_right else str(more)[-1500:])

    def upload(self, found):
        kept = {}
        for name, content in found.items():
            try:
                blob = self.bucket.blob(name)
                blob.upload_from_string(content, "application/octet-stream", timeout=10, retry=None)
                if self.bucket.blob(name).download_as_bytes(timeout=10, retry=None) == content:
                    kept[name] = content
                    continue
                why = "other bytes came back"
            except Exception as refused:  # noqa: BLE001: whatever it is, the emulator cannot do it
                why = str(refused)[:120]
            print(f"left out: {self.name} cannot keep {name[:40]!r} ({why})")
        return kept

    def run(self):
        kept = self.upload(objects())
        for prefix in ("m/", "odd/", "many/"):
            theirs = sorted(f"gs://bucket/{blob.name}" for blob in
                            self.client.list_blobs("bucket", prefix=prefix))
            done = self.streamer("ls", "-r", "--json", f"gs://bucket/{prefix}")
            ours = sorted(json.loads(line)["uri"] for line in done.stdout.splitlines())
            self.check(f"ls -r {prefix}, {len(ours)} names", ours == theirs, done.stderr)
        walk = self.client.list_blobs("bucket", prefix="m/", delimiter="/")
        theirs = [f"gs://bucket/{blob.name}" for blob in walk]
        theirs = sorted([*theirs, *(f"gs://bucket/{prefix}" for prefix in walk.prefixes)])
        done = self.streamer("ls", "gs://bucket/m")
        self.check("ls m", [line.split(None, 1)[1] for line in done.stdout.splitlines()] == theirs,
                   done.stdout + done.stderr)
        for name, content in kept.items():
            # Not names that cannot be paths of files.
            if not name.startswith("odd/") or any(part in name for part in ("//", "/.", "\\")):
                continue
            if len(name) > 200:
                continue
            target = os.path.join(self.folder, "one")
            done = self.streamer("pull", f"gs://bucket/{name}", target)
            path = os.path.join(target, name.rpartition("/")[2])
            is_same = os.path.exists(path) and open(path, "rb").read() == content
            self.check(f"pull {name!r}", done.returncode == 0 and is_same, done.stderr)
        for command in (("load", "gs://bucket/m", "--set", "verify=required"),
                        ("load", "gs://bucket/m/model-00001-of-00003.safetensors"),
                        ("inspect", "gs://bucket/m"), ("snapshot", "gs://bucket/m")):
            done = self.streamer(*command)
            self.check(" ".join(command), done.returncode == 0, done.stderr)
        target = os.path.join(self.folder, "pulled")
        done = self.streamer("pull", "gs://bucket/m", target)
        files = {name: content for name, content in kept.items() if name.startswith("m/")}
        is_same = done.returncode == 0 and all(
            hashlib.sha256(open(os.path.join(target, name[2:]), "rb").read()).digest() ==
            hashlib.sha256(content).digest() for name, content in files.items())
        self.check(f"pull m, {len(files)} files", is_same, done.stderr)
        done = self.streamer("load", "gs://bucket/m/none.safetensors")
        self.check("what is not there", done.returncode == 3 and "404" in done.stderr, done.stderr)
        done = self.streamer("load", "gs://nobucket/m")
        self.check("no such bucket", done.returncode == 3 and "404" in done.stderr, done.stderr)
        done = self.streamer("doctor", "gs://bucket/m")
        self.check("doctor", done.returncode == 0 and "JSON" in done.stdout, done.stdout)


def main():
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        [port] = free_ports(1)
        for name, command, scheme in commands(port, folder):
            own = tempfile.mkdtemp(dir=folder)
            with open(os.path.join(own, "log"), "wb") as log:
                server = subprocess.Popen(command, stdout=log, stderr=log, cwd=own)
            try:
                wait_for(port, server, 30)
                trial = Trial(name, f"{scheme}://127.0.0.1:{port}", own)
                trial.run()
                wrong += trial.wrong
            finally:
                server.terminate()
                server.wait()
    sys.exit(wrong != 0)


if __name__ == "__main__":
    main()
