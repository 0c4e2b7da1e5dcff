# SPDX-License-Identifier: Apache-2.0
"""One yielded tensor: its memory, and ways to see it as a tensor of torch, NumPy or anything that
supports DLPack. torch and NumPy are imported only when they are needed."""
import ctypes
import functools
import warnings
import weakref
from typing import Tuple

from ._native import Unshared, library
from .errors import UnsupportedError, call

# The names of safetensors dtypes in NumPy, ml_dtypes and torch, as far as each has them.
FRAMEWORK_NAMES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "F16": "float16",
    "BF16": "bfloat16", "I32": "int32", "U32": "uint32", "F32": "float32", "C64": "complex64",
    "F64": "float64", "I64": "int64", "U64": "uint64", "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn", "F8_E8M0": "float8_e8m0fnu", "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz", "F4": "float4_e2m1fn_x2",
}

_tensor_release = library.tensor_release

_PyCapsule_New = ctypes.pythonapi.PyCapsule_New
_PyCapsule_New.restype = ctypes.py_object
_PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_PyCapsule_IsValid = ctypes.pythonapi.PyCapsule_IsValid
_PyCapsule_IsValid.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
_PyCapsule_GetPointer = ctypes.pythonapi.PyCapsule_GetPointer
_PyCapsule_GetPointer.restype = ctypes.c_void_p
_PyCapsule_GetPointer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
# Where the deleter is in DLPack's structs: after the tensor (48 bytes) and the context, and after the
# version and the context.
_UNVERSIONED, _VERSIONED = b"dltensor", b"dltensor_versioned"
_DELETER_OFFSETS = {_UNVERSIONED: 48 + 8, _VERSIONED: 8 + 8}


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _end_capsule(capsule):
    """Deletes a capsule that no consumer took; a consumer renames the capsule it takes."""
    for name, offset in _DELETER_OFFSETS.items():
        if _PyCapsule_IsValid(capsule, name):
            managed = _PyCapsule_GetPointer(capsule, name)
            deleter = ctypes.c_void_p.from_address(managed + offset).value
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(deleter)(managed)


@functools.lru_cache(maxsize=None)
def torch_dtype(name):
    """The torch dtype of a safetensors dtype; UnsupportedError if this torch has none."""
    import torch
    found = getattr(torch, FRAMEWORK_NAMES.get(name, "none"), None)
    if found is None:
        raise UnsupportedError(f"torch {torch.__version__} has no dtype for {name}")
    return found


def torch_dtypes():
    """The safetensors dtypes that this torch has."""
    import torch
    return {name: getattr(torch, one) for name, one in FRAMEWORK_NAMES.items() if hasattr(torch, one)}


def numpy_dtype(name):
    """The NumPy dtype of a safetensors dtype; UnsupportedError if none is available."""
    import numpy
    wanted = FRAMEWORK_NAMES.get(name, "none")
    try:
        return numpy.dtype(wanted)
    except TypeError:
        pass
    try:
        import ml_dtypes
        return numpy.dtype(getattr(ml_dtypes, wanted))
    except (ImportError, AttributeError):
        raise UnsupportedError(
            f"NumPy has no dtype for {name}; install ml_dtypes, or use memoryview()") from None


