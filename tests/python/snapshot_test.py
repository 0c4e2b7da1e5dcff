#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a model's small files: snapshot_test.py SOURCE_ROOT STREAMER"""
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT, STREAMER = sys.argv[1], os.path.abspath(sys.argv[2])
for folder in ("capi/python", "tests/servers"):
    sys.path.insert(0, os.path.join(ROOT, folder))

import fake_google  # noqa: E402
import libstreamer  # noqa: E402

FILES = {"config.json": b'{"a": 1}', "tokenizer.model": b"\x00\x01", "empty.txt": b"",
         "sub/deep/merges.txt": b"x" * 70_000}
WEIGHTS = {"model.safetensors": b"s", "pytorch_model.bin": b"b", "model.gguf": b"g", "old/x.pt": b"p"}
PROGRAM = (f"import sys; sys.path.insert(0, {os.path.join(ROOT, 'capi/python')!r})\n"
           "import libstreamer\n"
           "try: print(libstreamer.snapshot(sys.argv[1], cache=sys.argv[2]), flush=True)\n"
           "except KeyboardInterrupt: print('interrupted')\n")


def content_of(root):
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                found[os.path.relpath(file.name, root)] = file.read()
    return found


class Snapshots(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name
        self.cache = os.path.join(self.folder, "cache")
        self.store = fake_google.FakeGoogle(self.folder, "1//refresh-CANARYSECRET")
        self.addCleanup(self.store.stop)
        for name, body in {**FILES, **WEIGHTS}.items():
            self.store.put("bucket", "model/" + name, body)
        self.variables = {"STREAMER_GCS_ENDPOINT": self.store.url, "NO_GCE_CHECK": "true",
                          "GOOGLE_APPLICATION_CREDENTIALS": self.store.account_file()}
        os.environ.update(self.variables)

    def reads(self):
        return sorted(line[len("GET /bucket/model/"):] for line in self.store.requests
                      if line.startswith("GET /bucket/model/"))

    def snapshot(self, **options):
        return libstreamer.snapshot("gs://bucket/model", cache=self.cache, **options)

    def start(self):
        return subprocess.Popen([sys.executable, "-c", PROGRAM, "gs://bucket/model", self.cache],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_all_but_weights_once(self):
        folder = self.snapshot()
        self.assertEqual(content_of(folder), FILES)
        self.assertEqual(self.reads(), sorted(FILES))
        self.assertEqual(self.snapshot(), folder)
        self.assertEqual(self.reads(), sorted(FILES))
        self.assertTrue(os.path.basename(os.path.dirname(folder)).startswith("model-"))

    def test_patterns_have_folders_of_their_own(self):
        only = self.snapshot(allow=["*.json"])
        self.assertEqual(content_of(only), {"config.json": FILES["config.json"]})
        self.assertEqual(content_of(self.snapshot(ignore=["*.txt", "old/*"])).keys(),
                         {"config.json", "tokenizer.model", "model.safetensors", "model.gguf",
                          "pytorch_model.bin"})
        with self.assertRaisesRegex(libstreamer.NotFoundError, "patterns allow"):
            self.snapshot(allow=["*.nothing"])
        with self.assertRaises(libstreamer.NotFoundError):
            libstreamer.snapshot("gs://bucket/nobody", cache=self.cache)

    def test_many_processes_pull_once(self):
        running = [self.start() for _ in range(8)]
        folders = set()
        for process in running:
            out, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, err)
            folders.add(out.strip())
        self.assertEqual(len(folders), 1)
        self.assertEqual(content_of(folders.pop()), FILES)
        self.assertEqual(self.reads(), sorted(FILES))

    def test_what_is_tidied_away_is_pulled_again(self):
        folder = self.snapshot()
        os.unlink(os.path.join(folder, "config.json"))
        with open(os.path.join(folder, "empty.txt"), "w", encoding="utf-8") as file:
            file.write("cut")
        self.assertEqual(self.snapshot(), folder)
        self.assertEqual(content_of(folder), FILES)

    def test_a_process_that_is_killed_leaves_nothing_and_the_next_one_goes_on(self):
        at_read, go_on = threading.Event(), threading.Event()

        def hold(key):
            if key.endswith("merges.txt"):
                at_read.set()
                go_on.wait(60)

        self.store.before_read = hold
        first = self.start()
        self.assertTrue(at_read.wait(60))
        waiting = self.start()
        # Ctrl-C ends the wait for the lock, or whatever it is that takes long.
        interrupted = self.start()
        self.wait_for_lock(interrupted)
        interrupted.send_signal(signal.SIGINT)
        self.assertEqual(interrupted.communicate(timeout=20)[0].strip(), "interrupted")
        model = os.path.join(self.cache, os.listdir(self.cache)[0])
        self.assertEqual([name for name in os.listdir(model) if not name.startswith(".")], [])
        first.kill()
        first.communicate()
        go_on.set()
        out, err = waiting.communicate(timeout=60)
        self.assertEqual(waiting.returncode, 0, err)
        self.assertEqual(content_of(out.strip()), FILES)
        version = os.path.basename(out.strip())
        self.assertEqual(sorted(os.listdir(model)), [f".{version}.sha256", ".lock", version])

    def wait_for_lock(self, process):
        """Until the process has the lock's file open, which another one holds."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            # A wait of another process has no event that a test could take.
            folder = f"/proc/{process.pid}/fd"
            try:
                if any(os.readlink(os.path.join(folder, fd)).endswith("/.lock")
                       for fd in os.listdir(folder)):
                    return
            except OSError:
                pass  # closed meanwhile
            time.sleep(0.01)
        self.fail("the process never waits for the lock")

    def model(self):
        return os.path.join(self.cache, os.listdir(self.cache)[0])

    def test_what_does_not_match_its_digests_is_pulled_again(self):
        folder = self.snapshot()
        path = os.path.join(folder, "config.json")
        status = os.stat(path)
        with open(path, "r+b") as file:
            file.write(b"{'b'")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.assertEqual(self.snapshot(), folder)
        self.assertEqual(content_of(folder), FILES)
        os.unlink(os.path.join(self.model(), f".{os.path.basename(folder)}.sha256"))
        self.store.requests.clear()
        self.assertEqual(self.snapshot(), folder)
        self.assertEqual(self.reads(), sorted(FILES))
        # A link in a file's place is no file, wherever it leads.
        outside = os.path.join(self.folder, "outside")
        shutil.copy(path, outside)
        os.unlink(path)
        os.symlink(outside, path)
        self.assertEqual(self.snapshot(), folder)
        self.assertFalse(os.path.islink(path))
        # The lists are what sha256sum reads.
        subprocess.run(["sha256sum", "--check", "--quiet",
                        os.path.join(self.model(), f".{os.path.basename(folder)}.sha256")],
                       cwd=folder, check=True)

    def test_a_link_in_the_place_of_the_folder_is_not_followed(self):
        folder = self.snapshot()
        model, elsewhere = self.model(), os.path.join(self.folder, "elsewhere")
        os.rename(model, elsewhere)
        os.symlink(elsewhere, model)
        with self.assertRaisesRegex(libstreamer.AccessError, "symbolic link") as caught:
            self.snapshot()
        self.assertEqual(caught.exception.uri, model)
        os.unlink(model)
        os.rename(elsewhere, model)
        os.rename(folder, elsewhere)
        os.symlink(elsewhere, folder)
        with self.assertRaisesRegex(libstreamer.AccessError, "symbolic link"):
            self.snapshot()

    def test_a_folder_that_everybody_may_write_to_is_refused(self):
        self.snapshot()
        os.chmod(self.model(), 0o777)
        with self.assertRaisesRegex(libstreamer.AccessError, "everybody may write"):
            self.snapshot()
        os.chmod(self.model(), 0o755)
        self.snapshot()
        # However the process is set up, what it makes is its own.
        old = os.umask(0)
        try:
            folder = self.snapshot(allow=["*.json", "*.txt"])
        finally:
            os.umask(old)
        for path, _, _ in os.walk(folder):
            self.assertEqual(os.stat(path).st_mode & 0o022, 0, path)

    def test_what_another_user_prepared_is_refused(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to be another user for a moment")
        os.chmod(self.folder, 0o755)
        os.mkdir(self.cache)
        os.chmod(self.cache, 0o1777)
        os.chmod(self.variables["GOOGLE_APPLICATION_CREDENTIALS"], 0o644)
        nobody = {"user": 65534, "group": 65534, "extra_groups": []}
        theirs = subprocess.run([STREAMER, "snapshot", "gs://bucket/model", "--cache", self.cache],
                                capture_output=True, text=True, **nobody)
        self.assertEqual(theirs.returncode, 0, theirs.stderr)
        # Not even root takes it: whoever owns it may put anything there.
        with self.assertRaisesRegex(libstreamer.AccessError, "belongs to user 65534") as caught:
            self.snapshot()
        self.assertEqual(caught.exception.uri, self.model())
        shutil.rmtree(self.model())
        # What root prepared is good for all.
        mine = self.snapshot()
        theirs = subprocess.run([STREAMER, "snapshot", "gs://bucket/model", "--cache", self.cache],
                                capture_output=True, text=True, **nobody)
        self.assertEqual((theirs.returncode, theirs.stdout.strip()), (0, mine), theirs.stderr)

    def test_a_lock_that_is_held_is_named_and_bounded(self):
        self.snapshot()
        lock = os.path.join(self.model(), ".lock")
        with open(lock, "r+", encoding="ascii") as file:
            self.assertEqual(file.read().strip(), str(os.getpid()))
            fcntl.flock(file, fcntl.LOCK_EX)
            with self.assertRaises(libstreamer.StreamerError) as caught:
                self.snapshot(allow=["*.json"], timeout=0.3)
            self.assertEqual(caught.exception.kind, "timed_out")
            for part in ("deadline of 300 ms", lock, f"process {os.getpid()} ("):
                self.assertIn(part, str(caught.exception))
            log = os.path.join(self.folder, "log")
            waiting = subprocess.Popen(
                [STREAMER, "snapshot", "gs://bucket/model", "--cache", self.cache, "--allow", "*.txt"],
                env={**os.environ, "STREAMER_LOG_FILE": log}, stderr=subprocess.PIPE,
                stdout=subprocess.PIPE, text=True)
            self.addCleanup(waiting.wait)
            deadline = time.monotonic() + 60
            said = ""
            while "waiting for the lock" not in said and time.monotonic() < deadline:
                time.sleep(0.05)
                if os.path.exists(log):
                    with open(log, encoding="utf-8") as text:
                        said = text.read()
            self.assertIn(f"waiting for the lock {lock}, which process {os.getpid()} (", said)
            self.assertIn("WARNING", said)
        out, errors = waiting.communicate(timeout=60)
        self.assertEqual(waiting.returncode, 0, errors)
        self.assertEqual(content_of(out.strip()).keys(), {"empty.txt", "sub/deep/merges.txt"})

    def test_what_changes_while_it_is_pulled_is_pulled_again(self):
        turns = []

        def replace(key):
            if key.endswith("config.json"):
                turns.append(key)
                if len(turns) == 1:
                    self.store.put("bucket", "model/config.json", b"new")

        self.store.before_read = replace
        self.assertEqual(content_of(self.snapshot()), {**FILES, "config.json": b"new"})
        self.assertEqual(len(turns), 2)

        def replace_always(key):
            if key.endswith("config.json"):
                turns.append(key)
                self.store.put("bucket", "model/config.json", b"%d" % len(turns))

        self.store.put("bucket", "model/config.json", b"newer")
        self.store.before_read = replace_always
        with self.assertRaisesRegex(libstreamer.ObjectChangedError, "replaced while they were"):
            self.snapshot()
        model = os.path.join(self.cache, os.listdir(self.cache)[0])
        self.assertEqual([name for name in os.listdir(model) if ".incoming" in name], [])

    def test_names_that_lead_out_are_refused(self):
        for name in ("../evil", "a/../../evil", "a//b", "a\\b"):
            self.store.put("bucket", "model/" + name, b"evil")
            with self.assertRaises(libstreamer.InvalidArgumentError):
                self.snapshot()
            del self.store.objects["bucket/model/" + name]
        self.assertFalse(os.path.exists(os.path.join(self.folder, "evil")))
        self.assertEqual(content_of(self.snapshot()), FILES)

    def test_a_local_folder_is_its_own(self):
        local = os.path.join(self.folder, "local")
        os.mkdir(local)
        shutil.copy(__file__, local)
        self.assertEqual(libstreamer.snapshot(local, cache=self.cache), local)
        self.assertFalse(os.path.exists(self.cache))

    def test_the_command_and_the_usual_folder(self):
        environment = {"PATH": os.environ["PATH"], "HOME": self.folder, **self.variables}
        for more, cache in (({}, ".cache/libstreamer"), ({"XDG_CACHE_HOME": self.cache},
                                                         "cache/libstreamer"),
                            ({"STREAMER_CACHE_FOLDER": self.folder + "/own"}, "own")):
            done = subprocess.run([STREAMER, "snapshot", "gs://bucket/model"], text=True,
                                  env={**environment, **more}, capture_output=True, check=True)
            self.assertTrue(done.stdout.startswith(os.path.join(self.folder, cache)), done.stdout)
            self.assertEqual(content_of(done.stdout.strip()), FILES)
        done = subprocess.run([STREAMER, "snapshot", "gs://bucket/model", "--cache", self.cache,
                               "--allow", "*.json"], env=environment, text=True,
                              capture_output=True, check=True)
        self.assertEqual(list(content_of(done.stdout.strip())), ["config.json"])
        done = subprocess.run([STREAMER, "snapshot", "gs://bucket/model"], text=True,
                              env={"PATH": os.environ["PATH"], **self.variables},
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("cache_folder", done.stderr)

    def test_a_listing_says_the_etags(self):
        entries = libstreamer.list("gs://bucket/model")
        self.assertEqual({entry.uri: entry.etag for entry in entries},
                         {f"gs://bucket/model/{name}": self.store.etag_of(f"bucket/model/{name}")
                          for name in ("config.json", "empty.txt", "model.gguf", "model.safetensors",
                                       "pytorch_model.bin", "tokenizer.model")}
                         | {"gs://bucket/model/old/": "", "gs://bucket/model/sub/": ""})


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
