#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many submissions at once through the native functions of the Run:ai Model Streamer: the incumbent's
library and ours in turn, both under the incumbent's own Python.

By hand: submissions.py LIBRARY FOLDER [ROUNDS], in an environment of compare_requirements.txt
Prints, from the page cache and over http: threads of the library, what it held at most, the time to the
first complete submission, speed and CPU. Medians, then least and most.
"""
import json
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import compare_peers
import compare_world

SUBMISSIONS, BYTES = 16, 32 << 20
COLUMNS = {"threads": "{:.0f}", "peak_mb": "{:.0f}", "first_ms": "{:.0f}", "gb_per_s": "{:.2f}",
           "cpu_s_per_gb": "{:.2f}"}


def threads():
    return len(os.listdir("/proc/self/task"))


def measure(uri, crc):
    """In a process of its own."""
    import ctypes
    import zlib

    from runai_model_streamer.libstreamer import libstreamer as native
    memory = mmap.mmap(-1, SUBMISSIONS * BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, len(memory), mmap.PAGESIZE):
        memory[at] = 1
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    most, is_over = [0], threading.Event()

    def watch():
        while not is_over.wait(0.002):
            most[0] = max(most[0], threads())

    watcher = threading.Thread(target=watch)
    watcher.start()
    own = threads()
    compare_peers.reset_peak()
    resident, (cpu, _) = compare_peers.memory_of_process("VmRSS"), compare_peers.used()
    began = time.perf_counter()
    streamer = native.runai_start()
    places = [number * BYTES for number in range(SUBMISSIONS)]
    for place in places:
        native.runai_request(streamer, [uri], [1], [place], [BYTES], [base + place])
    first, done = None, 0
    while done < SUBMISSIONS:
        code, _, _, _, is_done = native.runai_response(streamer)
        if code != 0:
            raise OSError(native.runai_response_str(code))
        done += is_done
        first = first or time.perf_counter() - began
    seconds = time.perf_counter() - began
    cpu = compare_peers.used()[0] - cpu
    peak = compare_peers.memory_of_process("VmHWM") - resident
    is_over.set()
    watcher.join()
    native.runai_end(streamer)
    if zlib.crc32(memory) != crc:
        raise ValueError("other bytes than were written")
    gb = len(memory) / 1e9
    return {"threads": most[0] - own, "peak_mb": peak / 1e6, "first_ms": first * 1e3,
            "gb_per_s": gb / seconds, "cpu_s_per_gb": cpu / gb}


def run(library, row, server, path, crc):
    uri = path
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    if library:
        environment["STREAMER_LIBRARY"] = library
    if row == "http":
        uri = f"s3://{compare_world.BUCKET}/{compare_world.FOLDER}/{os.path.basename(path)}"
        environment.update(AWS_ENDPOINT_URL=server.urls["http"], AWS_REGION="us-east-1",
                           AWS_ACCESS_KEY_ID="EXAMPLE", AWS_SECRET_ACCESS_KEY="not-a-secret",
                           AWS_EC2_METADATA_DISABLED="true", NO_PROXY="127.0.0.1",
                           RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING="0")
    compare_world.warm([path])
    compare_world.back(int(2e9))
    done = subprocess.run([sys.executable, __file__, "--measure", uri, str(crc)], env=environment,
                          capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{library or 'the incumbent'}, {row}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    library, base, rounds = os.path.abspath(sys.argv[1]), sys.argv[2], int((*sys.argv, 5)[3])
    with tempfile.TemporaryDirectory(dir=base) as folder:
        served = os.path.join(folder, "served", compare_world.BUCKET, compare_world.FOLDER)
        os.makedirs(served)
        path, crc = os.path.join(served, "blob"), 0
        with open(path, "wb") as out:
            for _ in range(SUBMISSIONS):
                data = os.urandom(BYTES)
                crc = compare_world.zlib.crc32(data, crc)
                out.write(data)
        server = compare_world.Server(os.path.join(folder, "served"), folder, [path])
        found = {}
        try:
            for number in range(rounds):
                for row in ("cache", "http"):
                    both = [("incumbent", None), ("ours", library)]
                    for name, which in both[::-1] if number % 2 else both:
                        found.setdefault((row, name), []).append(run(which, row, server, path, crc))
        finally:
            server.stop()
    for (row, name), ones in sorted(found.items()):
        texts = []
        for column, form in COLUMNS.items():
            values = [one[column] for one in ones]
            shown = [form.format(of(values)) for of in (statistics.median, min, max)]
            texts.append(f"{column} {shown[0]} ({shown[1]} to {shown[2]})")
        print(f"{row}, {name}: " + "; ".join(texts))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
    else:
        main()
