# SPDX-License-Identifier: Apache-2.0
"""Headers of safetensors files as the original describes them, and tensors of torch from bytes."""
from typing import Any, List, Optional, Sequence, Tuple

import torch

import libstreamer
from libstreamer.tensor import torch_dtype as _torch_dtype
from runai_model_streamer._errors import header_error
from runai_model_streamer.s3_utils.s3_utils import as_uri, settings_of


class Offsets:
    """[start, end) in the file's data."""

    def __init__(self, start: int, end: int):
        self.start = start
        self.end = end

    def get_diff(self) -> int:
        """How many bytes that is."""
        return self.end - self.start


class SafetensorMetadata:
    """One tensor of a header."""

    def __init__(self, name: str, shape: List[int], dtype: str, offsets: Offsets):
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.offsets = offsets

    def get_torch_dtype(self) -> torch.dtype:
        """ValueError if this torch has none."""
        try:
            return _torch_dtype(self.dtype)
        except libstreamer.UnsupportedError:
            raise ValueError(f"Unsupported dtype '{self.dtype}' in tensor '{self.name}'") from None

    def get_item_count(self) -> int:
        """Elements."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count

    def get_bytesize(self) -> int:
        """Bytes in the file."""
        return self.offsets.get_diff()


class SafetensorsMetadata:
    """A file's tensors, sorted by where they begin, and where its data begins."""

    def __init__(self, offset: int, tensors_metadata: List[SafetensorMetadata]):
        self.offset = offset
        self.tensors_metadata = tensors_metadata
        self.read_sizes = [tensor.get_bytesize() for tensor in tensors_metadata]


def metadata_of(checkpoint: libstreamer.Checkpoint) -> List[SafetensorsMetadata]:
    """Of each object of a checkpoint, in their order."""
    starts = [8 + one.header_bytes for one in checkpoint.objects]
    found: List[SafetensorsMetadata] = [SafetensorsMetadata(start, []) for start in starts]
    for tensor in checkpoint.tensors:
        begin = tensor.object_offset - starts[tensor.object]
        found[tensor.object].tensors_metadata.append(SafetensorMetadata(
            tensor.name, list(tensor.shape), tensor.dtype, Offsets(begin, begin + tensor.bytes)))
    for one in found:
        one.read_sizes = [tensor.get_bytesize() for tensor in one.tensors_metadata]
        for tensor in one.tensors_metadata:
            tensor.get_torch_dtype()
    return found


def open_files(paths: Sequence[str], s3_credentials: Optional[Any]) -> libstreamer.Checkpoint:
    """Headers of all files, checked. ValueError as the original raises it."""
    settings = dict(settings_of(s3_credentials), same_names="keep", header_rules="lenient")
    try:
        return libstreamer.open([as_uri(path) for path in paths], settings)
    except libstreamer.StreamerError as error:
        raise header_error(error) from error


def prepare_request(fs: Any, paths: Sequence[str], s3_credentials: Optional[Any] = None
                    ) -> List[Tuple[int, List[SafetensorMetadata], List[int]]]:
    """For each file: where its data begins, its tensors sorted by where they begin, their sizes."""
    del fs  # headers are read by the library itself
    return [(one.offset, one.tensors_metadata, one.read_sizes)
            for one in metadata_of(open_files(paths, s3_credentials))]


def create_torch_tensor(buffer: Any, metadata: SafetensorMetadata) -> torch.Tensor:
    """A tensor over the bytes, which are a tensor of uint8 or an array."""
    dtype = metadata.get_torch_dtype()
    if metadata.get_item_count() == 0:
        device = buffer.device if isinstance(buffer, torch.Tensor) else "cpu"
        return torch.empty(metadata.shape, dtype=dtype, device=device)
    flat = buffer if isinstance(buffer, torch.Tensor) else torch.from_numpy(buffer)
    shape = metadata.shape
    if metadata.dtype == "F4":
        shape = [*shape[:-1], shape[-1] // 2]
    return flat.reshape(-1).view(dtype).view(shape)
