#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What people and scripts expect of any command: habits_test.py STREAMER SOURCE_ROOT"""
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import unittest

STREAMER, ROOT = os.path.abspath(sys.argv[1]), sys.argv[2]
sys.path.insert(0, os.path.join(ROOT, "tests", "servers"))
import small_store  # noqa: E402

COMMANDS = ["ls", "inspect", "load", "digest", "bench", "pull", "snapshot", "doctor", "settings"]


def run(*arguments, **keywords):
    return subprocess.run([STREAMER, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, **keywords)


def on_terminal(*arguments, columns=80, **variables):
    """stdout and stderr of the command on a terminal of its own."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", **variables}
    environment = {name: value for name, value in environment.items() if value is not None}
    process = subprocess.Popen([STREAMER, *arguments], stdin=subprocess.DEVNULL, stdout=its,
                               stderr=its, env=environment)
    os.close(its)
    text = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not more:
            break
        text += more
    os.close(ours)
    process.wait(60)
    return text.decode()


class Habits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = cls.temporary.name
        cls.model = os.path.join(cls.folder, "model")
        subprocess.run([sys.executable, os.path.join(ROOT, "examples/make_checkpoint.py"), cls.model,
                        "--mib", "4", "--shards", "3"], check=True, capture_output=True)
        with open(os.path.join(cls.model, "config.json"), "w") as file:
            file.write("{}")

    # ---- What is in the build ----

    def test_version_says_what_is_in_the_build(self):
        lines = run("--version").stdout.splitlines()
        self.assertRegex(lines[0], r"^streamer \d+\.\d+\.\d+$")
        self.assertEqual([line.split(": ")[0] for line in lines[1:]],
                         ["curl", "TLS", "io_uring", "GPU", "MPI"])
        self.assertRegex(lines[1], r"^curl: \d+\.\d+")
        self.assertRegex(lines[2], r"^TLS: \w+/\d")

    # ---- Said once ----

    def test_files_that_are_not_verified_are_one_line(self):
        done = run("load", self.model, "--set", "verify=store")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr.count("not verified"), 1, done.stderr)
        self.assertIn("00001-of-00003.safetensors and 2 more files are not verified: ", done.stderr)

    def test_a_step_that_failed_is_not_told_twice_on_a_terminal(self):
        where = ("doctor", os.path.join(self.folder, "nowhere"))
        self.assertEqual(on_terminal(*where).count("No such file"), 1)
        done = run(*where)
        self.assertIn("No such file", done.stdout)
        loop = os.path.join(self.folder, "loop")
        os.mkdir(loop)
        os.symlink("m.safetensors", os.path.join(loop, "m.safetensors"))
        self.assertIn("it is a link to m.safetensors", run("doctor", loop).stderr)
        done = run(*where)
        self.assertIn("No such file", done.stderr)

    # ---- JSON ----

    def test_json_of_every_command_is_json(self):
        to = os.path.join(self.folder, "pulled")
        for arguments in (["ls", self.model], ["inspect", self.model], ["load", self.model],
                          ["digest", self.model], ["bench", self.model, "--rounds", "1"],
                          ["pull", self.model, to], ["snapshot", self.model],
                          ["doctor", self.model], ["settings"]):
            done = run(*arguments, "--json")
            self.assertEqual(done.returncode, 0, done.stderr)
            is_one = arguments[0] not in ("ls", "digest", "doctor", "settings")
            for text in [done.stdout] if is_one else done.stdout.splitlines():
                self.assertIsInstance(json.loads(text), dict, arguments)
        lines = run("digest", self.model, "--json").stdout.splitlines()
        digests = [json.loads(line) for line in lines]
        self.assertEqual([f"{one['sha256']}  {one['name']}" for one in digests],
                         run("digest", self.model).stdout.splitlines())
        done = run("snapshot", self.model, "--json")
        self.assertEqual(json.loads(done.stdout)["folder"], self.model)

    def test_errors_are_json_too_and_a_line_for_people(self):
        nowhere = os.path.join(self.folder, "nowhere")
        for command in COMMANDS[:-1]:
            more = [os.path.join(self.folder, "to")] if command == "pull" else []
            done = run(command, nowhere, *more, "--json")
            self.assertEqual(done.returncode, 3, done.stderr)
            error = json.loads(done.stdout.splitlines()[-1])["error"]
            self.assertEqual((error["kind"], error["exit_code"]), ("not_found", 3), command)
            self.assertIn(nowhere, error["uri"] + error["message"])
            self.assertIn(error["message"], done.stderr)

    def test_wrong_arguments_are_json_too(self):
        for wrong in (["load", "--json"], ["load", self.model, "--jsn", "--json"],
                      ["laod", self.model, "--json"], ["settings", "--json", "more"],
                      ["load", self.model, "--concurrency", "many", "--json"]):
            done = run(*wrong)
            self.assertEqual(done.returncode, 2, wrong)
            error = json.loads(done.stdout)["error"]
            self.assertEqual((error["kind"], error["exit_code"]), ("invalid_argument", 2))
            self.assertTrue(error["message"])
            self.assertEqual(run(*[word for word in wrong if word != "--json"]).stdout, "")

    # ---- Terminals ----

    def progress(self, columns):
        text = on_terminal("load", self.model, "--max-bandwidth", "8MiB", columns=columns)
        return [line.rstrip() for line in re.split(r"[\r\n]+", text)
                if re.match(r"(\[| *\d+ %)", line)]

    def test_progress_has_an_eta_and_fits_the_terminal(self):
        for columns, words in ((120, ["[", "ETA ", "MB/s", "tensors", "MiB of"]),
                               (60, ["ETA ", "MB/s"]), (24, ["%"]), (8, ["%"])):
            lines = self.progress(columns)
            self.assertGreater(len(lines), 1)
            self.assertLess(max(map(len, lines)), columns, lines)
            for word in words:
                self.assertTrue(any(word in line for line in lines), (columns, word, lines))
            self.assertIn("100 %", lines[-1])
            self.assertNotIn(" 0.00 ", lines[-1])
        self.assertRegex(self.progress(80)[-1], r"took \d+:\d\d")

    def test_colours_are_for_terminals_without_no_color(self):
        nowhere = os.path.join(self.folder, "nowhere")
        self.assertIn("\x1b[31mstreamer:\x1b[0m", on_terminal("ls", nowhere, NO_COLOR=None))
        self.assertIn("\x1b[32mok", on_terminal("doctor", self.model, NO_COLOR=None))
        for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": None}):
            for arguments in (["ls", nowhere], ["doctor", self.model], ["load", self.model]):
                self.assertNotIn("\x1b", on_terminal(*arguments, **{"NO_COLOR": None, **variables}))
        self.assertNotIn("\x1b", run("ls", nowhere, env={**os.environ, "TERM": "xterm"}).stderr)

    # ---- Pipes ----

    def test_a_closed_pipe_ends_the_command_without_a_word(self):
        for arguments in (["settings"], ["inspect", self.model], ["ls", self.model], ["--help"],
                          ["man"], ["load", self.model, "--json"]):
            reader, writer = os.pipe()
            os.close(reader)
            done = subprocess.run([STREAMER, *arguments], stdout=writer, stderr=subprocess.PIPE,
                                  text=True, timeout=60)
            os.close(writer)
            # As every command that does not handle SIGPIPE: what "set -o pipefail" knows as 141.
            self.assertEqual((done.returncode, done.stderr), (-13, ""), arguments)

    # ---- Patterns ----

    def names(self, pattern, *options, **keywords):
        done = run("ls", pattern, "--json", *options, **keywords)
        self.assertEqual(done.returncode, 0, done.stderr)
        base = keywords.get("cwd", self.folder)
        return [os.path.relpath(os.path.join(base, json.loads(line)["uri"].removeprefix("file://")),
                                base) for line in done.stdout.splitlines()]

    def test_patterns_in_uris(self):
        tree = os.path.join(self.folder, "tree")
        for name in ("a/x.json", "b/x.json", "b/c/x.json", "b/y.txt", "b/.hidden.json", "odd[1].json",
                     "odd1.json"):
            os.makedirs(os.path.dirname(os.path.join(tree, name)), exist_ok=True)
            with open(os.path.join(tree, name), "w") as file:
                file.write(name)
        for pattern, expected in (
                ("*/x.json", ["a/x.json", "b/x.json"]), ("b/*", ["b/c", "b/x.json", "b/y.txt"]),
                ("**/x.json", ["a/x.json", "b/c/x.json", "b/x.json"]), ("[ab]/?.json",
                                                                     ["a/x.json", "b/x.json"]),
                ("*/", ["a", "b"]), ("odd[1].json", ["odd[1].json"]), ("odd[1]*", ["odd1.json"])):
            found = self.names(f"{tree}/{pattern}")
            self.assertEqual(found, [f"tree/{name}" for name in expected], pattern)
            if "?" not in pattern:
                self.assertEqual(self.names(f"file://{tree}/{pattern}"), found, pattern)
        self.assertEqual(self.names("b/*.json", cwd=tree), ["b/x.json"])
        self.assertEqual(self.names("o*", cwd=tree), ["odd1.json", "odd[1].json"])
        self.assertEqual(self.names(f"{tree}/[ab]", "-r"),
                         ["tree/a/x.json", "tree/b/.hidden.json", "tree/b/c/x.json", "tree/b/x.json",
                          "tree/b/y.txt"])
        done = run("ls", f"{tree}/*.safetensors")
        self.assertEqual(done.returncode, 3)
        self.assertRegex(done.stderr, r'nothing matches ".*\*\.safetensors"; there are names such as "')
        to = os.path.join(self.folder, "to")
        self.assertEqual(run("pull", f"{tree}/[b]*", to).returncode, 0)
        self.assertEqual(sorted(os.listdir(to + "/b")), [".hidden.json", "c", "x.json", "y.txt"])
        self.assertEqual(run("pull", f"{tree}/odd[1].json", to).returncode, 0)
        self.assertEqual(sorted(os.listdir(to)), ["b", "odd[1].json"])
        done = run("pull", f"{tree}/*", to, "--allow", "*.json")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--allow", done.stderr)

    def test_patterns_in_a_store(self):
        store = small_store.SmallStore()
        store.has_folders = True
        self.addCleanup(store.stop)
        names = ("m/a/x.json", "m/b/x.json", "m/b/c/x.json", "m/odd[1].json", "m/odd1.json",
                 "m/q?.json")
        store.objects.update({name: name.encode() for name in names})
        environment = {**os.environ, **store.variables()}
        for pattern, expected in (
                ("m/*/x.json", ["m/a/x.json", "m/b/x.json"]), ("m/odd[1].json", ["m/odd[1].json"]),
                ("m/**/x.json", ["m/a/x.json", "m/b/c/x.json", "m/b/x.json"]),
                ("m/odd[1]*", ["m/odd1.json"]), ("m/q?.json", ["m/q?.json"])):
            done = run("ls", "s3://bucket/" + pattern, "--json", env=environment)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual([json.loads(line)["uri"] for line in done.stdout.splitlines()],
                             ["s3://bucket/" + name for name in expected], pattern)
        self.assertEqual(run("ls", "s3://bucket/m/*.st", env=environment).returncode, 3)
        done = run("ls", "s3://b*/m", env=environment)
        self.assertEqual(done.returncode, 2)
        self.assertIn("below a bucket", done.stderr)

    def test_loads_take_patterns(self):
        whole = run("digest", self.model).stdout
        self.assertEqual(run("digest", self.model + "/model-0000?-of-*.safetensors").stdout, whole)
        parts = [run("digest", f"{self.model}/*0000{i}-of*.safetensors").stdout for i in (1, 2, 3)]
        self.assertEqual(sorted("".join(parts).splitlines()), sorted(whole.splitlines()))
        self.assertEqual(run("load", self.model + "/*.onnx").returncode, 3)

    # ---- The manual and the shells ----

    def test_the_manual_page_is_of_the_commands_own_options(self):
        page = run("man").stdout
        self.assertTrue(page.startswith(".TH STREAMER 1"))
        for command in COMMANDS:
            self.assertIn(f".SS {command}\n", page)
            for option in set(re.findall(r"--[a-z][a-z-]*", run(command, "--help").stdout)):
                self.assertIn(option.replace("-", "\\-"), page, (command, option))
        for row in run("settings", "--json").stdout.splitlines():
            self.assertIn(f"\\fB{json.loads(row)['name']}\\fR", page)
        if not shutil.which("groff"):
            self.skipTest("groff is not installed")
        done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-rLL=80n"], input=page,
                              capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("--max-bandwidth", re.sub(r".\x08|\x1b\[\d*m", "", done.stdout))

    def completed(self, *words):
        """What bash offers for the last of the words."""
        script = (run("completion", "bash").stdout +
                  'COMP_WORDS=(streamer "$@"); COMP_CWORD=$#; compopt() { :; }; _streamer\n'
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-uc", script, "bash", *words], capture_output=True, text=True)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_bash_completes_commands_options_and_values(self):
        if not shutil.which("bash"):
            self.skipTest("bash is not installed")
        self.assertEqual(self.completed("l"), ["ls", "load"])
        self.assertEqual(self.completed("--log", "w"), ["warning"])
        self.assertEqual(self.completed("load", "--mem"), ["--memory-limit"])
        self.assertEqual(self.completed("--log", "debug", "ls", "--j"), ["--json"])
        self.assertEqual(self.completed("load", "--order", ""), ["completion", "plan"])
        self.assertEqual(self.completed("load", "--set", "s3_reg"), ["s3_region="])
        self.assertEqual(self.completed("completion", ""), ["bash", "zsh", "fish"])
        self.assertEqual(self.completed("load", "x"), [])
        for command in COMMANDS:
            self.assertIn("--json", self.completed(command, "--"))

    def test_zsh_and_fish_can_read_their_completions(self):
        missing = []
        for shell in ("zsh", "fish"):
            script = run("completion", shell).stdout
            for command in COMMANDS:
                self.assertIn(command, script)
            if not shutil.which(shell):
                missing.append(shell)
                continue
            with tempfile.NamedTemporaryFile("w", suffix="." + shell) as file:
                file.write(script)
                file.flush()
                done = subprocess.run([shell, "-n", file.name], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""), shell)
        if missing:
            self.skipTest(f"{' and '.join(missing)} not installed")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