class Tensor(Unshared):
    """One tensor, or the requested part of it. The library never writes to its memory again while
    this object or anything made from it exists.

    name, dtype (as safetensors spells it), shape, nbytes, device ("cpu" or "cuda:0"), number (in the
    checkpoint), data (the address).
    """

    __slots__ = ("name", "dtype", "shape", "nbytes", "device", "number", "data", "_handle",
                 "_buffers", "_own", "__weakref__")
    _instead = "what bytes(), numpy() and torch() make of them can be"

    def __init__(self, handle: int, name: str, dtype: str, shape: Tuple[int, ...], nbytes: int,
                 device: str, number: int, data: int):
        self._handle = handle
        self._buffers = ()
        self._own = None
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.nbytes = nbytes
        self.device = device
        self.number = number
        self.data = data

    def release(self) -> None:
        """Releases the memory now. Nothing made from the tensor may be used afterwards."""
        handle, self._handle = self._handle, None
        self._own = None
        if handle:
            _tensor_release(handle)

    def move_out(self) -> None:
        """Copies the bytes to this object's own memory and releases the library's, unless something
        made from the tensor still exists."""
        if not self._handle or any(buffer() is not None for buffer in self._buffers):
            return
        own = (ctypes.c_ubyte * self.nbytes)()
        ctypes.memmove(own, self.data, self.nbytes)
        self.release()
        self._own, self.data = own, ctypes.addressof(own)

    def __del__(self):
        if self._handle:
            _tensor_release(self._handle)

    def _buffer(self):
        if self.device != "cpu":
            raise UnsupportedError(f"{self.name} is in memory of {self.device}")
        if self._own is not None:
            return self._own
        if self._handle is None:
            raise UnsupportedError(f"{self.name} was released")
        buffer = (ctypes.c_ubyte * self.nbytes).from_address(self.data) if self.nbytes else \
            (ctypes.c_ubyte * 0)()
        # A reference to the buffer keeps the memory alive.
        buffer._tensor = self
        self._buffers = (*(one for one in self._buffers if one() is not None), weakref.ref(buffer))
        return buffer

    def memoryview(self) -> memoryview:
        """The bytes, writable, without a copy. On the host only."""
        return memoryview(self._buffer()).cast("B")

    def __bytes__(self):
        return bytes(self._buffer())

    def numpy(self):
        """A NumPy array over the same memory. On the host only."""
        import numpy
        buffer = self._buffer()
        dtype = numpy_dtype(self.dtype)
        if self.nbytes == 0:
            return numpy.empty(self.shape, dtype)
        return numpy.frombuffer(buffer, numpy.uint8).view(dtype).reshape(self.shape)

    def torch(self):
        """A torch tensor over the same memory, on the host or the device."""
        import torch
        dtype = torch_dtype(self.dtype)
        shape = self.shape
        if self.dtype == "F4":  # two in one element of torch
            shape = (*shape[:-1], shape[-1] // 2)
        if self.nbytes == 0:
            return torch.empty(shape, dtype=dtype, device=self.device)
        if self.device == "cpu":
            flat = torch.frombuffer(self._buffer(), dtype=torch.uint8)
        else:
            flat = torch.utils.dlpack.from_dlpack(self.__dlpack__())
            if flat.dtype == dtype:
                return flat.view(shape)
            flat = flat.reshape(-1).view(torch.uint8)
        # For a tensor of a few hundred bytes, each view costs more than copying it.
        if dtype is not torch.uint8:
            flat = flat.view(dtype)
        return flat if len(shape) == 1 else flat.view(shape)

    def jax(self):
        """A JAX array: on the device, or the host, over the same memory where JAX allows it."""
        import jax
        made = jax.dlpack.from_dlpack(self)
        if self.dtype.endswith("64") and not jax.config.jax_enable_x64:
            warnings.warn(f"{self.name} is {self.dtype}, of which JAX made {made.dtype}; "
                          "jax.config.update('jax_enable_x64', True) keeps all bits", stacklevel=3)
        return made

    def __dlpack_device__(self):
        if self.device == "cpu":
            return (1, 0)
        return (2, int(self.device.split(":")[1]))

    def __dlpack__(self, stream=None, max_version=None, dl_device=None, copy=None):
        """A DLPack capsule: versioned if the consumer supports that. The bytes are there for every
        stream, unless the load was given one."""
        if copy or (dl_device is not None and tuple(dl_device) != self.__dlpack_device__()):
            raise BufferError("libstreamer's tensors are exported where they are, without a copy")
        if self._handle is None:
            raise BufferError(f"{self.name} was released, or moved out of the library's memory")
        is_versioned = max_version is not None and max_version[0] >= 1
        managed = ctypes.c_void_p()
        export = library.tensor_to_dlpack_versioned if is_versioned else library.tensor_to_dlpack
        call(export, self._handle, ctypes.byref(managed))
        self._buffers = (lambda: managed,)  # never dropped: nothing tells when the export ends
        name = _VERSIONED if is_versioned else _UNVERSIONED
        return _PyCapsule_New(managed, name, ctypes.cast(_end_capsule, ctypes.c_void_p))

    def __repr__(self):
        return f"<Tensor {self.name} {self.dtype} {list(self.shape)} on {self.device}>"
