# SPDX-License-Identifier: Apache-2.0
"""What stores answer in tests of the command, and a machine that trusts none of them."""
import json
import os
import re
import struct
import subprocess
import unittest


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


TENSOR = {"w": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}}
MODEL = safetensors(TENSOR, bytes(64))


def error(status, code, message="", headers=None):
    return status, headers or {}, \
        f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


def azure_error(status, code):
    return error(status, code, headers={"x-ms-error-code": code})


def one_object(handler):
    """A store that holds MODEL and has no lists."""
    given = handler.headers.get("Range")
    if given is None:
        return 200, {"ETag": '"1"'}, MODEL
    first, last = map(int, re.findall(r"\d+", given))
    last = min(last, len(MODEL) - 1)
    return 206, {"ETag": '"1"', "Content-Range": f"bytes {first}-{last}/{len(MODEL)}"}, \
        MODEL[first:last + 1]


def run_without_authorities(*command):
    """The command's output on a machine without /etc/ssl, /etc/pki and /var/lib/ca-certificates."""
    hide = ("for place in /etc/ssl /etc/pki /var/lib/ca-certificates; do "
            '[ ! -d $place ] || mount -t tmpfs none $place || exit 99; done; exec "$@"')
    done = subprocess.run(["unshare", "--map-root-user", "--mount", "sh", "-c", hide, "sh", *command],
                          env={"PATH": os.environ["PATH"], "STREAMER_MAX_ATTEMPTS": "3"},
                          capture_output=True, text=True, timeout=120)
    if done.returncode == 99 or done.stderr.startswith("unshare:"):
        raise unittest.SkipTest("no mount namespace can be made here: " + done.stderr)
    return done.stdout + done.stderr
