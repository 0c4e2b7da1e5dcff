#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""s3:// on S3-compatible servers, compared with boto3 on the same objects.

By hand, not in CI: pip install -r requirements.txt, then s3_stores.py STREAMER
Each of these that is in PATH is tried (radosgw is in the test suite): versitygw (go install
github.com/versity/versitygw/cmd/versitygw@v1.8.0), s3rver (npm install s3rver@3.7.1), moto_server (pip
install 'moto[server,s3]').
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

import boto3
from botocore.config import Config

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in ("servers", "support"):
    sys.path.insert(0, os.path.join(HERE, "..", folder))

from ports import free_ports, wait_for  # noqa: E402
from store_case import ODD_NAMES, checkpoint  # noqa: E402

STREAMER = os.path.abspath(sys.argv[1])
# s3rver accepts only these.
KEY = {"ROOT_ACCESS_KEY": "S3RVER", "ROOT_SECRET_KEY": "S3RVER"}


def servers(port, folder):
    data = os.path.join(folder, "data")
    os.mkdir(data)
    yield "versitygw", ["versitygw", "--port", f"127.0.0.1:{port}", "posix", data], {}
    yield "s3rver", ["s3rver", "-d", os.path.join(folder, "s3rver"), "-a", "127.0.0.1", "-p",
                     str(port)], {"NODE_OPTIONS": "--openssl-legacy-provider"}
    yield "moto", ["moto_server", "-H", "127.0.0.1", "-p", str(port)], {}


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
    def __init__(self, name, url, folder):
        self.name, self.folder, self.wrong = name, folder, 0
        self.env = {"PATH": os.environ["PATH"], "HOME": folder, "AWS_ENDPOINT_URL": url,
                    "AWS_ACCESS_KEY_ID": KEY["ROOT_ACCESS_KEY"], "AWS_EC2_METADATA_DISABLED": "true",
                    "AWS_SECRET_ACCESS_KEY": KEY["ROOT_SECRET_KEY"]}
        self.client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1",
            aws_access_key_id=KEY["ROOT_ACCESS_KEY"], aws_secret_access_key=KEY["ROOT_SECRET_KEY"],
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1},
                          request_checksum_calculation="when_required"))
        self.client.create_bucket(Bucket="bucket")

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
        done = self.streamer("load", "s3://bucket/m", "--set", "verify=required")
        print("       verify=required:", (done.stderr.strip().splitlines() or ["good"])[0][-200:])
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
        for name, command, env in servers(port, folder):
            if not shutil.which(command[0]):
                print(f"skipped: {command[0]} is not in PATH")
                continue
            own = tempfile.mkdtemp(dir=folder)
            with open(os.path.join(own, "log"), "wb") as log:
                server = subprocess.Popen(command, stdout=log, stderr=log, cwd=own,
                                          env={**os.environ, **KEY, **env})
            try:
                wait_for(port, server, 30)
                trial = Trial(name, f"http://127.0.0.1:{port}", own)
                trial.run()
                wrong += trial.wrong
            finally:
                server.terminate()
                server.wait()
    sys.exit(wrong != 0)


if __name__ == "__main__":
    main()
