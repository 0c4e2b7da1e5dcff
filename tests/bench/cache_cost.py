#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What cache_weights costs: cache_cost.py STREAMER FOLDER-ON-TMPFS FOLDER-ON-DISK [MiB] [ROUNDS] [MB/s]
[FOLDER-ON-A-FULL-DISK]

The same model over http from nginx, in turn: without a cache, into an empty one, from a full one and,
if there is such a folder, onto a disk with no room for it. Prints medians of the load's own seconds and
of the whole process's, which ends once the cache is written. With MB/s (0: without) nginx sends no
faster than that on each of eight connections' share, as a network would; without it the processors are
the limit.
"""
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "servers"))
import ports  # noqa: E402

STREAMER, SOURCE, DISK = (os.path.abspath(path) for path in sys.argv[1:4])
MIB, ROUNDS, RATE = ([*map(int, sys.argv[4:7]), 0, 0, 0][:3])
MIB, ROUNDS = MIB or 1024, ROUNDS or 5
FULL = os.path.abspath(sys.argv[7]) if len(sys.argv) > 7 else None
CONNECTIONS = 8


def make_model(path):
    tensors = max(1, MIB // 16)
    size = MIB * 1024 * 1024 // tensors
    header = json.dumps({f"t{n}": {"dtype": "U8", "shape": [size],
                                   "data_offsets": [n * size, (n + 1) * size]}
                         for n in range(tensors)}).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for _ in range(tensors):
            file.write(os.urandom(size))


def start_nginx(port):
    rate = f"limit_rate {RATE * 1000 // CONNECTIONS}k;" if RATE else ""
    config = os.path.join(SOURCE, "nginx.conf")
    with open(config, "w", encoding="utf-8") as file:
        file.write(f"daemon off; worker_processes 1; pid {SOURCE}/nginx.pid; error_log stderr;\n"
                   f"events {{}}\nhttp {{ access_log off; sendfile on; {rate}\n"
                   f"server {{ listen 127.0.0.1:{port}; root {SOURCE}; }} }}\n")
    nginx = subprocess.Popen(["nginx", "-p", SOURCE, "-c", config], stderr=subprocess.DEVNULL)
    ports.wait_for(port, nginx, 30)
    return nginx


def load(url, cache):
    began = time.monotonic()
    settings = ["--set", f"concurrency={CONNECTIONS}"]
    if cache:
        settings += ["--set", f"cache_weights={cache}"]
    done = subprocess.run([STREAMER, "load", url, "--json", *settings], capture_output=True, text=True,
                          check=True)
    stats = json.loads(done.stdout)
    return stats["seconds"], time.monotonic() - began, stats


def main():
    for folder in (SOURCE, DISK):
        os.makedirs(folder, exist_ok=True)
    make_model(os.path.join(SOURCE, "model.safetensors"))
    port = ports.free_ports(1)[0]
    nginx = start_nginx(port)
    url = f"http://127.0.0.1:{port}/model.safetensors"
    cache = os.path.join(DISK, "cache")
    times = {"no cache": [], "empty cache": [], "full cache": []}
    if FULL:
        times["full disk"] = []
    kept = []
    try:
        load(url, None)
        for _ in range(ROUNDS):
            shutil.rmtree(cache, ignore_errors=True)
            times["no cache"].append(load(url, None)[:2])
            *took, stats = load(url, cache)
            times["empty cache"].append(took)
            kept.append(stats["bytes_to_cache"] / stats["bytes_total"])
            for _ in range(20):
                if load(url, cache)[2]["bytes_network"] == 0:
                    break
            times["full cache"].append(load(url, cache)[:2])
            if FULL:
                *took, stats = load(url, os.path.join(FULL, "cache"))
                assert stats["bytes_to_cache"] < stats["bytes_total"], "that disk is not full"
                times["full disk"].append(took)
    finally:
        nginx.terminate()
        nginx.wait()
        shutil.rmtree(cache, ignore_errors=True)
    base = [statistics.median(column) for column in zip(*times["no cache"])]
    for name, rows in times.items():
        medians = [statistics.median(column) for column in zip(*rows)]
        print(f"{name:<12} load {medians[0]:.3f} s ({medians[0] / base[0]:.3f}), "
              f"process {medians[1]:.3f} s ({medians[1] / base[1]:.3f})")
    print(f"of the first load's bytes {statistics.median(kept):.0%} were cached")


if __name__ == "__main__":
    main()
