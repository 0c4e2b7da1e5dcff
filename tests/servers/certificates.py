# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests, made anew each time by the openssl command."""
import os
import subprocess


def _openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


class Authority:
    """A private certificate authority in a folder."""

    def __init__(self, folder, name="ca"):
        self.folder = folder
        self.key = os.path.join(folder, name + ".key")
        self.certificate = os.path.join(folder, name + ".crt")
        _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key, "-out",
                 self.certificate, "-days", "30", "-subj", "/CN=test authority " + name)

    def issue(self, name, hosts, days="30"):
        """Returns (certificate, key), paths of PEM files. hosts: "DNS:x,IP:127.0.0.1"."""
        base = os.path.join(self.folder, name)
        extensions = base + ".ext"
        with open(extensions, "w", encoding="ascii") as file:
            file.write("subjectAltName=" + hosts + "\n")
        _openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", base + ".key", "-out",
                 base + ".csr", "-subj", "/CN=" + name)
        _openssl("x509", "-req", "-in", base + ".csr", "-CA", self.certificate, "-CAkey", self.key,
                 "-CAcreateserial", "-days", days, "-extfile", extensions, "-out", base + ".crt")
        return base + ".crt", base + ".key"
