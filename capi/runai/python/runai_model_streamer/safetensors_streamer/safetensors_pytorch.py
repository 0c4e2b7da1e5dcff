# SPDX-License-Identifier: Apache-2.0
"""Headers of safetensors files as the original describes them, and tensors of torch from bytes."""
import math
import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch

import libstreamer
from libstreamer.tensor import torch_dtypes
from runai_model_streamer._errors import header_error
from runai_model_streamer.s3_utils.s3_utils import S3Credentials, as_uri, is_object_path, settings_of

SAFETENSORS_DATA_OFFSETS_KEY = "data_offsets"
SAFETENSORS_NAME_KEY = "name"
SAFETENSORS_SHAPE_KEY = "shape"
SAFETENSORS_DTYPE_KEY = "dtype"
SAFETENSORS_HEADER_BUFFER_SIZE = 8
LITTLE_ENDIAN_LONG_LONG_STRUCT_FORMAT = "<Q"
MAX_HEADER_SIZE = 100 * 1024 * 1024


def get_safetensors_dtype_map() -> Dict[str, torch.dtype]:
    """Each dtype of safetensors that this torch has."""
    return torch_dtypes()


safetensors_to_torch_dtype = get_safetensors_dtype_map()

# torch has told it without a tensor since 2.1.
_DTYPE_HAS_ITEMSIZE = hasattr(torch.float32, "itemsize")
_element_sizes: Dict[torch.dtype, int] = {}


def element_size_of(torch_dtype: torch.dtype) -> int:
    """Bytes of an element."""
    if _DTYPE_HAS_ITEMSIZE:
        return torch_dtype.itemsize
    if torch_dtype not in _element_sizes:
        _element_sizes[torch_dtype] = torch.empty(0, dtype=torch_dtype).element_size()
    return _element_sizes[torch_dtype]


class Offsets:
    """[start, end) in the file's data."""

    def __init__(self, offsets: Sequence[int]) -> None:
        self.start = offsets[0]
        self.end = offsets[1]

    def get_diff(self) -> int:
        """How many bytes that is."""
        return self.end - self.start


