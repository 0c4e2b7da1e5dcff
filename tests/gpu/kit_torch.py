# SPDX-License-Identifier: Apache-2.0
"""Loads to a GPU that torch uses in the same process, and compares every byte with torch:
kit_torch.py FOLDER DEVICE. Exits with 77 if torch, or a GPU that it can use, is not there."""
import json
import os
import sys


def not_run(why):
    print(f"not run: {why}")
    sys.exit(77)


try:
    import torch
except ImportError as error:
    not_run(f"no torch: {error}")
if not torch.cuda.is_available():
    not_run(f"torch {torch.__version__} sees no GPU")
import libstreamer  # noqa: E402

folder, device = sys.argv[1:3]
path = os.path.join(folder, "torch.safetensors")
sizes = {f"t{i}": 1 + i * 7919 % 3_000_000 for i in range(40)}
header, at = {}, 0
for name, size in sizes.items():
    header[name] = {"dtype": "U8", "shape": [size], "data_offsets": [at, at + size]}
    at += size
data = torch.randint(0, 256, (at,), dtype=torch.uint8)
with open(path, "wb") as out:
    text = json.dumps(header).encode()
    out.write(len(text).to_bytes(8, "little") + text + data.numpy().tobytes())
expected = {name: data[fact["data_offsets"][0]:fact["data_offsets"][1]].to(device)
            for name, fact in header.items()}
current = torch.cuda.current_device()


def compare(stream):
    """Work that torch queues on the stream sees every tensor."""
    same = []
    with torch.cuda.stream(stream), libstreamer.start(
            path, device=device, stream=stream.cuda_stream) as load:
        for name, tensor in load:
            loaded = torch.from_dlpack(tensor)
            same.append(torch.equal(loaded, expected[name]))
    return len(same) == len(sizes) and all(same)


stream = torch.cuda.Stream(device=device)
for turn in range(5):
    # Torch's own work and memory on the device, before and between.
    product = torch.ones(512, 512, device=device) @ torch.ones(512, 512, device=device)
    if not compare(stream):
        sys.exit("torch found other bytes than those that were written")
    if float(product.sum()) != 512.0 ** 3:
        sys.exit("torch's own work came out wrong")
if torch.cuda.current_device() != current:
    sys.exit("torch's current device changed")
torch.cuda.synchronize(device)
print(f"torch {torch.__version__}, {torch.cuda.get_device_name(device)}: {at * 5} bytes compared")
