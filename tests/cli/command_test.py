#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real command on real files: command_test.py STREAMER SOURCE_ROOT"""
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import unittest

STREAMER, ROOT = sys.argv[1:3]


def run(*arguments, **keywords):
    return subprocess.run([STREAMER, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, **keywords)


def python(script, *arguments):
    done = subprocess.run([sys.executable, os.path.join(ROOT, script), *arguments],
                          capture_output=True, text=True, check=True)
    return done.stdout


class Command(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.model = os.path.join(cls.folder.name, "model")
        python("examples/make_checkpoint.py", cls.model, "--mib", "12", "--shards", "3")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def write(self, name, content):
        path = os.path.join(self.folder.name, name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def safetensors(self, name, header, data=b""):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return self.write(name, struct.pack("<Q", len(text)) + text + data)

    def test_digest_is_what_an_independent_reader_finds(self):
        expected = python("tests/support/read_safetensors.py", self.model)
        for options in ([], ["--memory-limit", "minimum"], ["--set", "file_io=direct"],
                        ["--set", "file_io=buffered", "--concurrency", "5"],
                        ["--set", "debug.chunk_bytes=64KiB", "--order", "plan"]):
            done = run("digest", self.model, *options)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stdout, expected, options)

    def test_digest_of_a_selection(self):
        # Options that may be repeated do not swallow the URI.
        done = run("digest", "--match", "*layers.0.*", "--name", "model.empty", self.model)
        names = [line.split("  ", 1)[1] for line in done.stdout.splitlines()]
        self.assertEqual(len(names), 11)
        self.assertIn("model.empty", names)

    def test_a_pattern_that_matches_nothing_is_an_error(self):
        for command in ("load", "digest", "bench"):
            for patterns in (["nope*"], ["*layers.0.*", "nope*"]):
                options = [word for pattern in patterns for word in ("--match", pattern)]
                done = run(command, self.model, *options)
                self.assertEqual(done.returncode, 2, done.stdout)
                self.assertIn("nope*", done.stderr)
                self.assertIn("--allow-empty", done.stderr)
        done = run("load", self.model, "--match", "nope*", "--allow-empty")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("loaded 0 tensors", done.stdout)

    def test_what_was_left_out_of_a_folder_is_said(self):
        folder = os.path.join(self.folder.name, "layouts")
        os.mkdir(folder)
        header = {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
        for name in ("model", "consolidated"):
            self.safetensors(f"layouts/{name}.safetensors", header, b"x")
        for command in ("inspect", "load"):
            done = run(command, folder)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stdout, "note: .*consolidated.safetensors")
            done = run(command, folder, "--json")
            self.assertIn("consolidated.safetensors", json.loads(done.stdout)["notes"])
        self.assertRegex(run("--log", "warning", "digest", folder).stderr,
                         "consolidated.safetensors")

    def test_load_prints_its_figures(self):
        done = run("load", self.model)
        self.assertEqual(done.returncode, 0, done.stderr)
        for word in ("readers:", "retries:", "held back by:"):
            self.assertIn(word, done.stdout)
        self.assertRegex(done.stdout, r" s: \d+\.\d+ [GM]B/s\n")

    def test_load_explains_what_it_chose(self):
        done = run("load", self.model, "--explain", "--set", "concurrency=3")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("\nfile readers: 3: concurrency\n", "\n" + done.stdout)
        self.assertRegex(done.stdout, "memory: .*: 80 % of the .* that are free\n")
        done = run("load", self.model, "--explain", "--json")
        json.loads(done.stdout)
        self.assertIn("window: ", done.stderr)

    def test_load_json_adds_up(self):
        figures = json.loads(run("load", self.model, "--json").stdout)
        table = json.loads(run("inspect", self.model, "--json").stdout)
        self.assertEqual(figures["bytes"], table["bytes"])
        self.assertEqual(figures["tensors"], len(table["tensors"]))
        self.assertEqual(figures["bytes_read"], figures["bytes_direct"] +
                         figures["bytes_page_cache"] + figures["bytes_buffered"])
        self.assertIn("reader_cpu_seconds", figures)
        self.assertEqual(json.loads(run("load", self.model, "--json", "--memory-limit", "unlimited")
                                    .stdout)["memory_limit"], None)

    def test_a_limit_that_is_too_small_names_the_tensor(self):
        done = run("load", self.model, "--memory-limit", "1KiB")
        self.assertEqual(done.returncode, 4)
        self.assertIn("model.embed_tokens.weight", done.stderr)
        self.assertIn("1024", done.stderr)

    def test_inspect_of_a_valid_checkpoint(self):
        done = run("inspect", self.model)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("lm_head.weight", done.stdout)
        self.assertIn("valid", done.stdout)

    def test_inspect_names_the_rule_and_the_tensor(self):
        info = {"dtype": "F32", "shape": [2], "data_offsets": [0, 9]}
        done = run("inspect", self.safetensors("wrong", {"the.tensor": info}, b"123456789"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("TensorInvalidInfo", done.stderr)
        self.assertIn("the.tensor", done.stderr)
        self.assertEqual(done.stdout, "")

    def test_files_that_are_something_else_are_recognised(self):
        lfs = self.write("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
        page = self.write("page", b"<!DOCTYPE html><html>not found</html>")
        for path, word in ((lfs, "Git LFS pointer"), (page, "HTML")):
            done = run("inspect", path)
            self.assertEqual(done.returncode, 1)
            self.assertIn(word, done.stderr)

    def test_control_characters_in_names_do_not_reach_the_terminal(self):
        info = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
        path = self.safetensors("control", {"a\x1b[31m\n": info})
        self.assertIn("a\\x1b[31m\\x0a", run("inspect", path).stdout)
        table = json.loads(run("inspect", path, "--json").stdout)
        self.assertEqual(table["tensors"][0]["name"], "a\x1b[31m\n")

    def test_ls(self):
        done = run("ls", self.model)
        self.assertEqual(done.returncode, 0)
        self.assertIn("model-00001-of-00003.safetensors", done.stdout)
        entries = [json.loads(line) for line in run("ls", self.model, "--json").stdout.splitlines()]
        self.assertEqual(len(entries), 4)

    def test_exit_codes(self):
        self.assertEqual(run("--version").returncode, 0)
        self.assertEqual(run("load", "--help").returncode, 0)
        self.assertEqual(run().returncode, 2)
        self.assertEqual(run("load").returncode, 2)
        self.assertEqual(run("load", self.model, "--set", "nonsense=1").returncode, 2)
        self.assertEqual(run("load", self.model, "--concurrency", "many").returncode, 2)
        self.assertEqual(run("load", "/nowhere/at/all").returncode, 3)
        self.assertEqual(run("inspect", "ftp://bucket/key").returncode, 2)
        self.assertEqual(run("load", self.model, "--name", "nobody").returncode, 3)

    def test_the_parts_of_one_rank(self):
        folder = os.path.join(self.folder.name, "sharded")
        os.mkdir(folder)
        for rank, part in ((0, 0), (0, 1), (1, 0)):
            for name in (f"model-rank-{rank}-part-{part}.safetensors", f"r{rank}p{part}.st"):
                self.safetensors(os.path.join(folder, name), {f"p{part}": {
                    "dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, bytes([rank]))
        for more in ((), ("--pattern", "r{rank}p{part}.st")):
            done = run("digest", folder, "--rank", "0", *more)
            self.assertEqual([line.split()[1] for line in done.stdout.splitlines()], ["p0", "p1"])
            self.assertEqual(run("load", folder, "--rank", "1", *more).returncode, 0)
            self.assertEqual(run("load", folder, "--rank", "2", *more).returncode, 3)
        for wrong in (("--rank", "-1"), ("--pattern", "r{rank}p{part}.st"), ("--rank", "0", folder)):
            self.assertEqual(run("inspect", folder, *wrong).returncode, 2, wrong)
        self.assertEqual(run("inspect", folder, "--rank", "0", "--pattern", "x").returncode, 2)

    def test_set_takes_settings_of_every_scope(self):
        done = run("load", self.model, "--json", "--set", "memory_limit=minimum", "--set",
                   "same_names=keep", "--set", "s3_region=eu-west-1", "--set", "max_bandwidth=1GiB",
                   "--memory-limit", "1GiB")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertLess(json.loads(done.stdout.splitlines()[-1])["memory_limit"], 1 << 30)

    def test_settings_come_from_the_environment(self):
        done = run("load", self.model, env={**os.environ, "RUNAI_STREAMER_MEMORY_LIMIT": "0"})
        self.assertEqual(done.returncode, 0, done.stderr)
        done = run("load", self.model, env={**os.environ, "STREAMER_CONCURRENCY": "lots"})
        self.assertEqual(done.returncode, 2)
        self.assertIn("STREAMER_CONCURRENCY", done.stderr)

    def test_settings_shows_each_with_its_variables_and_meaning(self):
        rows = [json.loads(line) for line in run("settings", "--json").stdout.splitlines()]
        by_name = {row["name"]: row for row in rows}
        self.assertEqual(by_name["memory_limit"]["compatible_variable"],
                         "RUNAI_STREAMER_MEMORY_LIMIT")
        self.assertEqual(by_name["s3_endpoint"]["scope"], "store")
        self.assertFalse([name for name in by_name if name.startswith("debug.")])
        every = [json.loads(line)["name"]
                 for line in run("settings", "--json", "--debug").stdout.splitlines()]
        self.assertIn("debug.hedging", every)
        self.assertEqual([name for name in every if not name.startswith("debug.")], list(by_name))
        self.assertIn("memory_limit=auto  (auto, unlimited", run("settings").stdout)

    def test_the_doctor_opens_the_model_of_a_folder(self):
        def last_step(uri):
            done = run("doctor", uri, "--json")
            steps = [json.loads(line) for line in done.stdout.splitlines()]
            return done.returncode, [one for one in steps if "step" in one][-1]

        code, step = last_step(self.model)
        self.assertEqual((code, step["step"], step["status"]), (0, "model", "ok"))
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "config.json"), "w", encoding="ascii") as out:
                out.write("{}")
            # Whatever is there can be read, but no load takes it.
            code, step = last_step(folder)
            self.assertEqual((code, step["step"], step["status"]), (3, "model", "not_found"))
            self.assertEqual(last_step(os.path.join(folder, "config.json"))[1]["step"], "read")
            with open(os.path.join(folder, "model.safetensors"), "wb") as out:
                out.write(b"\x02\0\0\0")
            code, step = last_step(folder)
            self.assertEqual((code, step["step"], step["status"]), (1, "model", "corrupt"))
            self.assertIn("HeaderTooSmall", step["detail"])

    def test_settings_by_name(self):
        shown = run("settings", "debug.hedging", "memory_limit", "--json").stdout.splitlines()
        self.assertEqual([json.loads(line)["name"] for line in shown],
                         ["debug.hedging", "memory_limit"])
        done = run("settings", "memory_limt")
        self.assertEqual(done.returncode, 2)
        self.assertIn("there is no setting memory_limt; did you mean memory_limit?", done.stderr)

    def test_help_is_a_word_too(self):
        self.assertEqual(run("help").stdout, run("--help").stdout)
        self.assertEqual(run("help", "load").stdout, run("load", "--help").stdout)
        self.assertEqual(run("-V").stdout, run("--version").stdout)

    def test_a_misspelt_variable_is_one_warning(self):
        done = run("load", self.model, env={**os.environ, "STREAMER_MEMRY_LIMIT": "1GiB",
                                            "STREAMER_CONCURENCY": "4", "STREAMER_XYZZY": "1"})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr.count("did you mean STREAMER_MEMORY_LIMIT?"), 1, done.stderr)
        self.assertEqual(done.stderr.count("did you mean STREAMER_CONCURRENCY?"), 1, done.stderr)
        self.assertNotIn("XYZZY", done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def test_the_environment_says_where_the_log_goes(self):
        # Others may come before it: what the system lacks, say.
        line = (r"(?m)^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\] \[INFO   \] \[\d+ \d+\] "
                r"load: 354 of 354 tensors, .* GB/s\)")
        for variables in ({"STREAMER_LOG_FILE": "stderr", "STREAMER_LOG_LEVEL": "info"},
                          {"RUNAI_STREAMER_LOG_TO_STDERR": "1", "RUNAI_STREAMER_LOG_LEVEL": "DEBUG"},
                          {"RUNAI_STREAMER_LOG_TO_STDERR": "1", "RUNAI_STREAMER_LOG_LEVEL": "SPAM"}):
            self.assertRegex(run("load", self.model, env={**os.environ, **variables}).stderr, line)
        for variables in ({"STREAMER_LOG_FILE": "stderr"}, {"STREAMER_LOG_LEVEL": "trace"},
                          {"RUNAI_STREAMER_LOG_LEVEL": "DEBUG"}):
            self.assertEqual(run("load", self.model, env={**os.environ, **variables}).stderr, "")
        for name in ("STREAMER_LOG_FILE", "RUNAI_STREAMER_LOG_FILE"):
            path = os.path.join(self.folder.name, name)
            variables = {**os.environ, name: path, "STREAMER_LOG_LEVEL": "info"}
            for _ in range(2):
                done = run("load", self.model, env=variables)
                self.assertEqual(done.stderr, "")
            with open(path, encoding="utf-8") as file:
                self.assertEqual(len(re.findall(line, file.read())), 2)
        # The program's own wish wins.
        done = run("--log", "error", "load", self.model, env={
            **os.environ, "STREAMER_LOG_FILE": "stderr", "STREAMER_LOG_LEVEL": "info"})
        self.assertEqual(done.stderr, "")
        done = run("load", self.model, env={**os.environ, "STREAMER_LOG_FILE": "/nowhere/log"})
        self.assertEqual(done.returncode, 0)
        self.assertIn("/nowhere/log cannot be opened", done.stderr)

    def test_bench_prints_a_ratio(self):
        figures = json.loads(run("bench", self.model, "--rounds", "2", "--json").stdout)
        self.assertGreater(figures["ratio_to_plain"], 0)

    def test_output_that_goes_nowhere_is_an_error_not_a_crash(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([STREAMER, "inspect", self.model], stdout=full,
                                  stderr=subprocess.PIPE, text=True, timeout=60)
            self.assertEqual(done.returncode, 3, done.stderr)
            done = subprocess.run([STREAMER, "doctor", self.model], stdout=full,
                                  stderr=subprocess.PIPE, text=True, timeout=60)
            self.assertIn("cannot write the output: No space left on device", done.stderr)
        done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", STREAMER, "load", self.model],
                              stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("cannot write the output: Bad file descriptor", done.stderr)

    def test_ctrl_c_ends_a_load_at_once(self):
        load = subprocess.Popen([STREAMER, "load", self.model, "--max-bandwidth", "64KiB"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        # A line of progress comes after five seconds; the handler is there long before. Asked until the
        # kernel shows it, since there is no other sign.
        status = f"/proc/{load.pid}/status"
        caught = 0
        while not caught & 1 << (signal.SIGINT - 1):
            with open(status) as lines:
                caught = next(int(line.split()[1], 16) for line in lines if line[:6] == "SigCgt")
        load.send_signal(signal.SIGINT)
        _, errors = load.communicate(timeout=10)
        self.assertEqual(load.returncode, 130, errors)
        self.assertIn("cancelled", errors)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