class SafetensorMetadata:
    """One tensor of a header: what stands under its name there. ValueError if that cannot be."""

    def __init__(self, name: str, safetensorMetadata: Any) -> None:
        self.name = name
        self.shape = safetensorMetadata[SAFETENSORS_SHAPE_KEY]
        self.dtype = safetensorMetadata[SAFETENSORS_DTYPE_KEY]
        self.offsets = Offsets(safetensorMetadata[SAFETENSORS_DATA_OFFSETS_KEY])
        self._check()

    def _check(self):
        count, reserved = self.get_item_count(), self.get_bytesize()
        if self.dtype == "F4":  # two in a byte, next to each other in the last dimension
            if count and (not self.shape or self.shape[-1] % 2):
                raise ValueError(
                    f"Corrupted Tensor '{self.name}': two elements of F4 share a byte, and the last "
                    f"dimension of shape {list(self.shape)} is odd; pad it to an even number")
            claimed = count // 2
        else:
            claimed = count * self.get_element_size()
        self.get_torch_dtype()
        if claimed != reserved:
            raise ValueError(
                f"Corrupted Tensor '{self.name}': Shape claims {claimed} bytes ({self.shape} x "
                f"{self.dtype}), but offsets reserve {reserved} bytes.")

    def get_bytesize(self) -> int:
        """Bytes in the file."""
        return self.offsets.get_diff()

    def get_item_count(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    def get_element_size(self) -> int:
        """Bytes of an element of torch; one of F4 is two of safetensors."""
        return element_size_of(self.get_torch_dtype())

    def get_torch_dtype(self) -> torch.dtype:
        """ValueError if this torch has none."""
        if self.dtype not in safetensors_to_torch_dtype:
            raise ValueError(f"Unsupported dtype '{self.dtype}' in tensor '{self.name}'")
        return safetensors_to_torch_dtype[self.dtype]


class SafetensorsMetadata:
    """A file's tensors, sorted by where they begin, and where its data begins."""

    def __init__(self, blob: Any, offset: int) -> None:
        """blob: the header's JSON, as json.loads() has it."""
        self.offset = offset
        self.tensors_metadata: List[SafetensorMetadata] = []
        for name, fields in blob.items():
            if name == "__metadata__":
                continue
            if SAFETENSORS_DATA_OFFSETS_KEY not in fields:
                raise ValueError(f"Corrupted Header: Tensor '{name}' missing "
                                 f"{SAFETENSORS_DATA_OFFSETS_KEY}")
            self.tensors_metadata.append(SafetensorMetadata(name, fields))
        # One without bytes goes before the one that begins where it does.
        self.tensors_metadata.sort(key=lambda one: (one.offsets.start, one.offsets.end))
        self.read_sizes = [one.get_bytesize() for one in self.tensors_metadata]
        self._check()

    def _check(self):
        end, before = 0, None
        for one in self.tensors_metadata:
            begin = one.offsets.start
            if before is None and begin != 0:
                raise ValueError(f"Corrupted File: Tensor '{one.name}' does not start at the "
                                 f"beginning of the data section (starts at {begin}).")
            if begin < end:
                raise ValueError(f"Corrupted File: Tensor '{before}' overlaps with next tensor. (Ends "
                                 f"at {end}, next starts at {begin})")
            if begin > end:
                raise ValueError("Corrupted File: Gaps between tensors are not allowed. Tensor "
                                 f"'{before}' ends at {end}, but next tensor starts at {begin}.")
            end, before = one.offsets.end, one.name

    @staticmethod
    def from_files(fs: Any, filenames: List[str], s3_credentials: Optional[S3Credentials]
                   ) -> List["SafetensorsMetadata"]:
        """Of each file. fs is not needed: the library reads headers itself."""
        del fs
        return metadata_of(open_files(filenames, s3_credentials))


def metadata_of(checkpoint: libstreamer.Checkpoint) -> List[SafetensorsMetadata]:
    """Of each object of a checkpoint, in their order. ValueError for what the library takes and the
    original does not."""
    blobs: List[Dict[str, Any]] = [{} for _ in checkpoint.objects]
    starts = [8 + one.header_bytes for one in checkpoint.objects]
    for tensor in checkpoint.tensors:
        begin = tensor.object_offset - starts[tensor.object]
        blobs[tensor.object][tensor.name] = {
            SAFETENSORS_SHAPE_KEY: list(tensor.shape), SAFETENSORS_DTYPE_KEY: tensor.dtype,
            SAFETENSORS_DATA_OFFSETS_KEY: (begin, begin + tensor.bytes)}
    found = []
    for one, blob, start in zip(checkpoint.objects, blobs, starts):
        try:
            metadata = SafetensorsMetadata(blob, start)
        except ValueError as error:
            raise ValueError(f"{error} (in {one.uri})") from None
        last = metadata.tensors_metadata[-1:]
        _validate_physical_length(one.uri, start + (last[0].offsets.end if last else 0), one.bytes,
                                  last[0].name if last else None)
        found.append(metadata)
    return found


def _get_actual_file_size(path: str) -> Optional[int]:
    """None of what is in a store, of which the library knows it."""
    return None if is_object_path(path) else os.path.getsize(path)


def _validate_physical_length(path: str, expected_total_bytes: int, actual_bytes: Optional[int],
                              last: Optional[str] = None) -> None:
    if actual_bytes is None or actual_bytes == expected_total_bytes:
        return
    if actual_bytes < expected_total_bytes:
        raise ValueError(f"Corrupted File: '{path}' is truncated - header declares "
                         f"{expected_total_bytes} total bytes but the file is only {actual_bytes} "
                         "bytes.")
    behind = f"behind its last tensor, '{last}'" if last is not None else "and holds no tensor"
    raise ValueError(
        f"Corrupted File: '{path}' has {actual_bytes} bytes but the header only declares a total file "
        f"size of {expected_total_bytes} bytes - {actual_bytes - expected_total_bytes} extra trailing "
        f"bytes {behind}; fetch or write the file again.")


def open_files(paths: Sequence[str], s3_credentials: Optional[Any]) -> libstreamer.Checkpoint:
    """Headers of all files, checked. ValueError as the original raises it."""
    is_remote = any(is_object_path(path) for path in paths)
    for path in paths:
        if not is_object_path(path) and os.path.isdir(path):
            raise _no_file(path)
    settings = dict(settings_of(s3_credentials, is_remote), same_names="keep",
                    **{"debug.header_rules": "lenient"})
    try:
        checkpoint = libstreamer.open([as_uri(path) for path in paths], settings)
    except libstreamer.StreamerError as error:
        raise header_error(error) from error
    if len(checkpoint.objects) != len(paths):
        raise _no_file(next(path for path, one in zip(paths, checkpoint.objects)
                            if one.uri != as_uri(path)))
    return checkpoint


def _no_file(path):
    return ValueError("Could not receive response from libstreamer due to: b'File access error': "
                      f"{path} is a folder or an index, and files are needed: list_safetensors() "
                      "names them")


def prepare_request(fs: Any, paths: List[str], s3_credentials: Optional[S3Credentials] = None
                    ) -> List[Tuple[int, List[SafetensorMetadata], List[int]]]:
    """For each file: where its data begins, its tensors sorted by where they begin, their sizes."""
    return [(one.offset, one.tensors_metadata, one.read_sizes)
            for one in SafetensorsMetadata.from_files(fs, paths, s3_credentials)]


def requires_alignment_copy(buffer: Any, tensor_metadata: SafetensorMetadata) -> bool:
    """Whether the tensor's dtype cannot be read where its bytes are."""
    if tensor_metadata.get_item_count() == 0:
        return False
    return buffer.data_ptr() % tensor_metadata.get_element_size() != 0


def check_alignment(tensor: torch.Tensor, tensor_metadata: SafetensorMetadata) -> None:
    """ValueError if the tensor's dtype cannot be read where it is: copies are where it can, as torch's
    allocator is today."""
    if tensor.data_ptr() % element_size_of(tensor.dtype):
        raise ValueError(f"Tensor '{tensor_metadata.name}' of {tensor.dtype} cannot be read from "
                         f"address {tensor.data_ptr():#x}")


def create_torch_tensor(buffer: Any, tensor_metadata: SafetensorMetadata) -> torch.Tensor:
    """A tensor over the bytes, which are a tensor of uint8 or an array."""
    dtype = tensor_metadata.get_torch_dtype()
    shape = tensor_metadata.shape
    if tensor_metadata.dtype == "F4":
        shape = [*shape[:-1], shape[-1] // 2]
    flat = buffer if isinstance(buffer, torch.Tensor) else torch.from_numpy(buffer)
    if tensor_metadata.get_item_count() == 0:
        return torch.empty(shape, dtype=dtype, device=flat.device)
    # Of a tensor of a few hundred bytes each view costs more than its copy.
    if flat.dim() != 1:
        flat = flat.reshape(-1)
    if dtype is not torch.uint8:
        flat = flat.view(dtype)
    return flat if len(shape) == 1 else flat.view(shape)
