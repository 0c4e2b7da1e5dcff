#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""s3:// on S3-compatible servers, compared with boto3 on the same objects.

By hand, not in CI: pip install -r requirements.txt, then s3_stores.py STREAMER, best where there is no
network but loopback (unshare --net; ip link set lo up), since some ask for updates.
Each of these that is in PATH is tried (radosgw is in the test suite): minio (go install
github.com/minio/minio@latest), weed (go get -tool github.com/seaweedfs/seaweedfs/weed@latest, then go
build), versitygw (go install github.com/versity/versitygw/cmd/versitygw@v1.8.0), s3rver (npm install
s3rver@3.7.1), moto_server (pip install 'moto[server,s3]').
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Dict, List, NamedTuple

import boto3
import botocore.exceptions
from botocore.config import Config

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in ("servers", "support"):
    sys.path.insert(0, os.path.join(HERE, "..", folder))

from ports import free_ports, wait_for  # noqa: E402
from store_case import ODD_NAMES, checkpoint  # noqa: E402

STREAMER = os.path.abspath(sys.argv[1])
KEY, SECRET = "EXAMPLEKEY", "not-a-secret"


class Server(NamedTuple):
    name: str  # doctor's
    command: List[str]
    environment: Dict[str, str]
    key: str = KEY
    secret: str = SECRET


