#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What loading the weights costs in vLLM: measure_vllm.py MODEL FORMAT [EXTRA]

Prints the seconds, the seconds of processor time, and the peaks of the process's memory and of its
threads beyond those of before, all of the loader's load_weights() alone."""
import json
import os
import sys
import threading
import time

os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_KVCACHE_SPACE="1", HF_HUB_OFFLINE="1",
                  VLLM_NO_USAGE_STATS="1", VLLM_CPU_OMP_THREADS_BIND="nobind")


def resident():
    """Bytes of this process that are its own and in memory, or of files."""
    with open("/proc/self/status", encoding="utf-8") as file:
        return sum(int(line.split()[1]) << 10 for line in file
                   if line.startswith(("RssAnon", "RssShmem")))


def threads():
    return len(os.listdir("/proc/self/task"))


def watched(function):
    memory, others, is_over = [resident()], [0], threading.Event()

    def watch():
        while not is_over.wait(0.01):
            memory[0], others[0] = max(memory[0], resident()), max(others[0], threads())

    def timed(*arguments):
        watcher = threading.Thread(target=watch)
        watcher.start()
        before, were = resident(), threads()
        began, used = time.perf_counter(), time.process_time()
        made = function(*arguments)
        took, used = time.perf_counter() - began, time.process_time() - used
        is_over.set()
        watcher.join()
        print(f"MEASURED {sys.argv[2]}: {took:.2f} s, {used:.2f} s of processor time, "
              f"{(memory[0] - before) / 1e6:.0f} MB, {others[0] - were} threads", flush=True)
        return made

    return timed


def main():
    from vllm import LLM
    from vllm.model_executor.model_loader import base_loader, get_model_loader
    from vllm.config.load import LoadConfig
    from vllm.plugins import load_general_plugins
    load_general_plugins()
    extra = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    loader = type(get_model_loader(LoadConfig(load_format=sys.argv[2])))
    assert issubclass(loader, base_loader.BaseModelLoader)
    original = loader.load_weights
    loader.load_weights = lambda self, *how: watched(lambda: original(self, *how))()
    LLM(model=sys.argv[1], load_format=sys.argv[2], model_loader_extra_config=extra, enforce_eager=True,
        max_model_len=128, max_num_seqs=4)


if __name__ == "__main__":
    main()
