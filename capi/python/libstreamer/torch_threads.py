# SPDX-License-Identifier: Apache-2.0
"""Lets torch's threads sleep between copies while loads run.

torch copies a tensor on the host with one OpenMP thread for each core. GNU OpenMP's threads spin for
milliseconds after that, in case more work comes, unless there are more of them than cores: then they
sleep almost at once (GOMP_SPINCOUNT in libgomp's manual). A loop that copies each tensor as it arrives
thus keeps the cores busy that are needed to receive the next ones. A second team, which does nothing,
makes them more than the cores.
"""
import os
import sys
import threading

# A team is as many threads as torch has, and of these, machines with more cores have some to spare.
_MOST_THREADS = 16

_lock = threading.RLock()  # the collector may end a load where another one begins
_loads = 0
_loads_are_over = threading.Event()


def _after_fork():
    global _lock, _loads, _loads_are_over
    _lock, _loads, _loads_are_over = threading.RLock(), 0, threading.Event()


os.register_at_fork(after_in_child=_after_fork)


def _would_help(torch) -> bool:
    if os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        return False  # as the user decided
    threads = torch.get_num_threads()
    return 1 < threads <= _MOST_THREADS and 2 * threads > len(os.sched_getaffinity(0))


def _form_team(torch, loads_are_over):
    # Enough elements for torch to divide among threads. They are of this thread, and end with it.
    torch.full((1 << 18,), 1, dtype=torch.uint8, device="cpu")
    loads_are_over.wait()


class SleepBetweenCopies:
    """From start() to stop(). Does nothing without torch, and where it would not help."""

    def __init__(self) -> None:
        self._is_counted = False

    def start(self) -> None:
        global _loads, _loads_are_over
        torch = sys.modules.get("torch")
        # Another thread may be in the middle of importing it.
        if self._is_counted or not hasattr(torch, "get_num_threads") or not _would_help(torch):
            return
        with _lock:
            if _loads == 0:
                _loads_are_over = threading.Event()
                try:
                    threading.Thread(target=_form_team, args=(torch, _loads_are_over), daemon=True,
                                     name="libstreamer-omp").start()
                except RuntimeError:
                    return  # no thread can be had: they go on spinning
            _loads += 1
        self._is_counted = True

    def stop(self) -> None:
        global _loads
        if not self._is_counted:
            return
        self._is_counted = False
        with _lock:
            _loads -= 1
            if _loads == 0:
                _loads_are_over.set()
