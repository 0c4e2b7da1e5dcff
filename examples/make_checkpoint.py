#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a sharded safetensors checkpoint shaped like a Llama model, with random weights.

    make_checkpoint.py FOLDER [--mib 1024] [--shards 4] [--seed 1]

Standard library only. The same arguments write the same bytes.
"""
import argparse
import json
import os
import random
import struct

DTYPE_BYTES = {"BF16": 2, "F32": 4, "F16": 2, "I64": 8, "U8": 1, "F8_E4M3": 1}


def layer_tensors(layer, hidden, inner):
    prefix = f"model.layers.{layer}."
    yield prefix + "input_layernorm.weight", "F32", [hidden]
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        yield f"{prefix}self_attn.{name}.weight", "BF16", [hidden, hidden]
    for name in ("gate_proj", "up_proj"):
        yield f"{prefix}mlp.{name}.weight", "BF16", [inner, hidden]
    yield f"{prefix}mlp.down_proj.weight", "F8_E4M3", [hidden, inner]
    yield f"{prefix}mlp.down_proj.weight_scale", "F32", []
    yield prefix + "post_attention_layernorm.weight", "F32", [hidden]


def model_tensors(total_bytes):
    """Names, dtypes and shapes of about total_bytes."""
    hidden = 1024 if total_bytes > 256 << 20 else 128
    inner = hidden * 11 // 4
    yield "model.embed_tokens.weight", "BF16", [4 * hidden, hidden]
    yield "model.empty", "F16", [0, hidden]
    yield "model.positions", "I64", [hidden]
    written = 8 * hidden * hidden
    layer = 0
    while written < total_bytes:
        for name, dtype, shape in layer_tensors(layer, hidden, inner):
            yield name, dtype, shape
            written += tensor_bytes(dtype, shape)
        layer += 1
    yield "lm_head.weight", "BF16", [4 * hidden, hidden]


def tensor_bytes(dtype, shape):
    count = 1
    for extent in shape:
        count *= extent
    return count * DTYPE_BYTES[dtype]


def split(tensors, shards):
    """Cuts the list into shards of about the same number of bytes."""
    total = sum(tensor_bytes(dtype, shape) for _, dtype, shape in tensors)
    parts = [[] for _ in range(shards)]
    written = 0
    for tensor in tensors:
        parts[min(shards - 1, written * shards // max(total, 1))].append(tensor)
        written += tensor_bytes(tensor[1], tensor[2])
    return parts


class RandomBytes:
    """Bytes that do not repeat within a shard: one random block, started at ever other places."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.block = self.random.randbytes(8 << 20)

    def write(self, file, size):
        while size > 0:
            start = self.random.randrange(len(self.block))
            piece = self.block[start:start + size]
            file.write(piece)
            size -= len(piece)


def write_shard(path, tensors, source):
    header = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, dtype, shape in tensors:
        size = tensor_bytes(dtype, shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb", buffering=0) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, dtype, shape in tensors:
            source.write(file, tensor_bytes(dtype, shape))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--mib", type=int, default=1024, help="about how much, in MiB (default 1024)")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true",
                        help="BF16 instead of 8-bit floats, which older torch does not have")
    arguments = parser.parse_args()

    os.makedirs(arguments.folder, exist_ok=True)
    source = RandomBytes(arguments.seed)
    weight_map = {}
    total = 0
    tensors = [(name, "BF16" if arguments.plain and dtype.startswith("F8") else dtype, shape)
               for name, dtype, shape in model_tensors(arguments.mib << 20)]
    parts = split(tensors, arguments.shards)
    for number, tensors in enumerate(parts, 1):
        name = f"model-{number:05}-of-{len(parts):05}.safetensors"
        write_shard(os.path.join(arguments.folder, name), tensors, source)
        for tensor, dtype, shape in tensors:
            weight_map[tensor] = name
            total += tensor_bytes(dtype, shape)
    with open(os.path.join(arguments.folder, "model.safetensors.index.json"), "w") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, file, indent=1)


if __name__ == "__main__":
    main()
