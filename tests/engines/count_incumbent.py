#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The incumbent's own tests, file by file, against both ways to use libstreamer:
count_incumbent.py SOURCE_ROOT [RANKS...]

Runs in a virtual environment that has the incumbent and pytest. "itself": the incumbent as it is.
"library": its Python on our library, STREAMER_LIBRARY. "package": runai_model_streamer of ours. The
tests of the wheels run from copies in a temporary folder, with the checkpoints that the wheels leave
out. INCUMBENT_TESTS, a checkout of the incumbent's repository, adds its suites that compare random
files, alone and in stores: radosgw for S3, Azurite for Azure, fake-gcs-server for Google (see
tests/servers)."""
import collections
import contextlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Dict, List, NamedTuple

import safetensors.torch
import torch

import store_worlds

ROOT, RANKS = os.path.abspath(sys.argv[1]), sys.argv[2:] or ["2"]
PACKAGES = ("runai_model_streamer", "runai_model_streamer_s3", "runai_model_streamer_gcs",
            "runai_model_streamer_azure")
OURS = [os.path.join(ROOT, "capi", "python"), os.path.join(ROOT, "capi", "runai", "python")]
# Our package has the interface of 0.17; the library that of older ones, too.
WAYS = ("itself", "library", "package") \
    if importlib.metadata.version("runai-model-streamer").startswith("0.17.") else ("itself", "library")
SECONDS = 1200  # of a hang
# What differs on purpose (docs/runai.md), by the class of the tests or the name of one.
RING = "the ring of buffers, which here is one window"
OWNED = "memory that is written again under a tensor, which never happens here"
INSIDE = "private functions and classes"
OPENED = "a file in a store that is too short, which is refused when it is opened"
DIFFERENT = {
    "TestRingSizing": RING, "TestFileChunksIterator": RING, "TestFilesRequestsIterator": RING,
    "TestFilesRequestsIteratorWithBuffer": RING, "TestRingConcurrency": RING,
    "TestOwnedFollowsTheDestination": RING, "test_1_success_deep_ring_buffer": RING,
    "test_ring_info_is_none_for_a_rank_whose_partition_is_empty": INSIDE,
    "TestRankMemoryLimit": INSIDE, "TestObjectStorageSkipsTheProbe": INSIDE,
    "test_1_broadcast_metadata_identifies_tensors_a_rank_never_read": INSIDE,
    "test_safetensors_truncated_file_body": OPENED,
    "test_without_owning_the_same_memory_serves_several_tensors": OWNED,
    "test_1_owned_tensors_have_independent_storage": OWNED}
# Lines that look into the ring, in tests of what a program sees: how many requests are under way at
# a time, and a private flag. Without these lines, such tests are counted once more.
LOOK = re.compile(
    r"^ +self\.assert\w+\([^\n]*(?:_pool\._owned|max_live, |live_requests\), 1)[^\n]*\)$\n", re.M)
# A line of pytest's summary; of a subtest, with what it is.
RESULT = re.compile(r"^(PASSED|FAILED|ERROR|SUBFAILED)\S* (?:.*?[\])] )?([^:\s]+\.py)(?:::(\S+))?",
                    re.M)
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
bad = {str(test).split()[0] for test, _ in result.failures + result.errors}
with open(f"{sys.argv[2]}.{dist.get_rank()}", "w") as out:
    print(result.testsRun, *bad, file=out)
"""
# A plugin of pytest. Names of the incumbent that a package lacks would fail a whole file when it is
# imported; a thing that cannot be used in their place fails just the tests that use it. Random files
# are the same for every way that is counted.
ABSENT = """
import ast, importlib, random
import pytest

class Absent:
    def __init__(self, *arguments, **options):
        raise AttributeError("the package has no such name")

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    random.seed(item.nodeid)

def pytest_collect_file(file_path):
    if file_path.suffix != ".py":
        return
    for node in ast.walk(ast.parse(file_path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("runai_model_streamer"):
            module = importlib.import_module(node.module)
            for one in node.names:
                if not hasattr(module, one.name):
                    setattr(module, one.name, Absent)
"""


class Count(NamedTuple):
    """Of the tests in one file."""

    passed: int
    every: int
    others: List[str]  # the names of those that did not pass


NONE = Count(0, 0, [])


