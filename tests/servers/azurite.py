# SPDX-License-Identifier: Apache-2.0
"""Azurite, Microsoft's emulator of Blob Storage, on free ports of loopback."""
import os
import shutil
import subprocess

import ports

# The emulator's own, published by Microsoft.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def program():
    """Where it is: STREAMER_AZURITE or on the PATH; None if it is nowhere."""
    named = os.environ.get("STREAMER_AZURITE")
    if named and os.access(named, os.X_OK):
        return named
    return shutil.which("azurite-blob")


class Azurite:
    """One with http, and one with https that takes bearer tokens too."""

    def __init__(self, folder, authority):
        self.folder, self.processes = folder, []
        self.http, self.https = ports.free_ports(2)
        self.certificate, self.key = authority.issue("azurite", "DNS:localhost,IP:127.0.0.1")

    def url(self, scheme="http"):
        port = self.http if scheme == "http" else self.https
        return f"{scheme}://127.0.0.1:{port}/{ACCOUNT}"

    def start(self):
        self._start("http", self.http)
        self._start("https", self.https, "--oauth", "basic", "--cert", self.certificate, "--key",
                    self.key)

    def _start(self, name, port, *more):
        place = os.path.join(self.folder, name)
        os.makedirs(place)
        process = subprocess.Popen(
            [program(), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", place,
             "--silent", "--disableTelemetry", "--skipApiVersionCheck", *more],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        ports.wait_for(port, process, 60)

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()
