#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real vLLM gives the same tokens whatever loads the weights: prove_vllm.py MODELS [PART...]

Parts: formats stores models reload errors serve ranks. STREAMER_LIBRARY and PYTHONPATH choose what is
tried."""
import contextlib
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest.mock
import urllib.error
import urllib.request

# One thread: on busy cores those of OpenMP spend their time waiting for each other.
os.environ.update(VLLM_CPU_KVCACHE_SPACE="1", VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1",
                  VLLM_CPU_OMP_THREADS_BIND="nobind", OMP_NUM_THREADS="1")
# One process, so that many engines cost one import; the parts that are about processes set it back.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

import s3_world  # noqa: E402
import store_worlds  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.abspath(sys.argv[1])
PROMPTS = ["hello world", "abc"]
HOW = {"enforce_eager": True, "max_model_len": 128, "max_num_seqs": 4, "disable_log_stats": True}
passed, failed = [], []


def check(name, is_right, detail=""):
    (passed if is_right else failed).append(name)
    print(f"{'ok  ' if is_right else 'FAIL'} {name} {detail if not is_right else ''}".rstrip(),
          flush=True)


class Engine:
    """An engine in this process, until the block ends. Loaders of vLLM write to the environment: the
    endpoint of a store, limits. What they wrote is not for the next engine."""

    def __init__(self, model, load_format, extra=None, **how):
        from vllm import LLM
        with contextlib.ExitStack() as undo:
            undo.enter_context(unittest.mock.patch.dict(os.environ))
            self.llm = LLM(model=model, load_format=load_format, **{**HOW, **how},
                           model_loader_extra_config=extra or {})
            self._undo = undo.pop_all()

    def tokens(self):
        from vllm import SamplingParams
        made = self.llm.generate(PROMPTS, SamplingParams(temperature=0, max_tokens=12), use_tqdm=False)
        return [list(one.outputs[0].token_ids) for one in made]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        from vllm.distributed import cleanup_dist_env_and_memory
        del self.llm
        gc.collect()
        cleanup_dist_env_and_memory()
        self._undo.close()


def tokens(*how, **options):
    with Engine(*how, **options) as engine:
        return engine.tokens()


def attempt(name, expected, *how, **options):
    try:
        check(name, tokens(*how, **options) == expected, "other tokens")
    except Exception as failure:
        check(name, False, f"{type(failure).__name__}: {failure}")


@contextlib.contextmanager
def whole_weights():
    """Engines that are made meanwhile can be saved. On processors with AVX-512 vLLM packs the weights
    of linear layers for oneDNN, drops the weights themselves, and saves a state without them."""
    from vllm.model_executor.layers import utils
    pack = utils.dispatch_cpu_unquantized_gemm
    with unittest.mock.patch.object(utils, "dispatch_cpu_unquantized_gemm",
                                    lambda layer, remove_weight: pack(layer, remove_weight=False)):
        yield


def sharded_state(engine, model, folder, pattern=None):
    """The engine's weights as vLLM saves them, with the model's small files; the folder."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
    engine.llm.collective_rpc("save_sharded_state", args=(folder, pattern, 1 << 20))
    return folder


def formats(s3, expected):
    """Every load format, from disk and from S3."""
    disk = os.path.join(MODELS, "llama")
    with tempfile.TemporaryDirectory() as states:
        with whole_weights(), Engine(disk, "auto") as engine:
            sharded_state(engine, disk, os.path.join(states, "usual"))
            sharded_state(engine, disk, os.path.join(states, "own"), "own-{rank}-{part}.safetensors")
        for where in ("disk", "s3"):
            def at(folder, name):
                return folder if where == "disk" else s3.put(folder, name)

            model = at(disk, "llama")
            usual, own = (at(os.path.join(states, one), f"sharded-{one}") for one in ("usual", "own"))
            pattern = {"pattern": "own-{rank}-{part}.safetensors"}
            attempt(f"runai_streamer from {where}", expected, model, "runai_streamer")
            attempt(f"runai_streamer from {where}, its three keys", expected, model, "runai_streamer",
                    {"distributed": True, "concurrency": 4, "memory_limit": 8 << 20})
            attempt(f"runai_streamer_sharded from {where}", expected, usual, "runai_streamer_sharded")
            attempt(f"runai_streamer_sharded from {where}, own pattern", expected, own,
                    "runai_streamer_sharded", pattern)
            attempt(f"libstreamer from {where}", expected, model, "libstreamer")
            attempt(f"libstreamer from {where}, not direct", expected, model, "libstreamer",
                    {"direct": False, "concurrency": 4, "memory_limit": 8 << 20})
            attempt(f"libstreamer from {where}, sharded", expected, usual, "libstreamer",
                    {"sharded": True})
            attempt(f"libstreamer from {where}, sharded, own pattern", expected, own, "libstreamer",
                    pattern)
            if where == "s3":
                attempt("the scheme alone: s3:// without a format", expected, model, "auto")
                attempt("a configuration here, weights there", expected, disk, "libstreamer",
                        {"source": model})


