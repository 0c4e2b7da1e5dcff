#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Copies of a store's objects in a folder: pull_test.py SOURCE_ROOT STREAMER"""
import fcntl
import json
import os
import pty
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest
import unittest.mock

ROOT, STREAMER = sys.argv[1], os.path.abspath(sys.argv[2])
for folder in ("capi/python", "tests/servers"):
    sys.path.insert(0, os.path.join(ROOT, folder))

import libstreamer  # noqa: E402
from small_store import SmallStore  # noqa: E402

PROCESSES = int(os.environ.get("STREAMER_TEST_PROCESSES", "24"))
# A multipart ETag says nothing of the bytes.
OPAQUE = '"0123456789abcdef0123456789abcdef-2"'


def content_of(root):
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                found[os.path.relpath(file.name, root)] = file.read()
    return found


def has_attributes(folder):
    try:
        path = os.path.join(folder, "attributes")
        with open(path, "w", encoding="ascii"):
            os.setxattr(path, "user.libstreamer", b"x")
        os.unlink(path)
        return True
    except OSError:
        return False


class Pull(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name
        self.to = os.path.join(self.folder, "to")
        self.store = SmallStore()
        self.addCleanup(self.store.stop)
        self.files = {"config.json": b'{"a": 1}', "empty": b"", "sub/deep/big": os.urandom(3 << 20)}
        for name, body in self.files.items():
            self.store.objects["m/" + name] = body
        os.environ.update(self.store.variables())

    def pull(self, **how):
        return libstreamer.pull("s3://bucket/m/", self.to, **how)

    def command(self, *more, **how):
        return subprocess.run([STREAMER, "pull", "s3://bucket/m/", self.to, *more], text=True,
                              capture_output=True, timeout=120, check=False, **how)

    def test_the_folder_is_made_with_those_above_it(self):
        to = os.path.join(self.folder, "not", "there", "yet") + "/"
        libstreamer.pull("s3://bucket/m/", to)
        self.assertEqual(content_of(to), self.files)

    def test_a_folder_may_be_a_bare_name_or_where_the_program_is(self):
        for name, place in (("bare", "bare"), ("bare", "bare"), (".", "here"), ("./dot", "dot")):
            with self.subTest(name=name):
                where = os.path.join(self.folder, "here" if name == "." else "")
                os.makedirs(where, exist_ok=True)
                done = subprocess.run([STREAMER, "pull", "s3://bucket/m/", name], cwd=where, text=True,
                                      capture_output=True, timeout=120, check=False)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(content_of(os.path.join(self.folder, place)), self.files)

    def test_a_file_that_may_not_become_so_large_is_an_error(self):
        done = subprocess.run(["sh", "-c", 'ulimit -f 100; exec "$@"', "sh", STREAMER, "pull",
                               "s3://bucket/m/", self.to], text=True, capture_output=True, timeout=120,
                              check=False)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("cannot write the file: File too large; ", done.stderr)
        self.assertIn("ulimit -f", done.stderr)

    def test_one_pattern_is_one_and_a_bar_knows_how_much_there_is(self):
        bars = []

        class Bar:
            def __init__(self, total, **_):
                self.total, self.done = total, 0
                bars.append(self)

            def update(self, amount):
                self.done += amount

            def close(self):
                pass

        with unittest.mock.patch.dict(sys.modules, {"tqdm": types.SimpleNamespace(tqdm=Bar)}):
            pulled = self.pull(allow="*big", progress=True)
        self.assertEqual([one.path for one in pulled], [os.path.join(self.to, "sub/deep/big")])
        self.assertEqual([(bar.total, bar.done) for bar in bars], [(3 << 20, 3 << 20)])

    def test_a_full_disk_is_told_of_the_disk(self):
        os.mkdir(self.to)
        # A disk of its own, in a mount namespace that ends with the shell.
        script = 'mount -t tmpfs -o size=1m none "$0" || exit 77; exec "$1" pull s3://bucket/m/ "$0"'
        done = subprocess.run(["unshare", "--mount", "sh", "-c", script, self.to, STREAMER],
                              capture_output=True, text=True, timeout=60)
        if done.returncode == 77 or "unshare" in done.stderr:
            self.skipTest("may not mount: " + done.stderr.strip())
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(f"{self.to}/sub/deep/big: cannot write the file: No space left on device; the "
                      "file needs 3.00 MiB, and ", done.stderr)
        self.assertIn("pull to another folder", done.stderr)

    def test_many_processes_pull_into_one_folder(self):
        seed = random.randrange(1 << 30)
        chance = random.Random(seed)
        # What a pull that was killed leaves is in everybody's way.
        for path in (self.to, self.to + "/sub"):
            os.mkdir(path)
            for number in range(20):
                with open(f"{path}/.streamer-1-{number:08x}.partial", "wb") as file:
                    file.write(b"left")
        began = time.monotonic()
        starts = sorted(chance.uniform(0, 0.15) for _ in range(PROCESSES))
        running = []
        # One small server answers all of them: on busy cores each waits long for its turn.
        patient = {**os.environ, "STREAMER_STALL_TIMEOUT_MS": "120000", "STREAMER_MAX_ATTEMPTS": "50",
                   "STREAMER_DEBUG_CONNECT_TIMEOUT_MS": "60000"}
        for start in starts:
            time.sleep(max(0, began + start - time.monotonic()))
            running.append(subprocess.Popen(
                [STREAMER, "pull", "s3://bucket/m/", self.to], env=patient,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        failures = []
        for process in running:
            _, errors = process.communicate(timeout=280)
            if process.returncode:
                failures.append(errors.decode())
        print(f"seed {seed}: {len(failures)} of {PROCESSES} processes failed")
        self.assertEqual(failures, [])
        self.assertEqual(content_of(self.to), self.files)

    def test_a_pull_that_is_killed_leaves_nothing_anywhere_below(self):
        at_read, go_on = threading.Semaphore(0), threading.Event()

        def hold(key):
            if key.endswith("big") and not go_on.is_set():
                at_read.release()
                go_on.wait(60)

        self.store.before_read = hold
        for _ in range(3):
            running = subprocess.Popen([STREAMER, "pull", "s3://bucket/m/", self.to])
            self.assertTrue(at_read.acquire(timeout=60))
            running.kill()
            running.wait()
        go_on.set()
        # As file systems have them on which a file must have a name, and as older versions left them.
        below = os.path.join(self.to, "else", "where")
        os.makedirs(below)
        left, used = (os.path.join(below, f".streamer-{n}-12345678.partial") for n in (1, 2))
        for path in (left, used):
            with open(path, "wb") as file:
                file.write(b"x")
        with open(used, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.pull()
            self.assertTrue(os.path.exists(used))
            self.assertFalse(os.path.exists(left))
        self.pull()
        self.assertEqual(content_of(self.to), self.files)

    def copied(self):
        """Which files the next pull copies, by what it says and by what the store was asked for."""
        self.store.requests.clear()
        entries = self.pull()
        copied = sorted(os.path.relpath(e.path, self.to) for e in entries if not e.was_there)
        self.assertEqual(sorted(set(self.store.reads())), ["m/" + name for name in copied])
        self.assertEqual({e.path for e in entries}, {os.path.join(self.to, n) for n in self.files})
        self.assertEqual(content_of(self.to), self.files)
        return copied

    def test_what_is_there_and_the_same_is_skipped(self):
        if not has_attributes(self.folder):
            self.skipTest("the file system of the temporary folder has no extended attributes")
        self.store.etags["m/sub/deep/big"] = OPAQUE
        self.assertEqual(self.copied(), sorted(self.files))
        self.assertEqual(self.copied(), [])
        big = os.path.join(self.to, "sub/deep/big")
        # Other bytes, as many, at the same time, and the attribute is still there.
        status = os.stat(big)
        with open(big, "r+b") as file:
            file.write(b"other")
        os.utime(big, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.assertEqual(self.copied(), ["sub/deep/big"])
        os.truncate(big, 5)
        self.assertEqual(self.copied(), ["sub/deep/big"])
        # What was noted does not go with the new version, whose bytes nobody has seen.
        self.store.etags["m/sub/deep/big"] = OPAQUE.replace("0", "f")
        self.assertEqual(self.copied(), ["sub/deep/big"])
        os.removexattr(big, "user.libstreamer")
        self.assertEqual(self.copied(), ["sub/deep/big"])
        # An ETag that is weak says that versions may differ in their bytes.
        self.store.etags["m/sub/deep/big"] = 'W/"1"'
        self.assertEqual(self.copied(), ["sub/deep/big"])
        self.assertEqual(self.copied(), ["sub/deep/big"])

    def test_an_etag_that_is_the_md5_needs_no_note(self):
        os.makedirs(self.to + "/sub/deep")
        for name, body in self.files.items():
            with open(os.path.join(self.to, name), "wb") as file:
                file.write(body)
        with open(self.to + "/config.json", "wb") as file:
            file.write(b'{"a": 2}')
        self.assertEqual(self.copied(), ["config.json"])

    def test_another_store_with_the_same_etag_is_another_object(self):
        self.store.etags["m/sub/deep/big"] = OPAQUE
        self.pull()
        other = SmallStore()
        self.addCleanup(other.stop)
        self.files["sub/deep/big"] = os.urandom(3 << 20)
        other.objects = {"m/" + name: body for name, body in self.files.items()}
        other.etags = self.store.etags
        os.environ.update(other.variables())
        self.store = other
        self.assertEqual(self.copied(), ["sub/deep/big"])

    def test_a_name_that_cannot_be_a_path_keeps_no_other(self):
        bad = ["a//b", "../out", "x/./y", "folder/", "n" * 256, "sub/deep/big/below", "back\\slash"]
        for name in bad:
            self.store.objects["m/" + name] = b"bytes"
        done = self.command()
        self.assertEqual(done.returncode, 2, done.stderr)
        for name in bad:
            # Of a file and a folder of one name, one or the other is in the way.
            self.assertIn(name.removesuffix("/below"), done.stderr)
        found = content_of(self.to)
        # Of a file and a folder of one name, whichever came first is there.
        either = found.pop("sub/deep/big/below", None) or found.get("sub/deep/big")
        self.assertIn(either, (b"bytes", self.files["sub/deep/big"]))
        for name in ("config.json", "empty"):
            self.assertEqual(found[name], self.files[name])
        self.assertEqual(sorted(os.listdir(self.folder)), ["to"])
        with self.assertRaisesRegex(libstreamer.StreamerError, "objects were pulled"):
            self.pull()

    def test_an_object_that_is_gone_keeps_no_other(self):
        self.store.ghosts.add("m/gone")
        done = self.command()
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("m/gone", done.stderr)
        self.assertIn("the other 3 of 4 objects were pulled", done.stderr)
        self.assertEqual(content_of(self.to), self.files)

    def test_what_chooses_nothing_is_an_error(self):
        done = self.command("--allow", "*.jsn")
        self.assertEqual(done.returncode, 3, done.stdout)
        self.assertIn("s3://bucket/m/: none of its files is one that --allow *.jsn chooses; "
                      "streamer ls -r s3://bucket/m/ lists them", done.stderr)
        done = self.command("--allow", "*.json", "--ignore", "*", "--json")
        self.assertIn("--allow *.json and --ignore", json.loads(done.stdout)["error"]["message"])
        # Programs choose by themselves: none of them is none.
        self.assertEqual(libstreamer.pull("s3://bucket/m/", self.to, allow=["*.jsn"]), [])

    def test_bandwidth_is_kept(self):
        began = time.monotonic()
        done = self.command("--max-bandwidth", "2MiB")
        self.assertEqual(done.returncode, 0, done.stderr)
        # 3 MiB, of which the first step is free.
        self.assertGreater(time.monotonic() - began, 1.0)
        self.assertEqual(content_of(self.to), self.files)

    def test_what_the_command_says(self):
        done = self.command("--json")
        said = json.loads(done.stdout)
        self.assertEqual((said["copied"], said["skipped"], done.stderr), (3, 0, ""))
        self.assertEqual({row["path"]: row["bytes"] for row in said["files"]},
                         {os.path.join(self.to, n): len(b) for n, b in self.files.items()})
        with open(self.to + "/config.json", "wb") as file:
            file.write(b"{}")
        self.assertIn("pulled 1 file, 8 B; skipped 2", self.command().stdout)
        said = json.loads(self.command("--json").stdout)
        self.assertEqual((said["copied"], said["skipped"]), (0, 3))

    def test_progress_is_for_terminals(self):
        master, slave = pty.openpty()
        done = subprocess.Popen([STREAMER, "pull", "s3://bucket/m/", self.to], stderr=slave,
                                stdout=subprocess.PIPE)
        os.close(slave)
        done.communicate(timeout=60)
        shown = b""
        try:
            while more := os.read(master, 65536):
                shown += more
        except OSError:
            pass  # the other side is gone
        self.assertIn(b"100 %", shown)
        self.assertIn(b"3/3 files", shown)
        seen = []
        total = sum(len(body) for body in self.files.values())
        libstreamer.pull("s3://bucket/m/", self.folder + "/again",
                         progress=lambda done, all_: seen.append((done, all_)))
        self.assertEqual(seen[-1], (total, total))
        operation = libstreamer.Operation()
        self.pull(operation=operation)
        self.assertEqual(operation.progress(), (total, total, total, 3, 3, 3))

    def test_ctrl_c_in_the_middle_leaves_what_is_whole(self):
        is_asked, is_over = threading.Event(), threading.Event()
        self.addCleanup(is_over.set)

        def hold_back(key):
            if key.endswith("big"):
                is_asked.set()
                is_over.wait(60)

        self.store.before_read = hold_back
        running = subprocess.Popen([STREAMER, "pull", "s3://bucket/m/", self.to], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertTrue(is_asked.wait(60))
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=25)
        self.assertEqual(running.returncode, 130, errors)
        self.assertLessEqual(set(content_of(self.to)), {"config.json", "empty"})


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
