#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installs to a folder and builds programs against that alone, with pkg-config, as a user would.

    installed_test.py BUILD SOURCE_ROOT CHECKPOINT
"""
import glob
import os
import subprocess
import sys
import tempfile

BUILD, ROOT, CHECKPOINT = (os.path.abspath(path) for path in sys.argv[1:4])
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import weight_server  # noqa: E402


def run(*command, **keywords):
    done = subprocess.run(command, capture_output=True, text=True, **keywords)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def main():
    with tempfile.TemporaryDirectory() as folder:
        run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", folder)
        (pc,) = glob.glob(f"{folder}/**/streamer.pc", recursive=True)
        lib = os.path.dirname(os.path.dirname(pc))
        include = os.path.dirname(glob.glob(f"{folder}/**/streamer.h", recursive=True)[0])
        environment = {**os.environ, "PKG_CONFIG_PATH": os.path.dirname(pc), "LD_LIBRARY_PATH": lib}

        def flags(*arguments):
            # The .pc file names the final place; DESTDIR is only a stop on the way.
            words = run("pkg-config", *arguments, "streamer", env=environment).split()
            return [word for word in words if not word.startswith(("-I", "-L"))]

        cpp, c = f"{ROOT}/examples/cpp/load_checkpoint.cpp", f"{ROOT}/examples/c/load_checkpoint.c"
        base = [f"-I{include}", f"-L{lib}"]
        programs = {
            "shared_c": ["cc", "-std=c99", c, *base, *flags("--cflags", "--libs")],
            "shared_cpp": ["c++", "-std=c++20", cpp, *base, *flags("--cflags", "--libs")],
            "static_cpp": ["c++", "-std=c++20", cpp, *base] + [
                "-l:libstreamer.a" if word == "-lstreamer" else word
                for word in flags("--cflags", "--static", "--libs")],
        }
        server = os.path.join(folder, "weight_server")
        run("c++", "-std=c++20", f"{ROOT}/examples/cpp/weight_server.cpp", *base, *[
            "-l:libstreamer.a" if word == "-lstreamer" else word
            for word in flags("--cflags", "--static", "--libs")], "-o", server)
        weight_server.ask(server, CHECKPOINT, environment)
        for name, command in programs.items():
            program = os.path.join(folder, name)
            run(*command, "-o", program)
            needs_library = "libstreamer" in run("ldd", program, env=environment)
            assert needs_library == name.startswith("shared"), name
            output = run(program, CHECKPOINT, env=environment)
            assert "lm_head.weight" in output, name
        command = glob.glob(f"{folder}/**/bin/streamer", recursive=True)[0]
        assert "valid" in run(command, "inspect", CHECKPOINT, env=environment)


if __name__ == "__main__":
    main()
