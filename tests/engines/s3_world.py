# SPDX-License-Identifier: Apache-2.0
"""An S3 server on this machine, with models in its bucket."""
import os
import socket
import subprocess
import sys
import time

KEY, SECRET = "AKIAEXAMPLEEXAMPLE", "not-a-secret"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class S3:
    """moto's server. As a context: the environment then leads there."""

    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        self._server = subprocess.Popen(
            [os.path.join(os.path.dirname(sys.executable), "moto_server"), "-H", "127.0.0.1", "-p",
             str(self.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.environ.update(AWS_ENDPOINT_URL=self.url, AWS_ACCESS_KEY_ID=KEY,
                          AWS_SECRET_ACCESS_KEY=SECRET, AWS_REGION="us-east-1",
                          AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true",
                          RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING="0")
        import boto3
        self.client = boto3.client("s3", endpoint_url=self.url)
        for _ in range(200):
            try:
                self.client.create_bucket(Bucket="models")
                return self
            except Exception as failure:  # not there yet
                last = failure
                time.sleep(0.1)
        raise last

    def __exit__(self, *_):
        self._server.terminate()
        self._server.wait()

    def put(self, folder, prefix):
        """Uploads a folder; returns its URI."""
        for name in sorted(os.listdir(folder)):
            self.client.upload_file(os.path.join(folder, name), "models", f"{prefix}/{name}")
        return f"s3://models/{prefix}"
