#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How an inference server of today takes weights: weights_iterator.py FOLDER_OR_PREFIX"""
import sys

from runai_model_streamer import SafetensorsStreamer, list_safetensors


def weights_iterator(files, device="cpu"):
    """(name, tensor) of all files, as they come."""
    with SafetensorsStreamer() as streamer:
        streamer.stream_files(files, device=device, is_distributed=False)
        yield from streamer.get_tensors()


def main():
    files = list_safetensors(sys.argv[1])
    loaded = {name: tensor.numel() for name, tensor in weights_iterator(files)}
    print(f"{len(loaded)} tensors, {sum(loaded.values())} elements in {len(files)} files")


if __name__ == "__main__":
    main()
