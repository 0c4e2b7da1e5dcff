#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How the cost of a load grows: growth.py COMMAND LIBRARY FOLDER [--rounds 5] [--quick]

CPU seconds (user and system) of whole processes, least what the same process needs for next to
nothing, for growing numbers of tensors, shards, connections, ranks, and loads at once in one
process. Rounds take turns, medians are shown. The last column is the cost of one more unit at the
end of a row over that at its beginning: 1 is linear growth, less is better than linear.

COMMAND is the streamer command, LIBRARY is libstreamer.so; FOLDER is best on a tmpfs with 1 GB free.
Connections need nginx, ranks need mpirun and a command built with MPI: else they are left out.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "tests", "servers"))
import ports  # noqa: E402

MANY_LOADS = """
import sys, time, libstreamer
path, count = sys.argv[1], int(sys.argv[2])
checkpoint = libstreamer.open(path)
for _ in libstreamer.load(checkpoint):
    pass
began = time.process_time()
loads = [iter(libstreamer.load(checkpoint)) for _ in range(count)]
while loads:
    loads = [load for load in loads if next(load, None) is not None]
print(time.process_time() - began)
"""


def write_shard(path, first, count, tensor_bytes):
    header = {f"t{first + i}": {"dtype": "U8", "shape": [tensor_bytes],
                                "data_offsets": [i * tensor_bytes, (i + 1) * tensor_bytes]}
              for i in range(count)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        block = bytes(1 << 20)
        left = count * tensor_bytes
        while left > 0:
            left -= file.write(block[:left])


class Bench:
    def __init__(self, options):
        self.options = options
        self.folder = os.path.join(options.folder, f"streamer-growth-{os.getpid()}")
        self.environment = dict(
            os.environ, STREAMER_LIBRARY=options.library, AWS_EC2_METADATA_DISABLED="true",
            PYTHONPATH=os.path.join(ROOT, "capi", "python"), PYTHONDONTWRITEBYTECODE="1",
            OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")

    def model(self, shards, tensors, tensor_bytes):
        """A folder of that many tensors, evenly in that many files."""
        folder = os.path.join(self.folder, f"{shards}-{tensors}-{tensor_bytes}")
        if not os.path.isdir(folder):
            os.makedirs(folder)
            for shard in range(shards):
                write_shard(os.path.join(folder, f"s{shard:04}.safetensors"),
                            shard * tensors // shards, tensors // shards, tensor_bytes)
        return folder

    def cpu_seconds(self, arguments):
        child = subprocess.Popen(arguments, env=self.environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = status
        if status != 0:
            raise SystemExit(f"failed: {' '.join(arguments)}")
        return usage.ru_utime + usage.ru_stime

    def load(self, *arguments):
        return [self.options.command, "load", "--json", *arguments]

    def row(self, what, unit, counts, arguments_of, nothing):
        """counts: growing; arguments_of(count): what is run; nothing: the same for next to nothing."""
        samples = {count: [] for count in counts}
        for number in range(self.options.rounds):
            least = self.cpu_seconds(nothing)
            order = counts if number % 2 == 0 else counts[::-1]
            for count in order:
                samples[count].append(max(self.cpu_seconds(arguments_of(count)) - least, 1e-4))
        medians = {count: statistics.median(of) for count, of in samples.items()}
        return what, unit, medians, samples

    def rows(self):
        quick = self.options.quick
        tiny = self.load(self.model(1, 1, 4096))
        counts = [1_000, 10_000, 100_000] + ([] if quick else [1_000_000])
        yield self.row("tensors of 256 bytes in one file", "us a tensor", counts,
                       lambda n: self.load(self.model(1, n, 256)), tiny)
        counts = [10, 100] + ([] if quick else [1_000])
        yield self.row("files of 256 KiB, one tensor each", "us a file", counts,
                       lambda n: self.load(self.model(n, n, 256 << 10)), tiny)
        counts = [1, 4, 16] + ([] if quick else [64])
        samples = {count: [] for count in counts}
        for _ in range(self.options.rounds):
            for count in counts:  # starting Python is most of it: the program itself says the rest
                done = subprocess.run(
                    [sys.executable, "-c", MANY_LOADS, self.model(1, 16, 1 << 20), str(count)],
                    env=self.environment, check=True, capture_output=True, text=True)
                samples[count].append(float(done.stdout))
        yield ("loads of 16 MiB at once in one process (Python)", "us a load",
               {count: statistics.median(of) for count, of in samples.items()}, samples)
        yield from self.ranks(quick)
        yield from self.connections(quick)

    def ranks(self, quick):
        large, small = self.model(1, 64, 1 << 20), self.model(1, 1, 4096)
        beside = os.path.join(os.path.dirname(self.options.library), "libstreamer_mpi.so")

        def of(count, path):
            return ["mpirun", "--oversubscribe", "--mca", "btl", "self,vader", "-np", str(count),
                    *self.load(path, "--distributed", "--set", f"debug.distributed_mpi={beside}")]

        if not shutil.which("mpirun"):
            print("ranks: no mpirun, left out")
            return
        tried = subprocess.run(of(1, small), env=self.environment, capture_output=True, text=True)
        if tried.returncode != 0:
            print(f"ranks: left out: {tried.stderr.splitlines()[0]}")
            return
        counts = [1, 2, 4] + ([] if quick else [8])
        samples = {count: [] for count in counts}
        for _ in range(self.options.rounds):
            for count in counts:  # starting MPI is most of it: each has its own "nothing"
                cost = self.cpu_seconds(of(count, large)) - self.cpu_seconds(of(count, small))
                samples[count].append(max(cost, 1e-4))
        yield ("ranks that share 64 MiB, of which each needs all", "us a rank",
               {count: statistics.median(of) for count, of in samples.items()}, samples)

    def connections(self, quick):
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        if not os.path.exists(nginx):
            print("connections: no nginx, left out")
            return
        folder = self.model(1, 512, 1 << 20)
        port = ports.free_ports(1)[0]
        places = "".join(f"{kind}_temp_path {self.folder}/{kind};" for kind in
                         ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(os.path.join(self.folder, "nginx.conf"), "w", encoding="utf-8") as file:
            file.write(f"daemon off; master_process off; pid {self.folder}/pid; user root;"
                       f"error_log {self.folder}/error.log; events {{ worker_connections 1024; }}"
                       f"http {{ access_log off; sendfile on; {places}"
                       f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}")
        server = subprocess.Popen([nginx, "-c", os.path.join(self.folder, "nginx.conf"),
                                   "-e", os.path.join(self.folder, "error.log")])
        try:
            ports.wait_for(port, server, 30)
            uri = f"http://127.0.0.1:{port}/s0000.safetensors"

            def of(count):
                return self.load(uri, "--set", f"concurrency={count}")
            counts = [1, 4, 16, 64] + ([] if quick else [256])
            what, _, medians, samples = self.row(
                "connections to a server, 512 MiB in all", "", counts, of, self.load(
                    self.model(1, 1, 4096)))
            # The bytes are the same: what grows is the cost of each.
            yield (what, "CPU-s/GB", {count: cost / 0.537 * count / 1e6
                                      for count, cost in medians.items()}, samples)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("command")
    parser.add_argument("library")
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="without the largest of each row")
    options = parser.parse_args()
    options.command, options.library = map(os.path.abspath, (options.command, options.library))
    bench = Bench(options)
    try:
        for what, unit, medians, samples in bench.rows():
            counts = list(medians)
            each = {count: cost / count * 1e6 for count, cost in medians.items()}
            print(f"{what}, {unit}:")
            for count in counts:
                spread = samples[count]
                print(f"  {count:>9,}: {each[count]:10.2f}   (CPU s: {min(spread):.3f} to "
                      f"{max(spread):.3f})")
            first, last = counts[0], counts[-1]
            print(f"  growth of the cost of one, {first:,} to {last:,}: "
                  f"{each[last] / each[first]:.2f}; of the two largest: "
                  f"{each[last] / each[counts[-2]]:.2f}", flush=True)
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