def wheels():
    """The packages' folders of tests: (package, folder)."""
    for package in PACKAGES:
        found = importlib.util.find_spec(package)
        for folder, _, files in os.walk(os.path.dirname(found.origin)) if found else ():
            if os.path.basename(folder) == "tests" and any("test_" in name for name in files):
                yield package, folder


def copy(folder, to):
    """The tests, and the checkpoints that they expect beside them."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("__pycache__"))
    tensors = {}
    for dtype in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8",
                  "uint8", "bool"):
        for number in (1, 2):
            tensors[f"tensor{number}.{dtype}"] = (torch.rand(16, 8) * 100).to(getattr(torch, dtype))
    os.makedirs(os.path.join(to, "test_files"), exist_ok=True)
    for name, content in (("test", tensors), ("test_empty", {})):
        safetensors.torch.save_file(content, os.path.join(to, "test_files", f"{name}.safetensors"))


def environment_of(way, **variables):
    made = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **variables}
    if way == "itself":
        made.pop("STREAMER_LIBRARY")
    folders = [variables["PYTHONPATH"]] if "PYTHONPATH" in variables else []
    made["PYTHONPATH"] = os.pathsep.join(folders + (OURS if way == "package" else []))
    return made


def output_of(command, environment, folder):
    try:
        return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env=environment, cwd=folder, timeout=SECONDS).stdout
    except subprocess.TimeoutExpired as hung:
        return (hung.stdout or b"").decode(errors="replace")


def count_files(files, environment, folder, plugins) -> Dict[str, Count]:
    """Of tests in one process; by file, as it is given."""
    environment["PYTHONPATH"] += os.pathsep + plugins
    made = output_of([sys.executable, "-m", "pytest", "-q", "-rA", "--tb=line", "-p",
                      "no:cacheprovider", "-p", "absent", "--continue-on-collection-errors",
                      "--import-mode=importlib", *files], environment, folder)
    # By file, by test: whether it and all of its subtests passed.
    found: Dict[str, Dict[str, bool]] = {file: {} for file in files}
    for how, file, name in RESULT.findall(made):
        name = name or "the file, which cannot be imported"
        found[file][name] = how == "PASSED" and found[file].get(name, True)
    for file, tests in found.items():
        if not tests and " skipped" not in made:
            tests["the file, which did not run: " + made.strip()[-300:]] = False
    return {file: Count(sum(tests.values()), len(tests),
                        [name for name, passed in tests.items() if not passed])
            for file, tests in found.items()}


def count_ranks(path, environment, ranks, folder) -> Count:
    """Of a file of tests that all ranks run; one counts if it passes on each."""
    program = os.path.join(folder, "rank.py")
    with open(program, "w", encoding="utf-8") as out:
        out.write(RANK)
    results = os.path.join(folder, "rank-result")
    made = output_of([sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", ranks, program,
                      path, results], environment, folder)
    every, others = 0, set()
    for rank in range(int(ranks)):
        if not os.path.exists(f"{results}.{rank}"):
            return Count(0, 1, ["did not end: " + made.strip()[-300:]])
        with open(f"{results}.{rank}", encoding="utf-8") as file:
            count, *bad = file.read().split()
        os.remove(f"{results}.{rank}")
        every, others = int(count), others.union(bad)
    return Count(every - len(others), every, sorted(others))


class Table:
    """What is printed: a row for each file, a column for each way."""

    def __init__(self):
        self._rows: Dict[str, Dict[str, Count]] = {}
        self._without_looks: Dict[str, Count] = {}

    def add_without_looks(self, row, count):
        self._without_looks[row] = count

    def add(self, row, way, count):
        self._rows.setdefault(row, {})[way] = count
        print(f"{way:8} {row}: {count.passed} of {count.every}", *count.others, flush=True)

    def print(self):
        print("\n| tests |", " | ".join(WAYS), "|\n" + "|---" * (len(WAYS) + 1) + "|")
        totals = {}
        for row, counts in self._rows.items():
            print(f"| {row} |", " | ".join(self._cell(counts.get(way)) for way in WAYS), "|")
            for way, one in counts.items():
                passed, every = totals.get(way, (0, 0))
                totals[way] = passed + one.passed, every + one.every
        print("| all |", " | ".join("{} of {}".format(*totals[way]) for way in WAYS), "|")

    @staticmethod
    def _cell(count):
        return "" if count is None else f"{count.passed} of {count.every}"

    def differences(self):
        """By reason, how many tests the package does not pass."""
        names = [name for counts in self._rows.values()
                 for name in counts.get("package", NONE).others]
        found = collections.Counter(_reason(name) for name in names if _reason(name))
        for reason, count in sorted(found.items()):
            print(f"- {count} about {reason}")
        for row, count in self._without_looks.items():
            print(f"- {row}, without its looks into the ring: {self._cell(count)}; not:",
                  ", ".join(count.others) or "none")

    def worse(self):
        """Tests that the incumbent itself passes, and we do not without a reason."""
        return [f"{row}, {way}: {name}" for row, counts in self._rows.items()
                for way in ("library", "package") for name in counts.get(way, NONE).others
                if name not in counts["itself"].others and not (way == "package" and _reason(name))]


def _reason(name):
    return next((DIFFERENT[part] for part in name.split("::") if part in DIFFERENT), "")


def without_looks(path, temporary):
    """A copy of a file of tests that does not look into the ring, None if it never did."""
    with open(os.path.join(temporary, path), encoding="utf-8") as file:
        text = file.read()
    folder, name = os.path.split(path)
    made = os.path.join(folder, "seen_" + name)
    if not LOOK.search(text):
        return None
    with open(os.path.join(temporary, made), "w", encoding="utf-8") as out:
        out.write(LOOK.sub("", text))
    return made


def count_wheels(table, temporary):
    units, ranked = {}, []
    for number, (package, folder) in enumerate(wheels()):
        copied = os.path.join(temporary, str(number), "tests")
        copy(folder, copied)
        for name in sorted(os.listdir(folder)):
            path, row = os.path.join(str(number), "tests", name), f"{package}: {name}"
            if name.startswith("dist_test_") and name.endswith(".py"):
                ranked.append((os.path.join(temporary, path), row))
            elif name.startswith("test_") and name.endswith(".py"):
                units[path] = row
    for way in WAYS:
        # The other packages are about the clouds' own SDKs, which ours does not use.
        files = [path for path, row in units.items()
                 if way != "package" or row.startswith("runai_model_streamer:")]
        for path, one in count_files(files, environment_of(way), temporary,
                                     temporary).items():
            table.add(units[path], way, one)
        for path, row in ranked:
            for ranks in RANKS:
                table.add(f"{row}, {ranks} ranks", way,
                          count_ranks(path, environment_of(way), ranks, temporary))
    if "package" in WAYS:
        seen = {without_looks(path, temporary): row for path, row in units.items()}
        seen.pop(None)
        for path, one in count_files(list(seen), environment_of("package"), temporary,
                                     temporary).items():
            table.add_without_looks(seen[path], one)


def count_suites(table, source, temporary):
    """Those of the incumbent's repository."""
    worlds = {"fuzzing": contextlib.nullcontext((None, {})), "s3": store_worlds.s3(temporary),
              "azure": store_worlds.azure(temporary), "gcs": store_worlds.google_emulator(temporary)}
    for suite, world in worlds.items():
        if world is None:
            print(f"SKIP {suite}: there is no server of it here; see tests/servers")
            continue
        files = [f"tests/{suite}/{name}" for name in sorted(os.listdir(f"{source}/tests/{suite}"))
                 if name.startswith("test_") and name.endswith(".py")]
        with world as (_, variables):
            for way in WAYS:
                environment = environment_of(way, PYTHONPATH=source, AWS_BUCKET="models",
                                             AZURE_CONTAINER="models", GCS_BUCKET="models",
                                             **variables)
                for path, one in count_files(files, environment, source, temporary).items():
                    table.add(f"repository: {path}", way, one)


def main():
    table = Table()
    with tempfile.TemporaryDirectory() as temporary:
        with open(os.path.join(temporary, "absent.py"), "w", encoding="utf-8") as out:
            out.write(ABSENT)
        count_wheels(table, temporary)
        if os.environ.get("INCUMBENT_TESTS"):
            count_suites(table, os.path.abspath(os.environ["INCUMBENT_TESTS"]), temporary)
    table.print()
    table.differences()
    for one in table.worse():
        print("WORSE THAN THE INCUMBENT:", one)
    return 1 if table.worse() else 0


if __name__ == "__main__":
    sys.exit(main())
