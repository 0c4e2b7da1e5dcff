#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""While a load runs, torch's threads sleep between copies: torch_threads_test.py SOURCE_ROOT
(STREAMER_LIBRARY is set)"""
import os
import sys
import tempfile
import threading
import time
import unittest
import unittest.mock

for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
    if os.environ.pop(name, None) is not None:  # read when torch is imported
        os.execv(sys.executable, [sys.executable, *sys.argv])
ROOT = sys.argv[1]
for folder in (("capi", "python"), ("tests", "support")):
    sys.path.insert(0, os.path.join(ROOT, *folder))
import torch  # noqa: E402

import libstreamer  # noqa: E402
from store_case import checkpoint  # noqa: E402

CORES = len(os.sched_getaffinity(0))
SOURCE = torch.ones(1 << 20, dtype=torch.uint8)
TARGET = torch.zeros_like(SOURCE)


def spun_s():
    """The CPU seconds of ten copies with pauses between them, in which threads may spin."""
    began = time.process_time()
    for _ in range(10):
        TARGET.copy_(SOURCE)
        time.sleep(0.02)
    return time.process_time() - began


def has_team():
    return any(thread.name == "libstreamer-omp" for thread in threading.enumerate())


@unittest.skipIf(CORES == 1, "one core: torch copies with one thread")
@unittest.skipIf(CORES > 31, "so many cores that threads which spin are in nobody's way")
@unittest.skipIf("OpenMP" not in torch.__config__.parallel_info(), "this torch has no OpenMP")
class TorchThreads(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(min(CORES, 16))
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = os.path.join(cls.folder.name, "model.safetensors")
        with open(cls.path, "wb") as out:
            out.write(checkpoint({f"t{i}": 1 << 20 for i in range(8)}, 1)[0])

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def slow(self, **options):
        """A load that makes its consumer wait."""
        return libstreamer.load(self.path, settings={"max_bandwidth": 16 << 20}, **options)

    def test_they_sleep_from_the_first_wait_to_the_end_of_the_load(self):
        least = spun_s()
        weights = self.slow(framework="torch")
        next(weights)
        next(weights)
        self.assertTrue(has_team())
        until = time.monotonic() + 60
        while spun_s() > least / 3:  # until the team is there; on busy cores its thread comes late
            self.assertLess(time.monotonic(), until, f"they spin as before, for {least} s")
        rest = list(weights)
        self.assertEqual(len(rest), 6)
        until = time.monotonic() + 60
        while has_team():
            self.assertLess(time.monotonic(), until)
            time.sleep(0.01)

    def test_loads_at_once_share_one_team(self):
        both = [self.slow(framework="torch"), self.slow(framework="torch")]
        for weights in both:
            next(weights)
            next(weights)
        self.assertEqual(sum(t.name == "libstreamer-omp" for t in threading.enumerate()), 1)
        both[0].close()
        self.assertTrue(has_team())
        both[1].close()

    def test_a_load_goes_on_without_it(self):
        with libstreamer.start(self.path, settings={"max_bandwidth": 16 << 20}) as running:
            with unittest.mock.patch.object(threading.Thread, "start",
                                            side_effect=RuntimeError("can't start new thread")):
                self.assertEqual(len(list(running)), 8)

    def test_only_where_copies_follow(self):
        target = {f"t{i}": torch.zeros(1 << 20, dtype=torch.uint8) for i in range(8)}
        with libstreamer.start(self.path, into=target,
                               settings={"max_bandwidth": 16 << 20}) as running:
            running.next()
            running.next()
            self.assertFalse(has_team())
        for variable in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
            with unittest.mock.patch.dict(os.environ, {variable: "1"}):
                weights = self.slow(framework="torch")
                next(weights)
                next(weights)
                self.assertFalse(has_team(), variable)
                weights.close()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
