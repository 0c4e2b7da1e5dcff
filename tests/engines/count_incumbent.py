#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tests in the incumbent's wheels, file by file, against both ways to use libstreamer:
count_incumbent.py SOURCE_ROOT [RANKS...]

Runs in a virtual environment that has the incumbent and pytest. "itself": the incumbent as it is.
"library": its Python on our library, STREAMER_LIBRARY. "package": runai_model_streamer of ours. The
tests run from copies in a temporary folder, with a checkpoint that the wheels leave out."""
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile

import safetensors.torch
import torch

ROOT, RANKS = os.path.abspath(sys.argv[1]), sys.argv[2:] or ["2"]
PACKAGES = ("runai_model_streamer", "runai_model_streamer_s3", "runai_model_streamer_gcs",
            "runai_model_streamer_azure")
OURS = [os.path.join(ROOT, "capi", "python"), os.path.join(ROOT, "capi", "runai", "python")]
# One rank of a file of tests.
RANK = """
import importlib.util, sys, unittest, unittest.mock
import torch.distributed as dist
dist.init_process_group("gloo")
spec = importlib.util.spec_from_file_location("tests_of_ranks", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["tests_of_ranks"] = module
spec.loader.exec_module(module)
loaded = unittest.defaultTestLoader.loadTestsFromModule(module)
result = unittest.TextTestRunner(verbosity=0).run(loaded)
bad = len(result.failures) + len(result.errors)
names = [str(test).split()[0] for test, _ in result.failures + result.errors]
print("RANK", dist.get_rank(), result.testsRun - bad, result.testsRun, *names, flush=True)
"""


def folders():
    """The packages' folders of tests."""
    for package in PACKAGES:
        found = importlib.util.find_spec(package)
        for folder, _, files in os.walk(os.path.dirname(found.origin)) if found else ():
            if os.path.basename(folder) == "tests" and any("test_" in name for name in files):
                yield package, folder


def copy(folder, to):
    """The tests, and the checkpoint that they expect beside them."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("__pycache__"))
    tensors = {}
    for dtype in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8",
                  "uint8", "bool"):
        for number in (1, 2):
            tensors[f"tensor{number}.{dtype}"] = (torch.rand(16, 8) * 100).to(getattr(torch, dtype))
    os.makedirs(os.path.join(to, "test_files"), exist_ok=True)
    safetensors.torch.save_file(tensors, os.path.join(to, "test_files", "test.safetensors"))


def count(command, environment):
    """(passed, all, names of the others) of the tests of a file."""
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=environment, timeout=900)
    ranks = re.findall(r"RANK \d+ (\d+) (\d+)(.*)", done.stdout)
    if "torch.distributed.run" in command:
        if not ranks:
            return 0, 1, [done.stdout[-500:]]
        return (min(int(passed) for passed, _, _ in ranks), max(int(every) for _, every, _ in ranks),
                sorted({name for *_, names in ranks for name in names.split()}))
    last = done.stdout.rstrip().rsplit("\n", 1)[-1]
    numbers = {word: int(number) for number, word in re.findall(
        r"(\d+) (passed|failed|error|skipped)", last)}
    passed = numbers.get("passed", 0)
    return (passed, passed + numbers.get("failed", 0) + numbers.get("error", 0),
            re.findall(r"^(?:FAILED|ERROR) \S*?([^:/\s]+)(?: |$)", done.stdout, re.M))


def main():
    totals = {}
    with tempfile.TemporaryDirectory() as temporary:
        for number, (package, folder) in enumerate(folders()):
            copied = os.path.join(temporary, str(number), "tests")
            copy(folder, copied)
            for name in sorted(os.listdir(folder)):
                is_distributed = name.startswith("dist_test")
                if not name.endswith(".py") or not (name.startswith("test_") or is_distributed):
                    continue
                for way in ("itself", "library", "package"):
                    if way == "package" and package != "runai_model_streamer":
                        continue  # those are about the clouds' own SDKs
                    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
                    environment["PYTHONPATH"] = os.pathsep.join(OURS if way == "package" else [])
                    if way == "itself":
                        environment.pop("STREAMER_LIBRARY")
                    path = os.path.join(copied, name)
                    for ranks in RANKS if is_distributed else [""]:
                        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node",
                                   ranks, os.path.join(temporary, "rank.py"), path] \
                            if is_distributed else \
                            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                             "--import-mode=importlib", path]
                        with open(os.path.join(temporary, "rank.py"), "w", encoding="utf-8") as out:
                            out.write(RANK)
                        passed, every, others = count(command, environment)
                        with_ranks = f", {ranks} ranks" if ranks else ""
                        print(f"{way:8} {package}/{name}{with_ranks}: {passed} of {every}", *others,
                              flush=True)
                        key = way, f"distributed{with_ranks}" if ranks else "unit"
                        old = totals.get(key, (0, 0))
                        totals[key] = old[0] + passed, old[1] + every
    for (way, kind), (passed, every) in sorted(totals.items()):
        print(f"{way}, {kind}: {passed} of {every}")


if __name__ == "__main__":
    main()
