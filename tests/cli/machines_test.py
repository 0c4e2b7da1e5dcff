#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Replicas on machines of their own, which share one store: machines_test.py STREAMER ROOT

Each machine is a network namespace with one link to a switch, whose counters say what it carried. The
store is at the switch itself. Nothing of it is seen outside: the switch is in a namespace, too.
"""
import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

STREAMER, ROOT = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
sys.path.insert(0, os.path.join(ROOT, "tests", "servers"))

import small_store  # noqa: E402

REPLICAS = 4
STORE, CACHE = "10.77.0.1", "10.77.0.2"
SIZE = 20 << 20
IS_INSIDE = "STREAMER_INSIDE_NAMESPACES"


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def checkpoint(seed):
    data = random.Random(seed).randbytes(SIZE)
    header = json.dumps({"w": {"dtype": "U8", "shape": [SIZE], "data_offsets": [0, SIZE]}}).encode()
    return struct.pack("<Q", len(header)) + header + data, hashlib.sha256(data).hexdigest()


class Machine:
    """A namespace with an address, on a link that can be cut."""

    def __init__(self, name, address):
        self.name = name
        ip("netns", "add", name)
        ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", name, "master", "switch", "up")
        ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            ip("-n", name, "link", "set", link, "up")

    def run(self, command, **options):
        return subprocess.Popen(["ip", "netns", "exec", self.name, *command], **options)

    def cut(self, is_cut):
        ip("link", "set", self.name, *(["nomaster"] if is_cut else ["master", "switch"]))

    def carried(self, way):
        with open(f"/sys/class/net/{self.name}/statistics/{way}_bytes", encoding="ascii") as file:
            return int(file.read())

    def received(self):
        """Bytes that its link brought it, which the switch has sent."""
        return self.carried("tx")

    def sent(self):
        return self.carried("rx")


class Load:
    """streamer digest on a machine; said: its log, line by line."""

    def __init__(self, test, machine, settings, **variables):
        environment = {"PATH": os.environ["PATH"], "AWS_REGION": "us-east-1",
                       "AWS_EC2_METADATA_DISABLED": "true", "STREAMER_S3_CREDENTIALS": "anonymous",
                       "STREAMER_LOG_LEVEL": "debug", **variables}
        command = [STREAMER, "digest", "s3://bucket/model/"]
        for setting in settings:
            command += ["--set", setting]
        self.process = machine.run(command, env=environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        test.addCleanup(self.stop)

    def stop(self):
        with self.process:
            self.process.kill()

    def wait_for_line(self, word):
        """The first line of the log with that word; AssertionError if it ends before."""
        said = ""
        for line in self.process.stderr:
            said += line
            if word in line:
                return line
        raise AssertionError(f"the log has no line with {word!r}: {said}")

    def end(self):
        output, said = self.process.communicate(timeout=120)
        return self.process.returncode, output.split()[0] if output else "", said


class Machines(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        ip("link", "set", "lo", "up")
        ip("link", "add", "switch", "type", "bridge")
        ip("address", "add", f"{STORE}/24", "dev", "switch")
        ip("link", "set", "switch", "up")
        cls.cache = Machine("cache", CACHE)
        cls.replicas = [Machine(f"replica{i}", f"10.77.0.{i + 10}") for i in range(REPLICAS)]

    def setUp(self):
        self.store = small_store.SmallStore(STORE)
        self.addCleanup(self.store.stop)
        self.content, self.digest = checkpoint(1)
        self.store.objects["model/model.safetensors"] = self.content

    def start_cache(self):
        """examples/slice-cache on its machine; its URL."""
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        os.chmod(temporary.name, 0o777)
        example = os.path.join(ROOT, "examples", "slice-cache", "nginx.conf")
        with open(example, encoding="utf-8") as file:
            config = file.read()
        for old, new in (("127.0.0.1:9000", self.store.url.removeprefix("http://")),
                         ("127.0.0.1:8080", f"{CACHE}:8080"),
                         ("error_log stderr warn;", "error_log stderr notice;")):
            self.assertEqual(config.count(old), 1)
            config = config.replace(old, new)
        path = os.path.join(temporary.name, "nginx.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        nginx = self.cache.run(["nginx", "-p", temporary.name, "-c", path], stderr=subprocess.PIPE,
                               text=True)
        self.addCleanup(nginx.stderr.close)
        self.addCleanup(nginx.wait)
        self.addCleanup(nginx.terminate)
        said = ""
        for line in nginx.stderr:  # it listens before it starts workers
            said += line
            if "start worker process " in line:
                break
        else:
            self.fail(f"nginx did not start: {said}")
        # Who reads no more must not keep it from writing.
        threading.Thread(target=nginx.stderr.read, daemon=True).start()
        return f"http://{CACHE}:8080"

    def load_everywhere(self, settings, **variables):
        """Bytes that came from the store's machine, and from the cache's, in models."""
        before = [machine.received() for machine in (self.cache, *self.replicas)]
        from_cache = self.cache.sent()
        loads = [Load(self, machine, settings, **variables) for machine in self.replicas]
        for load in loads:
            code, digest, said = load.end()
            self.assertEqual((code, digest), (0, self.digest), said)
        came = [machine.received() - old
                for machine, old in zip((self.cache, *self.replicas), before)]
        # A range that is slow, as behind a cache that waits for a slice, may be asked for twice.
        for replica in came[1:]:
            self.assertTrue(0.95 < replica / SIZE < 1.5, replica / SIZE)
        sent_by_cache = self.cache.sent() - from_cache
        return (sum(came) - sent_by_cache) / SIZE, sent_by_cache / SIZE

    def test_without_a_cache_the_store_sends_the_model_to_each(self):
        from_store, from_cache = self.load_everywhere([f"s3_endpoint={self.store.url}"])
        self.assertGreater(from_store, 0.95 * REPLICAS)
        self.assertLess(from_cache, 0.1)

    def test_a_cache_in_front_takes_the_model_from_the_store_once(self):
        url = self.start_cache()
        from_store, from_cache = self.load_everywhere([f"s3_endpoint={url}"])
        self.assertAlmostEqual(from_store, 1, delta=0.3)
        self.assertGreater(from_cache, 0.95 * REPLICAS)

    def test_a_proxy_that_keeps_what_it_passes_on_does_the_same(self):
        # As a peer-to-peer proxy is used: the endpoint is the store's.
        url = self.start_cache()
        from_store, from_cache = self.load_everywhere([f"s3_endpoint={self.store.url}"],
                                                      http_proxy=url)
        self.assertAlmostEqual(from_store, 1, delta=0.3)
        self.assertGreater(from_cache, 0.95 * REPLICAS)

    def test_a_replica_goes_on_after_its_link_was_cut(self):
        # In steps, and so over a second or two: the link is cut in the middle.
        settings = [f"s3_endpoint={self.store.url}", "max_bandwidth=10MiB", "stall_timeout_ms=2000"]
        half, once = threading.Event(), threading.Lock()
        replica = self.replicas[0]
        begun, asked = replica.received(), []

        def cut(key):
            asked.append(key)
            # Many requests are served at once; one of them cuts, or a late one would cut again.
            if replica.received() - begun > SIZE / 4 and once.acquire(blocking=False):
                replica.cut(True)
                half.set()

        self.store.before_read = cut
        load = Load(self, replica, settings)
        others = [Load(self, machine, settings[:1]) for machine in self.replicas[1:]]
        self.addCleanup(replica.cut, False)
        self.assertTrue(half.wait(60), f"after {len(asked)} requests")
        self.assertIn("no byte arrived for 2000 ms", load.wait_for_line("warning: attempt 1:"))
        replica.cut(False)
        for one in (load, *others):
            code, digest, said = one.end()
            self.assertEqual((code, digest), (0, self.digest), said)

    def test_a_cache_that_is_gone_is_named_and_the_load_ends_in_time(self):
        url = self.start_cache()
        # The first read asks for the version, the second is of a slice.
        self.store.before_read = lambda key: len(self.store.reads()) > 1 and self.cache.cut(True)
        self.addCleanup(self.cache.cut, False)
        settings = [f"s3_endpoint={url}", "stall_timeout_ms=2000", "progress_timeout_ms=4000"]
        code, _, said = Load(self, self.replicas[0], settings).end()
        self.assertEqual(code, 3, said)
        last = said.strip().splitlines()[-1]
        self.assertIn("s3://bucket/model/model.safetensors", last)
        self.assertIn(f"{CACHE}:8080", last)


def missing():
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"):
        return "needs root, ip and unshare"
    made = subprocess.run(["unshare", "--net", "--mount", "ip", "link", "add", "switch", "type",
                           "bridge"], capture_output=True, text=True)
    if made.returncode != 0:
        return f"no namespaces with a bridge here: {made.stderr.strip()}"
    built_with = subprocess.run(["nginx", "-V"], capture_output=True, text=True).stderr \
        if shutil.which("nginx") else ""
    return "" if "http_slice_module" in built_with else "nginx with the slice module is not installed"


if __name__ == "__main__":
    if IS_INSIDE not in os.environ:
        if missing():
            print(f"SKIPPED: {missing()}")
            sys.exit(77)
        os.execvpe("unshare", ["unshare", "--net", "--mount", "--", sys.executable, *sys.argv],
                   {**os.environ, IS_INSIDE: "1"})
    # Where ip keeps the names of namespaces, which end with this process; and the links of this one.
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    subprocess.run(["mount", "-t", "sysfs", "none", "/sys"], check=True)
    unittest.main(argv=sys.argv[:1])
