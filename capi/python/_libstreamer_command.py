# SPDX-License-Identifier: Apache-2.0
"""The streamer command of the package libstreamer: becomes the program that is in it.

A module of its own, so that the command does not wait until the package has loaded its library.
"""
import importlib.util
import os
import sys


def _folder_of(name):
    spec = importlib.util.find_spec(name)  # does not import it
    return os.path.dirname(spec.origin) if spec and spec.origin else None


def main():
    program = os.path.join(_folder_of("libstreamer"), "bin", "streamer")
    certifi = _folder_of("certifi")
    if certifi:
        # For machines without certificates of their own, as the package does it.
        os.environ.setdefault("STREAMER_DEBUG_LAST_CA_BUNDLE", os.path.join(certifi, "cacert.pem"))
    try:
        os.execv(program, [sys.argv[0], *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"streamer: {program} cannot be run: {error.strerror}; install libstreamer again")
