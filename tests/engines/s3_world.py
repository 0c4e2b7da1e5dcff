# SPDX-License-Identifier: Apache-2.0
"""S3 servers on this machine: one with models in its bucket, one that refuses everything."""
import http.server
import os
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "servers"))
import ports  # noqa: E402

# Those of AWS's own documentation.
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "not-a-secret"


class S3:
    """moto's server. As a context: the environment then leads there."""

    def __init__(self):
        self.port = ports.free_ports(1)[0]
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
        ports.wait_for(self.port, self._server, 60)
        self.client.create_bucket(Bucket="models")
        return self

    def __exit__(self, *_):
        self._server.terminate()
        self._server.wait()

    def put(self, folder, prefix):
        """Uploads a folder; returns its URI."""
        for name in sorted(os.listdir(folder)):
            self.client.upload_file(os.path.join(folder, name), "models", f"{prefix}/{name}")
        return f"s3://models/{prefix}"


class Counting:
    """A way to a server that counts the bytes that come back. As a context: the environment then
    leads through it."""

    def __init__(self, port):
        self._to, self._lock, self.bytes = port, threading.Lock(), 0

    def __enter__(self):
        self._before = os.environ["AWS_ENDPOINT_URL"]
        self._listener = socket.create_server(("127.0.0.1", 0))
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        os.environ["AWS_ENDPOINT_URL"] = self._before
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            for ends in ((client, server, 0), (server, client, 1)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source, target, weight):
        try:
            while piece := source.recv(1 << 18):
                with self._lock:
                    self.bytes += weight * len(piece)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            target.close()


class Refusing:
    """A server that answers every request with one of S3's errors. As a context: its URL."""

    def __init__(self, code, status=403, more=""):
        self._body = (f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Refused.</Message>"
                      f"{more}</Error>").encode()
        self._status = status

    def __enter__(self):
        body, status = self._body, self._status

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body if self.command == "GET" else b"")

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
