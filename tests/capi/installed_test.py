#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installs to a folder and builds programs against that alone, with pkg-config, as a user would.

    installed_test.py BUILD SOURCE_ROOT CHECKPOINT
"""
import glob
import os
import shutil
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


def as_subproject(folder, project):
    """Where nothing is installed, the same project takes the source; and of that what it needs."""
    shutil.copytree(project, f"{folder}/super/downstream/meson")
    for name in ("c", "cpp"):
        os.symlink(f"{ROOT}/examples/{name}", f"{folder}/super/{name}")
    subprojects = f"{folder}/super/downstream/meson/subprojects"
    os.mkdir(subprojects)
    os.symlink(ROOT, f"{subprojects}/libstreamer")
    run("meson", "setup", f"{folder}/super/build", f"{folder}/super/downstream/meson",
        "--force-fallback-for=streamer")
    targets = run("ninja", "-C", f"{folder}/super/build", "-t", "targets", "all")
    assert "load_checkpoint_c:" in targets and "libstreamer.so" in targets, targets
    assert "engine_test" not in targets and "file_bench" not in targets, "its tests are built too"


def run_downstream(folder, prefix, environment):
    """The projects of examples/downstream, against an installation that was moved."""
    # They ask for nothing that the library itself is made with.
    bare = {**environment, "PKG_CONFIG_LIBDIR": environment["PKG_CONFIG_PATH"],
            "PKG_CONFIG_SYSROOT_DIR": folder}
    projects = f"{ROOT}/examples/downstream"
    made = []
    if shutil.which("cmake"):
        run("cmake", "-S", f"{projects}/cmake", "-B", f"{folder}/cmake",
            f"-DCMAKE_PREFIX_PATH={prefix}", env=environment)
        run("cmake", "--build", f"{folder}/cmake", env=environment)
        made += [f"{folder}/cmake/load_checkpoint_{name}" for name in ("c", "cpp", "static")]
        (versions,) = glob.glob(prefix + "/**/streamer-config-version.cmake", recursive=True)
        for wanted, is_compatible in (("0.999", "FALSE"), ("1", "FALSE"), ("0", "TRUE")):
            # A file: some versions of CMake seek in what they read.
            with open(f"{folder}/wanted.cmake", "w", encoding="utf-8") as script:
                script.write(f'''set(PACKAGE_FIND_VERSION {wanted})
                    include({versions})
                    message("compatible: ${{PACKAGE_VERSION_COMPATIBLE}}")''')
            said = subprocess.run(["cmake", "-P", f"{folder}/wanted.cmake"], text=True,
                                  capture_output=True).stderr
            assert f"compatible: {is_compatible}" in said, (wanted, said)
    run("meson", "setup", f"{folder}/meson", f"{projects}/meson", "--wrap-mode=nofallback", env=bare)
    run("ninja", "-C", f"{folder}/meson", env=bare)
    made += [f"{folder}/meson/load_checkpoint_{name}" for name in ("c", "cpp")]
    as_subproject(folder, f"{projects}/meson")
    shutil.copytree(f"{ROOT}/examples/c", f"{folder}/a/c")
    shutil.copytree(f"{projects}/make", f"{folder}/a/b/make")
    run("make", "-C", f"{folder}/a/b/make", env=bare)
    made += [f"{folder}/a/b/make/load_checkpoint"]
    for program in made:
        output = run(program, CHECKPOINT, env=environment)
        assert "lm_head.weight" in output, program


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
        run_downstream(folder, os.path.dirname(include), environment)
        command = glob.glob(f"{folder}/**/bin/streamer", recursive=True)[0]
        assert "valid" in run(command, "inspect", CHECKPOINT, env=environment)


if __name__ == "__main__":
    main()
