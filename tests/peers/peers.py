#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whose credentials: ours against those of the clouds' own SDKs, one environment after the other.

By hand, not in CI: pip install -r requirements.txt, then
    peers.py STREAMER [aws|google|azure] [NAME...]
Each row of aws.py, google.py and azure.py is an environment: variables, files below HOME, and whether
docs/credentials.md says that the two differ there. Both sides run in it, one after the other, against
servers on loopback whose keys and tokens say how they were come by. What a store sees of either side
must be the same; a request to a real host is refused by a proxy, and the host's name compared.
"""

import argparse
import concurrent.futures
import http.server
import importlib
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "servers"))

import certificates  # noqa: E402


class World:
    """A home, servers, and a proxy that refuses and remembers."""

    def __init__(self, cloud, folder, ca, certificate):
        self.cloud, self.home, self.seen, self.hosts = cloud, folder, [], []
        world = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                self.text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                self.form = dict(urllib.parse.parse_qsl(self.text))
                self.path_only, _, query = self.path.partition("?")
                self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
                status, headers, body = cloud.answer(world, self)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body.encode())

            def do_CONNECT(self):
                world.hosts.append(self.path.rpartition(":")[0])
                self.send_response(403)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_PUT = do_POST = do_HEAD = handle_any

            def log_message(self, *_):
                pass

        self.servers = []
        for is_tls in (False, True):
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            server.daemon_threads = True
            server.handle_error = lambda *_: None
            if is_tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*certificate)
                server.socket = context.wrap_socket(
                    server.socket, server_side=True, do_handshake_on_connect=False
                )
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.servers.append(server)
        self.words = {
            "home": folder,
            "http": f"http://127.0.0.1:{self.servers[0].server_port}",
            "host": f"127.0.0.1:{self.servers[0].server_port}",
            "https": f"https://localhost:{self.servers[1].server_port}",
            "ca": ca,
            "python": sys.executable,
        }

    def stop(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def fill(self, text):
        return re.sub(r"<(\w+)>", lambda found: self.words.get(found[1], found[0]), text)

    def environment(self, row):
        environment = {
            "PATH": f"{self.home}/bin:/usr/bin:/bin",
            "HOME": self.home,
            "https_proxy": self.words["http"],
            "no_proxy": "127.0.0.1,localhost",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.cloud.ALWAYS,
            **row.get("env", {}),
        }
        return {name: self.fill(value) for name, value in environment.items() if value is not None}

    def run(self, command, row):
        for name, text in {**getattr(self.cloud, "FILES", {}), **row.get("files", {})}.items():
            path = os.path.join(self.home, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8", newline="") as file:
                file.write(self.fill(text))
            os.chmod(path, 0o700)
        self.seen.clear()
        self.hosts.clear()
        done = subprocess.run(
            command,
            env=self.environment(row),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=self.home,
        )
        said = done.stdout + done.stderr
        if self.hosts:
            return "host " + self.hosts[0], said
        return (self.seen[0] if self.seen else "refused"), said


def compare(cloud, streamer, name, row, *tls):
    """The row, and for ours and theirs: what a store saw, and what was printed."""
    results = []
    for is_ours in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            world = World(cloud, folder, *tls)
            if hasattr(cloud, "prepare"):
                cloud.prepare(world)
            command = (
                [streamer, "--log", "info", "doctor", cloud.URI]
                if is_ours
                else [sys.executable, os.path.join(HERE, cloud.__name__ + "_sdk.py")]
            )
            results.append(world.run(command, row))
            world.stop()
    return name, row, results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("streamer")
    parser.add_argument("cloud", nargs="?", choices=["aws", "google", "azure"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("-v", "--verbose", action="store_true")
    arguments = parser.parse_args()
    streamer = os.path.abspath(arguments.streamer)
    failures = 0
    folder = tempfile.TemporaryDirectory()
    authority = certificates.Authority(folder.name)
    tls = (authority.certificate, authority.issue("peer", "DNS:localhost,IP:127.0.0.1"))
    for name in [arguments.cloud] if arguments.cloud else ["aws", "google", "azure"]:
        cloud = importlib.import_module("peer_" + name)
        rows = {
            key: row for key, row in cloud.ROWS.items() if not arguments.names or key in arguments.names
        }
        counts = {"equal": 0, "differs, as the docs say": 0, "DIFFERS": 0, "EQUAL AFTER ALL": 0}
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(compare, cloud, streamer, key, row, *tls) for key, row in rows.items()]
            for job in jobs:
                key, row, ((ours, what_we_said), (theirs, what_they_said)) = job.result()
                is_equal, is_documented = ours == theirs, "differs" in row
                outcome = (
                    ("EQUAL AFTER ALL" if is_documented else "equal")
                    if is_equal
                    else ("differs, as the docs say" if is_documented else "DIFFERS")
                )
                counts[outcome] += 1
                if outcome != "equal" or arguments.verbose:
                    print(
                        f"{name} {key}: {outcome}: ours {ours}; theirs {theirs}"
                        + (f" ({row['differs']})" if is_documented else "")
                    )
                if outcome.isupper() or arguments.names:
                    print("  ours said: " + what_we_said[-1500:].replace("\n", "\n    "))
                    print("  theirs said: " + what_they_said[-1500:].replace("\n", "\n    "))
        print(f"{name}: {len(rows)} environments: {json.dumps(counts)}")
        failures += counts["DIFFERS"] + counts["EQUAL AFTER ALL"]
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