def stores(_s3, expected):
    """Models in the other clouds' stores."""
    disk = os.path.join(MODELS, "llama")
    with tempfile.TemporaryDirectory() as folder:
        for scheme, world in (("az", store_worlds.azure(folder)), ("gs", store_worlds.google(folder))):
            if world is None:
                print(f"SKIP {scheme}://: there is no server of it here; see tests/servers")
                continue
            with world as (client, variables), unittest.mock.patch.dict(os.environ, variables):
                for name in os.listdir(disk):
                    with open(os.path.join(disk, name), "rb") as file:
                        client.put("models", f"llama/{name}", file.read())
                for load_format in ("runai_streamer", "libstreamer"):
                    attempt(f"{load_format} from {scheme}", expected, f"{scheme}://models/llama",
                            load_format)


def architectures(_s3, _expected):
    """Model code of many kinds."""
    for name in sorted(os.listdir(MODELS)):
        model = os.path.join(MODELS, name)
        with tempfile.TemporaryDirectory() as folder:
            with whole_weights(), Engine(model, "auto") as engine:
                expected = engine.tokens()
                state = sharded_state(engine, model, os.path.join(folder, "state"))
            for load_format in ("libstreamer", "runai_streamer"):
                attempt(f"{name}, {load_format}", expected, model, load_format)
            # Some are saved as vLLM packed them, and packed again; so its own format is the measure.
            try:
                known = tokens(state, "sharded_state")
            except Exception as failure:
                print(f"SKIP {name}, sharded: vLLM's own sharded_state fails: {failure}")
            else:
                attempt(f"{name}, libstreamer, sharded", known, state, "libstreamer",
                        {"sharded": True})
                attempt(f"{name}, runai_streamer_sharded", known, state, "runai_streamer_sharded")
        if name in ("gpt2", "mixtral"):
            attempt(f"{name}, libstreamer as float32", tokens(model, "auto", dtype="float32"), model,
                    "libstreamer", dtype="float32")


def make(folder, how):
    """A Llama of make_models.make(), in a process of its own, as that changes what torch does."""
    subprocess.run([sys.executable, "-c", "import json, make_models, sys; make_models.make("
                    "sys.argv[1], 'llama', **json.loads(sys.argv[2]))", folder, json.dumps(how)],
                   check=True, cwd=HERE)


def reloading(s3, expected):
    """vLLM's reload_weights(): what changed is read, and nothing else."""
    import libstreamer.engine_weights as used
    model = s3.put(os.path.join(MODELS, "llama"), "changing")
    lines = []
    log = used.Weights._log
    used.Weights._log = lambda self, counts: (lines.append(self._tensors), log(self, counts))
    with tempfile.TemporaryDirectory() as other:
        make(other, {"seed": 2})
        with Engine(model, "libstreamer") as engine:
            engine.llm.collective_rpc("reload_weights")
            check("reload: nothing changed, nothing read", lines[-1] == 0, lines)
            check("reload: the tokens stay", engine.tokens() == expected)
            names = sorted(one for one in os.listdir(other) if one.endswith(".safetensors"))
            s3.client.upload_file(os.path.join(other, names[0]), "models", f"changing/{names[0]}")
            engine.llm.collective_rpc("reload_weights")
            check("reload: of a changed shard", 0 < lines[-1] < 30, lines)
            now = engine.tokens()
            check("reload: other tokens", now != expected)
        check("reload: as loaded anew", now == tokens(model, "libstreamer", {"direct": False}))


# Engines that fail, in one process, as importing vLLM takes long: [[OPTIONS OF LLM, VARIABLES], ...]
FAILING = """
import json, os, sys, traceback
from vllm import LLM
from vllm.distributed import cleanup_dist_env_and_memory
usual = dict(os.environ)
for how, variables in json.loads(sys.argv[1]):
    os.environ.clear()
    os.environ.update({**usual, **variables})
    try:
        LLM(**how)
        text = "nothing failed"
    except BaseException as failure:
        text = "".join(traceback.format_exception_only(failure))
    cleanup_dist_env_and_memory()
    print("LAST " + text.strip().splitlines()[-1], flush=True)
"""


