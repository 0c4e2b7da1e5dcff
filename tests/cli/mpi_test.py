# SPDX-License-Identifier: Apache-2.0
"""The command under mpirun: mpi_test.py COMMAND LIBSTREAMER_MPI SOURCE_ROOT"""
import collections
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import unittest

COMMAND, ADAPTER, ROOT = sys.argv[1:4]
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from store_case import checkpoint  # noqa: E402

# One machine, its loopback alone, and more processes than it has cores.
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_btl": "self,vader", "OMPI_MCA_pml": "ob1", "OMPI_MCA_oob_tcp_if_include": "lo",
    "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_hwloc_base_binding_policy": "none",
    "OMPI_MCA_mpi_yield_when_idle": "1", "STREAMER_DEBUG_DISTRIBUTED_MPI": ADAPTER}
SHARDS = 3
NGINX = """
{user}
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  log_format bytes '$uri $body_bytes_sent $http_range';
  access_log {folder}/access.log bytes;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port};
    location / {{ root {folder}/files; }}
    # Headers can be read, and nothing else.
    location /bad/ {{
      alias {folder}/files/;
      if ($http_range !~ "^bytes=0-") {{ return 403; }}
    }}
  }}
}}
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_until(condition):
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def children_of(parent):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
                # Behind the name, which may hold anything: state and parent.
                if int(stat.read().rpartition(")")[2].split()[1]) == parent:
                    found.append(int(pid))
        except OSError:
            pass  # it ended meanwhile
    return found


def threads_of(pid):
    names = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/comm", encoding="utf-8") as name:
                names.append(name.read().strip())
    except OSError:
        pass
    return names


class Mpi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory()
        cls.folder = cls.holder.name
        os.mkdir(os.path.join(cls.folder, "files"))
        cls.lines, cls.bytes, cls.names = [], 0, []
        for shard in range(SHARDS):
            sizes = {f"{shard}.{t}": size
                     for t, size in enumerate((0, 1, 70_001, 3_000_000, 999_983 * (shard + 1), 5))}
            content, digests = checkpoint(sizes, shard)
            cls.names.append(f"model-{shard}.safetensors")
            with open(os.path.join(cls.folder, "files", cls.names[-1]), "wb") as out:
                out.write(content)
            cls.bytes += sum(sizes.values())
            cls.lines += [f"{digest}  {name}" for name, digest in digests.items()]
        port = free_port()
        with open(os.path.join(cls.folder, "nginx.conf"), "w", encoding="ascii") as out:
            out.write(NGINX.format(folder=cls.folder, port=port,
                                   user="" if os.geteuid() else "user root;"))
        nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
        cls.server = subprocess.Popen([nginx, "-e", cls.folder + "/error.log", "-p", cls.folder,
                                       "-c", os.path.join(cls.folder, "nginx.conf")])
        cls.url = f"http://127.0.0.1:{port}"

        def answers():
            with socket.socket() as one:
                return one.connect_ex(("127.0.0.1", port)) == 0
        wait_until(answers)

    @classmethod
    def tearDownClass(cls):
        cls.server.terminate()
        cls.server.wait()
        cls.holder.cleanup()

    def uris(self, base=None):
        return [f"{base or self.url}/{name}" for name in self.names]

    def local(self):
        return os.path.join(self.folder, "files")

    def command(self, ranks, *arguments, options=(), **variables):
        """arguments: of all ranks; or lists of them, one for each rank."""
        line = ["mpirun", *options]
        if isinstance(arguments[0], list):
            for rank, own in enumerate(arguments):
                line += ([":"] if rank else []) + ["-np", "1", COMMAND, *own, "--distributed"]
        else:
            line += ["-np", str(ranks), COMMAND, *arguments, "--distributed"]
        environment = {"PATH": os.environ["PATH"], "HOME": self.folder, "TMPDIR": self.folder,
                       **ENVIRONMENT, **variables}
        return line, environment

    def run_ranks(self, ranks, *arguments, options=(), **variables):
        line, environment = self.command(ranks, *arguments, options=options, **variables)
        return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=100,
                              check=False)

    def load(self, ranks, *arguments, **variables):
        done = self.run_ranks(ranks, "load", *arguments, "--json", **variables)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def access_log(self):
        with open(os.path.join(self.folder, "access.log"), encoding="ascii") as lines:
            return [line.split() for line in lines]

    def test_every_rank_gets_every_byte(self):
        for ranks in (2, 4, 8):
            for uris in ([self.local()], self.uris()):
                for policy in ("chunks", "files"):
                    with self.subTest(ranks=ranks, uri=uris[0], policy=policy):
                        done = self.run_ranks(ranks, "digest", *uris,
                                              STREAMER_DEBUG_DISTRIBUTED_PARTITION=policy)
                        self.assertEqual(done.returncode, 0, done.stderr)
                        self.assertEqual(collections.Counter(done.stdout.splitlines()),
                                         collections.Counter(self.lines * ranks))

    def test_the_store_gives_each_byte_once(self):
        for ranks in (2, 4, 8):
            with self.subTest(ranks=ranks):
                before = len(self.access_log())
                loads = self.load(ranks, *self.uris())
                sent = headers = 0

                def bytes_of(rows):
                    return sum(int(row[1]) for row in rows if not row[2].startswith("bytes=0-"))
                # nginx writes a line when it is done with a request, which may be later than we.
                wait_until(lambda: bytes_of(self.access_log()[before:]) >= self.bytes)
                rows = self.access_log()[before:]
                sent = bytes_of(rows)
                headers = sum(row[2].startswith("bytes=0-") for row in rows)
                self.assertEqual(sent, self.bytes)
                self.assertEqual(headers, ranks * SHARDS)
                self.assertEqual(sum(load["bytes_read"] for load in loads), self.bytes)
                self.assertEqual(sum(load["bytes_received"] for load in loads),
                                 self.bytes * (ranks - 1))
                for rank, load in enumerate(loads):
                    self.assertEqual((load["rank"], load["ranks"]), (rank, ranks))
                    self.assertEqual(load["bytes"], self.bytes)
                    self.assertEqual(load["bytes_received"], self.bytes - load["bytes_read"])

    def test_what_is_printed(self):
        done = self.run_ranks(4, "load", self.local())
        self.assertEqual(done.returncode, 0, done.stderr)
        for rank in range(4):
            self.assertRegex(done.stdout, rf"rank {rank}: read \d+ bytes, received \d+, sent \d+")
        self.assertIn(f"ranks: 4; read {self.bytes} bytes between them", done.stdout)
        everywhere = self.load(2, self.local(), STREAMER_DISTRIBUTED_SCOPE="all")
        self.assertEqual(sum(load["bytes_read"] for load in everywhere), self.bytes)
        alone = self.run_ranks(1, "load", self.local())
        self.assertEqual(alone.returncode, 0, alone.stderr)

    # mpirun would end those that have not said yet what they know.
    TO_THE_END = ("--mca", "orte_abort_on_non_zero_status", "0")

    def test_an_error_of_one_rank_is_that_of_all(self):
        good = ["load", *self.uris()]
        bad = ["load", *self.uris(self.url + "/bad")]
        done = self.run_ranks(3, good, bad, good, options=self.TO_THE_END)
        self.assertEqual(done.stderr.count("streamer: "), 3, done.stderr)
        self.assertEqual(done.stderr.count("rank 1: "), 2, done.stderr)
        self.assertEqual(done.stderr.count("answered 403"), 3, done.stderr)

        missing = ["load", os.path.join(self.folder, "nobody")]
        done = self.run_ranks(3, good, good, missing, options=self.TO_THE_END)
        self.assertEqual(done.stderr.count("nobody: cannot find it"), 3, done.stderr)
        self.assertEqual(done.stderr.count("rank 2: "), 2)

    def test_another_checkpoint_on_one_rank(self):
        other = ["load", self.uris()[0]]
        both = ["load", *self.uris()[:2]]
        done = self.run_ranks(2, both, other, options=self.TO_THE_END)
        self.assertEqual(done.stderr.count("rank 1: a different checkpoint than on rank 0"), 2,
                         done.stderr)

    def test_a_rank_that_dies(self):
        line, environment = self.command(
            3, "load", self.local(), "--max-bandwidth", "300kB",
            options=("--enable-recovery",), STREAMER_DISTRIBUTED_TIMEOUT_S="2",
            STREAMER_DEBUG_DISTRIBUTED_BUFFER_BYTES="1MiB")
        with open(os.path.join(self.folder, "dying"), "w+", encoding="utf-8") as said:
            runs = subprocess.Popen(line, env=environment, stdout=said, stderr=said)

            def has_begun():
                # Each rank has its thread for the exchange.
                return sum("streamer-ranks" in threads_of(pid) for pid in children_of(runs.pid)) == 3
            wait_until(has_begun)
            started = time.monotonic()
            os.kill(max(children_of(runs.pid)), signal.SIGKILL)
            runs.wait(timeout=60)
            took = time.monotonic() - started
            said.seek(0)
            text = said.read()
        told = re.findall(r"no answer from rank (\d) within 2000 ms", text)
        self.assertEqual((len(told), len(set(told))), (2, 1), text)
        self.assertLess(took, 45)

    def test_without_mpi_it_says_so(self):
        for path in ("/nonexistent/libstreamer_mpi.so", "/dev/null"):
            done = subprocess.run([COMMAND, "load", self.local(), "--distributed"], check=False,
                                  env={"STREAMER_DEBUG_DISTRIBUTED_MPI": path}, capture_output=True,
                                  text=True)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("libstreamer_mpi.so cannot be loaded", done.stderr)
            self.assertIn("distributed_mpi", done.stderr)


class Pace(Mpi):
    """By hand and in the slow suite."""

    def test_four_ranks_need_a_quarter_of_the_time(self):
        path = os.path.join(self.folder, "large.safetensors")
        content, _ = checkpoint({f"t{t}": 4 << 20 for t in range(32)}, 9)
        with open(path, "wb") as out:
            out.write(content)
        # Within a ring, as how long a system takes to back new memory is another matter.
        limits = ["--max-bandwidth", "40MB", "--memory-limit", "32MiB", "--json"]
        ratios = []
        for _ in range(5):
            shared = max(load["seconds"] for load in self.load(4, path, *limits[:-1]))
            # Each by itself, all at once.
            alone = [subprocess.Popen([COMMAND, "load", path, *limits], stdout=subprocess.PIPE,
                                      text=True) for _ in range(4)]
            ratios.append(shared / max(json.loads(each.communicate()[0])["seconds"]
                                       for each in alone))
        print("distributed / independent:", [f"{ratio:.3f}" for ratio in sorted(ratios)])
        self.assertLess(statistics.median(ratios), 0.35)


if __name__ == "__main__":
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Mpi)
    if "--pace" in sys.argv:
        suite = unittest.TestSuite([Pace("test_four_ranks_need_a_quarter_of_the_time")])
    outcome = unittest.TextTestRunner(verbosity=1).run(suite)
    sys.exit(0 if outcome.wasSuccessful() else 1)
