#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One measurement of compare.py, in a process of its own: compare_peers.py ORDER.json

Each peer is a function that imports what it needs and returns another, which brings every tensor of the
model into the parameters that are there. Only the second is measured. Settings are each peer's own
defaults; what is set is where the store is, and whom to trust.
"""
import gc
import importlib.metadata
import json
import os
import resource
import sys
import time
import zlib

MIB = 1 << 20
REMOTE, LOCAL = ("http", "https"), ("cache", "cold")


class Refusal(Exception):
    """Why a peer is not measured here."""


class Parameters:
    """Those of a model that is there: made before anything is measured, and touched."""

    def __init__(self, tensors, device):
        import torch
        self.torch, self.device, self.first_s, self.began = torch, device, None, 0.0
        self.memory = {name: torch.empty(shape, dtype=torch.bfloat16, device=device).fill_(1)
                       for name, shape, _ in tensors}
        self.sums = {name: crc for name, _, crc in tensors}
        self.missing = set(self.memory)
        # An engine has copied before: torch has its threads.
        largest = max(self.memory.values(), key=torch.Tensor.numel)
        largest.copy_(torch.ones(largest.shape, dtype=torch.bfloat16))

    def came(self, *_):
        if self.first_s is None:
            self.first_s = time.perf_counter() - self.began

    def take(self, name, tensor):
        self.came()
        self.memory[name].copy_(tensor)
        self.missing.discard(name)

    def wait(self):
        if self.device != "cpu":
            self.torch.cuda.synchronize()

    def check(self):
        """ValueError unless all bytes are those that were written."""
        if self.missing:
            raise ValueError(f"{len(self.missing)} tensors did not come: {sorted(self.missing)[:3]}")
        for name, tensor in self.memory.items():
            view = tensor.cpu().contiguous().view(self.torch.uint8).reshape(-1)
            if zlib.crc32(memoryview(view.numpy())) != self.sums[name]:
                raise ValueError(f"{name} has other bytes than were written")


def ours(place):
    import libstreamer

    def load(parameters):
        for name, tensor in libstreamer.load(place["uris"], framework="torch",
                                             device=parameters.device):
            parameters.take(name, tensor)
            del tensor  # as a loop that keeps pace does
    return load


def ours_into(place):
    import libstreamer

    def load(parameters):
        names = libstreamer.load_into(parameters.memory, place["uris"], device=parameters.device,
                                      progress=parameters.came)
        parameters.missing -= set(names)
    return load


def incumbent(place):
    import runai_model_streamer
    where = os.path.dirname(os.path.abspath(runai_model_streamer.__file__))
    is_ours = os.path.exists(os.path.join(where, "_installation.py"))
    if is_ours != (place["peer"] == "drop_in"):
        raise Refusal(f"the package at {where} is " + ("ours" if is_ours else "the incumbent's"))

    def load(parameters):
        with runai_model_streamer.SafetensorsStreamer() as streamer:
            streamer.stream_files(place["uris"], device=parameters.device)
            for name, tensor in streamer.get_tensors():
                parameters.take(name, tensor)
                del tensor
    return load


def safetensors_mmap(place):
    import safetensors

    def load(parameters):
        for path in place["files"]:
            with safetensors.safe_open(path, framework="pt", device=parameters.device) as file:
                for name in file.keys():
                    parameters.take(name, file.get_tensor(name))
    return load


def fastsafetensors_files(place):
    import fastsafetensors

    def load(parameters):
        # A file at a time, as an engine of one rank does; without a GPU there is no GPUDirect.
        for path in place["files"]:
            with fastsafetensors.fastsafe_open(path, device=parameters.device,
                                               nogds=parameters.device == "cpu") as file:
                for name in file.keys():
                    parameters.take(name, file.get_tensor(name))
    return load


def instanttensor_files(place):
    if place["device"] == "cpu":
        raise Refusal("loads to GPUs only: --device cuda:0")
    import instanttensor

    def load(parameters):
        with instanttensor.safe_open(place["files"], framework="pt",
                                     device=parameters.device) as file:
            for name, tensor in file.tensors():
                parameters.take(name, tensor)
    return load


def tensorizer_stream(place):
    from tensorizer import TensorDeserializer, stream_io
    trusted = stream_io.CAInfo(cacert=place["ca"]) if place["row"] == "https" else None

    def load(parameters):
        with stream_io.open_stream(place["serialized"], certificate_handling=trusted) as stream, \
                TensorDeserializer(stream, device=parameters.device) as tensors:
            for name in tensors.keys():
                parameters.take(name, tensors[name])
    return load


def boto3_whole(place):
    import io

    import boto3
    import botocore.config
    import safetensors.torch

    def load(parameters):
        client = boto3.client("s3", endpoint_url=place["endpoint"], config=botocore.config.Config(
            s3={"addressing_style": "path"}))
        for uri in place["uris"]:
            bucket, _, key = uri.removeprefix("s3://").partition("/")
            body = io.BytesIO()
            client.download_fileobj(bucket, key, body)
            for name, tensor in safetensors.torch.load(body.getvalue()).items():
                parameters.take(name, tensor)
            del body, tensor
    return load


def torch_connector(place):
    import safetensors.torch
    from s3torchconnector import S3Checkpoint, S3ClientConfig

    def load(parameters):
        checkpoint = S3Checkpoint(region="us-east-1", endpoint=place["endpoint"],
                                  s3client_config=S3ClientConfig(force_path_style=True))
        for uri in place["uris"]:
            with checkpoint.reader(uri) as reader:
                tensors = safetensors.torch.load(reader.read())
            for name, tensor in tensors.items():
                parameters.take(name, tensor)
            del tensors, tensor
    return load


# Name: how it is printed, the function, the rows, the packages.
PEERS = {
    "load": ("`libstreamer.load`", ours, REMOTE + LOCAL, ()),
    "load_into": ("`libstreamer.load_into`", ours_into, REMOTE + LOCAL, ()),
    "drop_in": ("our `runai_model_streamer`", incumbent, REMOTE + LOCAL, ()),
    "incumbent": ("Run:ai Model Streamer", incumbent, REMOTE + LOCAL,
                  ("runai-model-streamer", "runai-model-streamer-s3")),
    "safetensors": ("safetensors (mmap)", safetensors_mmap, LOCAL, ("safetensors",)),
    "fastsafetensors": ("fastsafetensors", fastsafetensors_files, LOCAL, ("fastsafetensors",)),
    "instanttensor": ("InstantTensor", instanttensor_files, LOCAL, ("instanttensor",)),
    "tensorizer": ("tensorizer", tensorizer_stream, REMOTE + LOCAL, ("tensorizer",)),
    "boto3": ("boto3 + safetensors", boto3_whole, REMOTE, ("boto3", "safetensors")),
    "torch_connector": ("S3 connector for PyTorch + safetensors", torch_connector, REMOTE,
                        ("s3torchconnector", "safetensors")),
}
OURS = ("load", "load_into", "drop_in")


def versions(peer):
    """Of its packages; Refusal if one is not installed."""
    found = {}
    for package in PEERS[peer][3]:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise Refusal(f"{package} is not installed") from None
    if peer in OURS:
        import libstreamer
        found["libstreamer"] = libstreamer.library_version()
    return found


def memory_of_process(field):
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


def reset_peak():
    """Whether the kernel begins anew with VmHWM."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
        return True
    except OSError:
        return False