def last_lines(cases):
    """What a user reads last, of each case. Permissions of files hold, also for root."""
    drop = "-dac_override,-dac_read_search"
    as_nobody = ["setpriv", "--bounding-set", drop, "--inh-caps", drop] if os.geteuid() == 0 else []
    done = subprocess.run([*as_nobody, sys.executable, "-c", FAILING, json.dumps(cases)], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    found = [line[5:] for line in done.stdout.splitlines() if line.startswith("LAST ")]
    if len(found) != len(cases):
        print(done.stdout[-5000:])
    return found + [""] * (len(cases) - len(found))


def last_line_of_command(model, load_format):
    """Of a program that makes an engine in another process."""
    program = "import json, sys; from vllm import LLM; LLM(**json.loads(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", program,
                           json.dumps({"model": model, **HOW, "load_format": load_format})], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"})
    return done.stdout.rstrip().rpartition("\n")[2]


def shards_of(folder):
    return sorted(one for one in os.listdir(folder) if one.endswith(".safetensors"))


def spoil(folder, name, shard, how):
    """A copy of the model with something wrong in a shard."""
    copied = os.path.join(folder, name)
    shutil.copytree(os.path.join(MODELS, "llama"), copied)
    how(os.path.join(copied, shard))
    return copied


def replace(old, new):
    def change(path):
        with open(path, "r+b") as file:
            content = file.read()
            assert old in content and len(old) == len(new)
            file.seek(0)
            file.write(content.replace(old, new, 1))
    return change


def forget(path):
    """The index's entries of one shard."""
    with open(path, encoding="utf-8") as file:
        index = json.load(file)
    shard = sorted(set(index["weight_map"].values()))[1]
    index["weight_map"] = {name: one for name, one in index["weight_map"].items() if one != shard}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(index, file)


def forbid(path):
    """Nobody may read it, if last_lines() asks."""
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    os.chmod(path, 0o600 if os.geteuid() == 0 else 0)


def errors(s3, _expected):
    """The last line that a user reads says what is wrong, in either format."""
    disk = os.path.join(MODELS, "llama")
    shard = shards_of(disk)[1]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as servers:
        os.chmod(folder, 0o755)
        cut = spoil(folder, "cut", shard, lambda path: os.truncate(path, os.path.getsize(path) - 100))
        lacking = spoil(folder, "lacking", shard, os.remove)
        unlisted = spoil(folder, "unlisted", "model.safetensors.index.json", forget)
        odd = spoil(folder, "odd", shard, replace(b'"BF16"', b'"BF61"'))
        broken = spoil(folder, "broken", shard, replace(b'{"', b'{['))
        secret = spoil(folder, "secret", shard, forbid)
        good = s3.put(disk, "llama")

        def refused(*how):
            return {"AWS_ENDPOINT_URL": servers.enter_context(s3_world.Refusing(*how))}

        cases = {
            "a bucket that is not there": ("s3://nowhere/llama", {}, "nowhere"),
            "a model that is not there": ("s3://models/nothing", {}, "models/nothing"),
            "a key that is not known": (good, refused("InvalidAccessKeyId"), "InvalidAccessKeyId"),
            "a secret that is wrong": (good, refused("SignatureDoesNotMatch"), "SignatureDoesNotMatch"),
            "a token that is expired": (good, refused("ExpiredToken", 400), "ExpiredToken"),
            "no permission": (good, refused("AccessDenied"), "AccessDenied"),
            "another region": (good, {**refused("AuthorizationHeaderMalformed", 400,
                                                "<Region>eu-west-1</Region>")}, "region"),
            "no region": (good, {"AWS_REGION": "no such region"}, "is not a region"),
            "no server": (good, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "127.0.0.1:9"),
            "a shard that is cut off": (cut, {}, shard),
            "a shard that is cut off, in S3": (s3.put(cut, "cut"), {}, shard),
            "a shard that is missing": (lacking, {}, shard),
            "a shard that is missing, in S3": (s3.put(lacking, "lacking"), {}, shard),
            "a shard that the index does not name": (unlisted, {}, shard),
            "a dtype that is none": (odd, {}, "BF61"),
            "a header that is broken": (broken, {}, shard),
            "a file that may not be read": (secret, {}, shard)}
        cases["a setting that is none"] = (good, {}, "did you mean concurrency")
        for load_format, own in (("libstreamer", ("libstreamer.",)),
                                 ("runai_streamer", ("libstreamer.", "ValueError: "))):
            if load_format == "runai_streamer":
                cases.pop("a setting that is none")  # its settings are variables
                # Pulling nothing is no error in the original; vLLM then misses a configuration. For
                # this format vLLM takes all files of a folder, whatever the index names.
                cases.pop("a model that is not there")
                cases.pop("a shard that the index does not name")
            options = [({"model": model, **HOW, "load_format": load_format, "model_loader_extra_config":
                         {"concurency": 2} if "setting" in name else {}}, variables)
                       for name, (model, variables, _) in cases.items()]
            for (name, (_, _, words)), last in zip(cases.items(), last_lines(options)):
                check(f"error, {load_format}: {name}", words in last and last.startswith(own), last)
                print("       ", last)
        last = last_line_of_command(lacking, "libstreamer")
        check("error, libstreamer: the last line of a command", shard in last, last)


