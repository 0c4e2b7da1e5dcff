#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The packages for Rust and Go are as their own tools leave them: check_bindings.py SOURCE_ROOT.
Tools that are not installed are skipped."""
import os
import shutil
import subprocess
import sys
import tempfile


def main():
    capi = os.path.join(os.path.abspath(sys.argv[1]), "capi")
    rust = os.path.join(capi, "rust")
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "CARGO_TARGET_DIR": folder, "GOFLAGS": "", "GOPROXY": "off",
                       "GO111MODULE": "on", "GOTOOLCHAIN": "local"}
        checks = (("rustfmt", rust, ["rustfmt", "--check", "--edition", "2021", "src/lib.rs",
                                     "tests/load.rs", "examples/load_checkpoint.rs",
                                     "examples/weight_server.rs"]),
                  ("cargo-clippy", rust, ["cargo", "clippy", "--offline", "--quiet", "--all-targets",
                                          "--", "-D", "warnings"]),
                  ("gofmt", capi, ["gofmt", "-l", "."]),
                  ("go", capi, ["go", "vet", "./go"]))
        wrong = False
        for tool, where, command in checks:
            if not shutil.which(tool) or not shutil.which(command[0]):
                print(f"SKIPPED: {tool}: it is not installed")
                continue
            done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True)
            found = done.stdout + done.stderr
            if done.returncode or (tool == "gofmt" and found):
                print(f"{' '.join(command)}:\n{found[:4000]}")
                wrong = True
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