def used():
    """CPU seconds and page faults of this process and of the children that it waited for."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return (sum(one.ru_utime + one.ru_stime for one in both),
            sum(one.ru_minflt + one.ru_majflt for one in both))


def measure(place):
    with open(place["model"], encoding="utf-8") as file:
        model = json.load(file)
    found = versions(place["peer"])
    load = PEERS[place["peer"]][1](place)
    parameters = Parameters(model["tensors"], place["device"])
    parameters.wait()
    gc.collect()
    is_reset = reset_peak()
    resident, (cpu, faults) = memory_of_process("VmRSS"), used()
    parameters.began = time.perf_counter()
    load(parameters)
    parameters.wait()
    seconds = time.perf_counter() - parameters.began
    gc.collect()  # a child of the peer's counts once it was waited for
    cpu_now, faults_now = used()
    peak = memory_of_process("VmHWM") - resident
    parameters.check()
    gb = model["bytes"] / 1e9
    return {"versions": found, "seconds": seconds, "gb_per_s": gb / seconds,
            "cpu_s_per_gb": (cpu_now - cpu) / gb, "page_faults": faults_now - faults,
            "peak_mb": max(peak, 0) / 1e6, "is_peak_of_load": is_reset,
            "first_tensor_s": parameters.first_s}


def serialize(place):
    """Writes the model in tensorizer's own form."""
    versions("tensorizer")
    from safetensors.torch import load_file
    from tensorizer import TensorSerializer
    serializer = TensorSerializer(place["serialized"])
    for path in place["files"]:
        serializer.write_state_dict(load_file(path))
    serializer.close()
    return {}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        place = json.load(file)
    try:
        result = serialize(place) if place["row"] == "serialize" else measure(place)
    except Refusal as error:
        result = {"refused": str(error)}
    except Exception as error:  # of any peer, in its own words
        text = " ".join(str(error).split())[:400]
        result = {"failed": f"{type(error).__name__}: {text}"}
    with open(place["result"], "w", encoding="utf-8") as file:
        json.dump(result, file)
    sys.stdout.flush()
    os._exit(0)  # how a peer ends its threads is not measured


if __name__ == "__main__":
    main()