def servers(port, folder):
    data = {name: os.path.join(folder, name) for name in ("minio", "weed", "versitygw", "s3rver")}
    for path in data.values():
        os.mkdir(path)
    at = f"127.0.0.1:{port}"
    yield Server("MinIO", ["minio", "server", "--address", at, data["minio"]],
                 {"MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET, "MINIO_UPDATE": "off"})
    identities = os.path.join(folder, "identities.json")
    with open(identities, "w", encoding="ascii") as out:
        json.dump({"identities": [{"name": "test", "actions": ["Admin", "Read", "List", "Write"],
                                   "credentials": [{"accessKey": KEY, "secretKey": SECRET}]}]}, out)
    inner = [f"-{part}={number}" for part, number in zip(
        ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port",
         "filer.port.grpc", "s3.port.grpc"), free_ports(7))]
    yield Server("SeaweedFS", ["weed", "server", "-s3", f"-dir={data['weed']}", "-ip=127.0.0.1",
                               f"-s3.port={port}", f"-s3.config={identities}",
                               "-master.telemetry=false", *inner], {})
    yield Server("versitygw", ["versitygw", "--port", at, "posix", data["versitygw"]],
                 {"ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET})
    yield Server("s3rver", ["s3rver", "-d", data["s3rver"], "-a", "127.0.0.1", "-p", str(port)],
                 {"NODE_OPTIONS": "--openssl-legacy-provider"}, "S3RVER", "S3RVER")
    yield Server("moto", ["moto_server", "-H", "127.0.0.1", "-p", str(port)], {})


def objects():
    found, index = {}, {}
    for shard in range(3):
        name = f"model-{shard + 1:05}-of-00003.safetensors"
        found["m/" + name], digests = checkpoint({f"l.{shard}.{t}": 90_000 + t for t in range(3)},
                                                 shard)
        index |= {tensor: name for tensor in digests}
    found["m/model.safetensors.index.json"] = json.dumps({"weight_map": index}).encode()
    found |= {"m/config.json": b"{}", "m/sub/deep/a.txt": b"1", "m/empty": b""}
    # s3rver keeps objects in files, and ends when a name is too long for one.
    found |= {f"odd/{name}": b"%d" % number for number, name in enumerate(ODD_NAMES)
              if len(name) < 200}
    return found | {f"many/{number:04}": b"x" for number in range(1203)}


class Trial:
    def __init__(self, server, url, folder):
        self.name, self.folder, self.wrong = server.name, folder, 0
        self.env = {"PATH": os.environ["PATH"], "HOME": folder, "AWS_ENDPOINT_URL": url,
                    "AWS_ACCESS_KEY_ID": server.key, "AWS_EC2_METADATA_DISABLED": "true",
                    "AWS_SECRET_ACCESS_KEY": server.secret}
        self.client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1",
            aws_access_key_id=server.key, aws_secret_access_key=server.secret,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1},
                          request_checksum_calculation="when_required"))
        self.make_bucket()

    def make_bucket(self):
        """Once the server is ready, which may be after its port is open."""
        until = time.monotonic() + 60
        while True:
            try:
                return self.client.create_bucket(Bucket="bucket")
            except (botocore.exceptions.ClientError, botocore.exceptions.HTTPClientError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)

    def streamer(self, *arguments, env=None):
        return subprocess.run([STREAMER, *arguments], env=self.env | (env or {}),
                              capture_output=True, text=True, check=False)

    def check(self, what, is_right, more=""):
        self.wrong += not is_right
        print(f"{'ok    ' if is_right else 'WRONG '}{self.name}: {what}",
              "" if is_right else str(more)[-1500:])

    def upload(self):
        kept = {}
        for name, content in objects().items():
            try:
                self.client.put_object(Bucket="bucket", Key=name, Body=content)
                if self.client.get_object(Bucket="bucket", Key=name)["Body"].read() != content:
                    raise ValueError("other bytes came back")
                kept[name] = content
            except Exception as refused:  # noqa: BLE001: whatever it is, the server cannot do it
                print(f"left out: {self.name} cannot keep {name[:40]!r} ({str(refused)[:100]})")
        return kept

    def verify(self):
        """Says, and does not judge: with verify=required, objects uploaded without a checksum and with
        one."""
        uris = {"without": "s3://bucket/m", "with": "s3://bucket/summed/model.safetensors"}
        content, _ = checkpoint({"t": 90_000}, 7)
        try:
            self.client.put_object(Bucket="bucket", Key="summed/model.safetensors", Body=content,
                                   ChecksumAlgorithm="CRC32")
        except botocore.exceptions.ClientError as refused:
            print("       refuses an upload with CRC32:", str(refused)[:150])
            del uris["with"]
        for what, uri in uris.items():
            done = self.streamer("load", uri, "--set", "verify=required")
            said = (done.stderr.strip().splitlines() or ["good"])[0][-150:]
            print(f"       verify=required, uploaded {what} CRC32: {said}")

    def run(self):
        kept = self.upload()
        pages = self.client.get_paginator("list_objects_v2")
        for prefix in ("m/", "odd/", "many/"):
            theirs = sorted(f"s3://bucket/{row['Key']}" for page in
                            pages.paginate(Bucket="bucket", Prefix=prefix)
                            for row in page.get("Contents", ()))
            done = self.streamer("ls", "-r", "--json", f"s3://bucket/{prefix}")
            ours = sorted(json.loads(line).get("uri", line) for line in done.stdout.splitlines())
            # Markers of folders are no files.
            theirs = [uri for uri in theirs if not uri.endswith("/")]
            self.check(f"ls -r {prefix}, {len(ours)} names", ours == theirs, (ours, theirs))
        for name, content in kept.items():
            no_path = any(part in name for part in ("//", "/.", "\\"))
            if not name.startswith("odd/") or no_path:
                continue
            target = os.path.join(self.folder, "one")
            done = self.streamer("pull", f"s3://bucket/{name}", target)
            path = os.path.join(target, name.rpartition("/")[2])
            is_same = os.path.exists(path) and open(path, "rb").read() == content
            self.check(f"pull {name!r}", done.returncode == 0 and is_same, done.stderr)
        for command in (("load", "s3://bucket/m"), ("inspect", "s3://bucket/m/"),
                        ("load", "s3://bucket/m/model-00001-of-00003.safetensors"),
                        ("snapshot", "s3://bucket/m"), ("pull", "s3://bucket/m",
                                                        os.path.join(self.folder, "pulled"))):
            done = self.streamer(*command)
            self.check(" ".join(command), done.returncode == 0, done.stderr)
        done = self.streamer("ls", "s3://bucket/m", env={"AWS_REGION": "eu-west-1"})
        self.check("signed for another region", done.returncode == 0, done.stderr)
        self.verify()
        for uri in ("s3://bucket/m/none.safetensors", "s3://nobucket/m"):
            done = self.streamer("load", uri)
            self.check(f"{uri} is not there", done.returncode == 3 and "404" in done.stderr,
                       done.stderr)
        done = self.streamer("doctor", "s3://bucket/m")
        self.check("doctor", done.returncode == 0 and f" {self.name}: " in done.stdout, done.stdout)


def main():
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        [port] = free_ports(1)
        for server in servers(port, folder):
            if not shutil.which(server.command[0]):
                print(f"skipped: {server.command[0]} is not in PATH")
                continue
            own = tempfile.mkdtemp(dir=folder)
            with open(os.path.join(own, "log"), "wb") as log:
                process = subprocess.Popen(server.command, stdout=log, stderr=log, cwd=own,
                                           env={**os.environ, **server.environment})
            try:
                wait_for(port, process, 60)
                trial = Trial(server, f"http://127.0.0.1:{port}", own)
                trial.run()
                wrong += trial.wrong
            finally:
                process.terminate()
                process.wait()
    sys.exit(wrong != 0)


if __name__ == "__main__":
    main()