class Server:
    """`vllm serve`, until the block ends."""

    def __init__(self, model, *options):
        self.port = s3_world.ports.free_ports(1)[0]
        self.log = tempfile.TemporaryFile("w+")
        command = [os.path.join(os.path.dirname(sys.executable), "vllm"), "serve", model, *options,
                   "--port", str(self.port), "--host", "127.0.0.1", "--enforce-eager",
                   "--max-model-len", "128", "--max-num-seqs", "4"]
        self._process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT,
                                         env={**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1",
                                              "RUNAI_STREAMER_LOG_TO_STDERR": "1"})

    def answer(self, model):
        """The tokens of the first prompt; None if the server ended before it could answer."""
        body = json.dumps({"model": model, "prompt": PROMPTS[0], "max_tokens": 12, "temperature": 0,
                           "return_token_ids": True}).encode()
        while self._process.poll() is None:
            try:
                with urllib.request.urlopen(urllib.request.Request(
                        f"http://127.0.0.1:{self.port}/v1/completions", body,
                        {"Content-Type": "application/json"})) as found:
                    return json.load(found)["choices"][0]["token_ids"]
            except urllib.error.HTTPError:
                return None
            except OSError:
                time.sleep(0.5)
        return None

    def text(self):
        self.log.seek(0)
        return self.log.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait()
        self.log.close()


def serve(s3, expected):
    """vllm serve of a model in S3, and a completion."""
    model = s3.put(os.path.join(MODELS, "llama"), "llama")
    for name, options, line in (
            ("libstreamer", ["--load-format", "libstreamer"], "held back by"),
            ("runai_streamer", ["--load-format", "runai_streamer"], "[RunAI Streamer]"),
            ("without a format", [], "[RunAI Streamer]")):
        with Server(model, *options) as server:
            found = server.answer(model)
            check(f"serve, {name}: a completion", found == expected[0],
                  f"{found}\n{server.text()[-2000:] if found is None else ''}")
            check(f"serve, {name}: the report is in the engine's log", line in server.text())


def ranks(s3, _expected):
    """Two ranks share one read. Their tokens are not those of one rank: they add in another order."""
    two = {"tensor_parallel_size": 2, "distributed_executor_backend": "mp"}
    # What more than one GPU does by itself; see docs/runai.md.
    variables = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "RUNAI_STREAMER_DIST": "1"}
    with tempfile.TemporaryDirectory() as disk, unittest.mock.patch.dict(os.environ, variables):
        # Of 40 MB, so that headers, which everybody reads, are few of the bytes.
        make(disk, {"shard_size": "20MB", "hidden_size": 768, "intermediate_size": 2048})
        model = s3.put(disk, "larger")
        size = sum(os.path.getsize(os.path.join(disk, name)) for name in shards_of(disk))
        expected = tokens(disk, "auto", **two)
        for name, load_format, extra, times in (
                ("libstreamer", "libstreamer", {}, 1),
                ("libstreamer, not direct", "libstreamer", {"direct": False}, 1),
                ("runai_streamer, distributed", "runai_streamer", {"distributed": True}, 1),
                ("runai_streamer", "runai_streamer", {}, 2)):
            with s3_world.Counting(s3.port) as way:
                attempt(f"two ranks, {name}", expected, model, load_format, extra, **two)
            check(f"two ranks, {name}: the model's bytes came {times} times",
                  times * 0.97 < way.bytes / size < times * 1.25, way.bytes / size)


PARTS = {"formats": formats, "stores": stores, "models": architectures, "reload": reloading,
         "errors": errors, "serve": serve, "ranks": ranks}


def main():
    with s3_world.S3() as s3:
        expected = tokens(os.path.join(MODELS, "llama"), "auto")
        for name in sys.argv[2:] or PARTS:
            PARTS[name](s3, expected)
    print(f"{len(passed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
