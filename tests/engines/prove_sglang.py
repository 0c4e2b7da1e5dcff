#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The loader of the real SGLang gives the same parameters whatever loads the weights:
prove_sglang.py MODELS. SGLang's kernels for processors are not on the package index, so nothing is
generated."""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

import s3_world
import store_worlds

MODELS = os.path.abspath(sys.argv[1])
# SGLang, in one process for all cases, as importing it takes minutes: [[MODEL, FORMAT, EXTRA], ...]
ALL = """
import hashlib, json, socket, sys, traceback, types
from sglang.srt.plugins import load_plugins
load_plugins()
import torch
from sglang.srt import runtime_context
from sglang.srt.arg_groups.overrides import resolving_view
from sglang.srt.configs.device_config import DeviceConfig
from sglang.srt.configs.load_config import LoadConfig
from sglang.srt.configs.model_config import ModelConfig
from sglang.srt.distributed import init_distributed_environment, initialize_model_parallel
from sglang.srt.model_loader.loader import get_model_loader
from sglang.srt.server_args import prepare_server_args

with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    port = one.getsockname()[1]
is_ready = False


def loaded(model, load_format, extra):
    global is_ready
    args = prepare_server_args(["--model-path", model, "--device", "cpu", "--load-format", load_format,
                                "--model-loader-extra-config", extra])
    runtime_context.publish(args, role="scheduler",
                            ranks=runtime_context.SpawnRanks(world_rank=0))
    if not is_ready:
        init_distributed_environment(backend="gloo", world_size=1, rank=0, local_rank=0,
                                     distributed_init_method=f"tcp://127.0.0.1:{port}")
        initialize_model_parallel()
        # SGLang takes this kernel from vLLM where it has none of its own; it is not called here.
        operations = types.ModuleType("vllm._custom_ops")
        operations.rotary_embedding = None
        sys.modules.update({"vllm": types.ModuleType("vllm"), "vllm._custom_ops": operations})
        is_ready = True
    args = runtime_context.get_context().server_args
    config, view = ModelConfig.from_server_args(args), resolving_view(args)
    loader = get_model_loader(LoadConfig(
        load_format=view.load_format, model_loader_extra_config=view.model_loader_extra_config), config)
    made = loader.load_model(model_config=config, device_config=DeviceConfig("cpu"))
    digest = hashlib.sha256()
    for name, tensor in sorted(made.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return type(loader).__name__, digest.hexdigest()


for case in json.loads(sys.argv[1]):
    try:
        loader, text = loaded(*case)
    except Exception as failure:
        loader, text = "", traceback.format_exception_only(failure)[-1].strip()
    print("CASE " + json.dumps([loader, text]), flush=True)
"""
passed, failed = [], []


def check(name, is_right, detail=""):
    (passed if is_right else failed).append(name)
    print(f"{'ok  ' if is_right else 'FAIL'} {name} {detail if not is_right else ''}".rstrip(),
          flush=True)


def load(cases):
    """(loader, digest) of each case, or ("", last line of the error)."""
    done = subprocess.run([sys.executable, "-c", ALL, json.dumps(cases)], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    found = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("CASE ")]
    if len(found) != len(cases):
        print(done.stdout)
    return found


def main():
    with s3_world.S3() as s3, tempfile.TemporaryDirectory() as folder, \
            contextlib.ExitStack() as servers:
        cases = {}
        for name in ("llama", "mixtral"):
            here = os.path.join(MODELS, name)
            there = s3.put(here, name)
            cases.update({
                (name, "auto"): (here, "auto", "{}"),
                (name, "libstreamer from disk"): (here, "libstreamer", "{}"),
                (name, "libstreamer from disk, not direct"): (
                    here, "libstreamer", '{"direct": false, "concurrency": 4}'),
                (name, "libstreamer from s3"): (there, "libstreamer", "{}"),
                (name, "runai_streamer from disk"): (here, "runai_streamer", "{}"),
                (name, "runai_streamer from s3"): (there, "runai_streamer", "{}"),
                (name, "s3:// without a format"): (there, "auto", "{}")})
        here = os.path.join(MODELS, "llama")
        cases["llama", "runai_streamer from s3, its three keys"] = (
            "s3://models/llama/", "runai_streamer",
            '{"distributed": true, "concurrency": 8, "memory_limit": 2147483648}')
        for scheme, world in (("gs", store_worlds.google(folder)), ("az", store_worlds.azure(folder))):
            if world is None:
                print(f"SKIP {scheme}://: there is no server of it here; see tests/servers")
                continue
            client, variables = servers.enter_context(world)
            os.environ.update(variables)
            for name in os.listdir(here):
                with open(os.path.join(here, name), "rb") as file:
                    client.put("models", f"llama/{name}", file.read())
            for load_format in ("libstreamer", "runai_streamer", "auto"):
                cases["llama", f"{load_format} from {scheme}"] = (
                    f"{scheme}://models/llama/", load_format, "{}")
        lacking = os.path.join(folder, "lacking")
        shutil.copytree(os.path.join(MODELS, "llama"), lacking)
        shard = sorted(one for one in os.listdir(lacking) if one.endswith(".safetensors"))[1]
        os.remove(os.path.join(lacking, shard))
        wrong = {
            "a bucket that is not there": ("s3://nowhere/llama", "{}", "nowhere"),
            "a shard that is missing": (lacking, "{}", shard),
            "a shard that is missing, in S3": (s3.put(lacking, "lacking"), "{}", shard),
            "a setting that is none": (lacking, '{"concurency": 2}', "concurency")}
        found = load([*cases.values(),
                      *((model, "libstreamer", extra) for model, extra, _ in wrong.values())])
    digests = dict(zip(cases, found))
    for (name, how), (loader, text) in digests.items():
        is_right = loader != "" and text == digests[name, "auto"][1] and \
            (not how.startswith("libstreamer") or loader == "LibstreamerLoader")
        check(f"{name}, {how}", is_right, f"{loader}: {text}")
    for (name, (_, _, words)), (loader, text) in zip(wrong.items(), found[len(cases):]):
        check(f"error: {name}", loader == "" and words in text and "libstreamer" in text, text)
        print("       ", text)
    print(f"{len(passed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
