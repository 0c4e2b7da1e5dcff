#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real vLLM gives the same tokens whatever loads the weights: prove_vllm.py MODELS [PART...]

Parts: formats models ranks reload errors serve. STREAMER_LIBRARY and PYTHONPATH choose what is
tried."""
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

os.environ.update(VLLM_CPU_KVCACHE_SPACE="1", VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1",
                  VLLM_CPU_OMP_THREADS_BIND="nobind")
# One process, so that many engines cost one import; the parts that are about processes set it back.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

import s3_world  # noqa: E402

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
    """An engine in this process, until the block ends."""

    def __init__(self, model, load_format, extra=None, **how):
        from vllm import LLM
        self.llm = LLM(model=model, load_format=load_format, **{**HOW, **how},
                       model_loader_extra_config=extra or {})

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


def tokens(*how, **options):
    with Engine(*how, **options) as engine:
        return engine.tokens()


def attempt(name, expected, *how, **options):
    try:
        check(name, tokens(*how, **options) == expected, "other tokens")
    except Exception as failure:
        check(name, False, f"{type(failure).__name__}: {failure}")


def formats(s3, expected):
    """Every load format, from disk and from S3."""
    disk = os.path.join(MODELS, "llama")
    with tempfile.TemporaryDirectory() as states:
        for pattern in (None, "own-{rank}-{part}.safetensors"):
            with Engine(disk, "auto") as engine:
                state = os.path.join(states, "own" if pattern else "usual")
                shutil.copytree(disk, state, ignore=shutil.ignore_patterns("*.safetensors*"))
                engine.llm.collective_rpc("save_sharded_state", args=(state, pattern, 1 << 20))
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


def architectures(_s3, _expected):
    """Model code of many kinds."""
    for name in sorted(os.listdir(MODELS)):
        model = os.path.join(MODELS, name)
        expected = tokens(model, "auto")
        attempt(f"libstreamer, {name}", expected, model, "libstreamer")
        attempt(f"libstreamer, {name} as float32", tokens(model, "auto", dtype="float32"), model,
                "libstreamer", dtype="float32")


def reloading(s3, expected):
    """vLLM's reload_weights(): what changed is read, and nothing else."""
    import libstreamer.engine_weights as used
    model = s3.put(os.path.join(MODELS, "llama"), "changing")
    lines = []
    log = used.Weights._log
    used.Weights._log = lambda self, counts: (lines.append(self._tensors), log(self, counts))
    with tempfile.TemporaryDirectory() as other:
        subprocess.run([sys.executable, "-c", "import make_models, sys; "
                        "make_models.make(sys.argv[1], 'llama', seed=2)", other], check=True, cwd=HERE)
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


def run(model, *options, **variables):
    """An engine of a process of its own; returns its exit code and its last lines."""
    program = ("import json, sys; from vllm import LLM; how = json.loads(sys.argv[1]); "
               "LLM(**how)")
    how = {"model": model, **HOW, "load_format": "libstreamer", **dict(options)}
    environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1", **variables}
    done = subprocess.run([sys.executable, "-c", program, json.dumps(how)], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    return done.returncode, done.stdout.rstrip().splitlines()


def errors(s3, _expected):
    """The last line that a user reads says what is wrong."""
    disk = os.path.join(MODELS, "llama")
    with tempfile.TemporaryDirectory() as folder:
        cut, lacking = os.path.join(folder, "cut"), os.path.join(folder, "lacking")
        for one in (cut, lacking):
            shutil.copytree(disk, one)
        shard = sorted(one for one in os.listdir(disk) if one.endswith(".safetensors"))[1]
        os.truncate(os.path.join(cut, shard), os.path.getsize(os.path.join(cut, shard)) - 100)
        os.remove(os.path.join(lacking, shard))
        good = s3.put(disk, "llama")
        cases = {
            "a bucket that is not there": (("s3://nowhere/llama",), {}, "nowhere"),
            "a model that is not there": (("s3://models/nothing",), {}, "models/nothing"),
            "a shard that is cut off": ((cut,), {}, shard),
            "a shard that is missing": ((lacking,), {}, shard),
            "a shard that is cut off, in S3": ((s3.put(cut, "cut"),), {}, shard),
            "a shard that is missing, in S3": ((s3.put(lacking, "lacking"),), {}, shard),
            "no server": ((good,), {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "127.0.0.1:9"),
            "a setting that is none": ((good, ("model_loader_extra_config", {"concurency": 2})), {},
                                       "concurency"),
        }
        for name, (how, variables, words) in cases.items():
            code, lines = run(*how, **variables)
            last = lines[-1] if lines else ""
            check(f"error: {name}", code != 0 and words in last and "libstreamer" in last, last)
            print("       ", last)


def serve(s3, _expected):
    """vllm serve, and a completion."""
    model = s3.put(os.path.join(MODELS, "llama"), "llama")
    port = s3_world.free_port()
    # What `vllm serve` starts: the command of vllm-cpu looks for the metadata of a package vllm.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model,
               "--load-format", "libstreamer", "--port", str(port), "--host", "127.0.0.1",
               "--enforce-eager",
               "--max-model-len", "128", "--max-num-seqs", "4"]
    environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            body = json.dumps({"model": model, "prompt": PROMPTS[0], "max_tokens": 4}).encode()
            answer = None
            while answer is None and server.poll() is None:
                try:
                    with urllib.request.urlopen(urllib.request.Request(
                            f"http://127.0.0.1:{port}/v1/completions", body,
                            {"Content-Type": "application/json"})) as found:
                        answer = json.load(found)
                except OSError:
                    time.sleep(0.5)
        finally:
            server.terminate()
            server.wait()
            log.seek(0)
            text = log.read()
        check("serve: a completion", answer is not None and answer["usage"]["completion_tokens"] == 4,
              text[-2000:])
        check("serve: the report is in the engine's log", "held back by" in text)


def ranks(s3, expected):
    """Two ranks share one read."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"
    model = s3.put(os.path.join(MODELS, "llama"), "llama")
    for name, extra in (("direct", {}), ("not direct", {"direct": False}),
                        ("each its own", {"distributed": False})):
        attempt(f"two ranks, {name}", expected, model, "libstreamer", extra, tensor_parallel_size=2,
                distributed_executor_backend="mp")
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"


PARTS = {"formats": formats, "models": architectures, "reload": reloading, "errors": errors,
         "serve": serve, "ranks": ranks}


def main():
    with s3_world.S3() as s3:
        expected = tokens(os.path.join(MODELS, "llama"), "auto")
        for name in sys.argv[2:] or PARTS:
            PARTS[name](s3, expected)
    print(f"{len(passed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
