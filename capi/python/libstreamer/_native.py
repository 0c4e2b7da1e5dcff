# SPDX-License-Identifier: Apache-2.0
"""streamer.h for ctypes: the shared library, its structs and its functions, nothing else."""
import ctypes
import importlib.util
import os
from ctypes import (CFUNCTYPE, POINTER, c_char_p, c_double, c_int, c_int32, c_int64, c_size_t,
                    c_uint32, c_uint64, c_void_p)

VERSION = "0.2.0"
_MAJOR, _MINOR = map(int, VERSION.split(".")[:2])
_NAME = "libstreamer.so.0"


class Unshared:
    """Owns something of the library, which a copy would free a second time."""

    __slots__ = ()
    _instead = "their URIs and settings can be"

    def __reduce__(self):  # copy.copy() and copy.deepcopy() come here too
        raise TypeError(f"{type(self).__name__} objects own memory of libstreamer and cannot be copied "
                        f"or pickled; {self._instead}")


class Struct(ctypes.Structure):
    """A struct that begins with struct_size, which is set."""

    def __init__(self, **values):
        super().__init__(struct_size=ctypes.sizeof(type(self)), **values)


def _struct(name, *fields):
    return type(name, (Struct,), {"_fields_": [("struct_size", c_size_t), *fields]})


class Device(ctypes.Structure):
    """A kind, STREAMER_DEVICE_*, and a number."""

    _fields_ = [("kind", c_int32), ("number", c_int32)]


ErrorInfo = _struct(
    "ErrorInfo", ("status", c_int32), ("os_error", c_int32), ("http_status", c_int32),
    ("attempts", c_uint32), ("message", c_char_p), ("uri", c_char_p), ("range_offset", c_uint64),
    ("range_size", c_uint64), ("service_code", c_char_p), ("request_id", c_char_p),
    ("host", c_char_p), ("elapsed_ms", c_uint64))
Credentials = _struct(
    "Credentials", ("access_key_id", c_char_p), ("secret_access_key", c_char_p),
    ("session_token", c_char_p), ("expires_unix_s", c_int64), ("bearer_token", c_char_p))
SettingInfo = _struct(
    "SettingInfo", ("name", c_char_p), ("variable", c_char_p), ("compatible_variable", c_char_p),
    ("default_value", c_char_p), ("values", c_char_p), ("meaning", c_char_p),
    ("is_secret", c_int32), ("scope", c_char_p))
EntryInfo = _struct("EntryInfo", ("uri", c_char_p), ("bytes", c_uint64), ("is_folder", c_int32),
                    ("etag", c_char_p))
FileInfo = _struct("FileInfo", ("path", c_char_p), ("bytes", c_uint64), ("etag", c_char_p),
                   ("was_there", c_int32))
Progress = _struct("Progress", *((name, c_uint64) for name in (
    "bytes_total", "bytes_done", "bytes_skipped", "files_total", "files_done", "files_skipped")))
StepInfo = _struct("StepInfo", ("name", c_char_p), ("detail", c_char_p), ("elapsed_ns", c_uint64),
                   ("status", c_int32))
PullOptions = _struct(
    "PullOptions", ("allow", POINTER(c_char_p)), ("allow_count", c_size_t),
    ("ignore", POINTER(c_char_p)), ("ignore_count", c_size_t))
TensorInfo = _struct(
    "TensorInfo", ("name", POINTER(ctypes.c_char)), ("name_size", c_size_t), ("dtype", c_int32),
    ("rank", c_uint32), ("shape", POINTER(c_uint64)), ("bytes", c_uint64), ("object", c_size_t),
    ("object_offset", c_uint64))
ObjectRange = _struct(
    "ObjectRange", ("uri", c_char_p), ("offset", c_uint64), ("bytes", c_uint64))
ObjectInfo = _struct(
    "ObjectInfo", ("uri", c_char_p), ("bytes", c_uint64), ("header_bytes", c_uint64),
    ("tensor_count", c_size_t), ("metadata_count", c_size_t), ("version", c_char_p))
PlanItem = _struct(
    "PlanItem", ("tensor", c_size_t), ("part", c_int32), ("slice_dimension", c_uint32),
    ("slice_start", c_uint64), ("slice_stop", c_uint64), ("bytes_offset", c_uint64),
    ("bytes_size", c_uint64), ("destination", c_void_p), ("destination_bytes", c_size_t),
    ("tag", c_uint64), ("device", Device), ("priority", c_uint32))
LoadOptions = _struct(
    "LoadOptions", ("order", c_int32), ("read_order", c_int32), ("when_full", c_int32),
    ("device", Device), ("stream", c_void_p),
    ("communicator", c_void_p), ("allocate", c_void_p), ("release", c_void_p),
    ("allocator_user", c_void_p))
LoadStats = _struct(
    "LoadStats", *((name, c_uint64) for name in (
        "items_total", "items_ready", "bytes_total", "bytes_ready", "bytes_read", "elapsed_ns",
        "memory_limit", "readers", "objects", "objects_verified")),
    ("rank", c_uint32), ("ranks", c_uint32), ("held_back_by", c_uint32), ("notes", c_char_p))
ProcessUse = _struct(
    "ProcessUse", ("memory_bytes", c_uint64), ("memory_limit_bytes", c_uint64), ("loads", c_uint32),
    ("network_loads", c_uint32))
StatInfo = _struct("StatInfo", ("name", c_char_p), ("meaning", c_char_p))
TensorView = _struct(
    "TensorView", ("name", POINTER(ctypes.c_char)), ("name_size", c_size_t), ("dtype", c_int32),
    ("rank", c_uint32), ("shape", POINTER(c_uint64)), ("data", c_void_p), ("bytes", c_uint64),
    ("device", Device), ("tensor", c_size_t), ("item", c_size_t), ("tag", c_uint64),
    ("part", c_int32))

class Outgoing(ctypes.Structure):
    """Bytes sent to one rank."""

    _fields_ = [("data", c_void_p), ("bytes", c_uint64), ("rank", c_uint32)]


class Incoming(ctypes.Structure):
    """Bytes received from one rank."""

    _fields_ = [("data", c_void_p), ("bytes", c_uint64), ("rank", c_uint32)]


AllGather = CFUNCTYPE(c_int32, c_void_p, c_void_p, c_void_p, c_uint64, c_uint64, c_void_p, c_size_t)
AllToAll = CFUNCTYPE(c_int32, c_void_p, POINTER(Outgoing), c_size_t, POINTER(Incoming), c_size_t,
                     c_uint64, c_void_p, c_size_t)
Communicator = _struct(
    "Communicator", ("rank", c_uint32), ("size", c_uint32), ("device", Device),
    ("context", c_void_p), ("all_gather", AllGather),
    ("all_to_all", AllToAll), ("close", c_void_p))
CredentialsCallback = CFUNCTYPE(c_int32, POINTER(Credentials), c_void_p)
LogCallback = CFUNCTYPE(None, c_int32, c_char_p, c_void_p)
StepCallback = CFUNCTYPE(None, POINTER(StepInfo), c_void_p)

OK, END, NOT_READY = 0, 1, 2
PART_WHOLE, PART_SLICE, PART_BYTES = 0, 1, 2
DEVICE_HOST, DEVICE_CUDA = 0, 2

_handle = c_void_p
_error_out = POINTER(c_void_p)

# By name: result, then parameters. What can fail returns a status and takes error_out last.
_STATUS = object()
_FUNCTIONS = {
    "version": (c_uint32,),
    "version_string": (c_char_p,),
    "build_info": (c_char_p,),
    "status_name": (c_char_p, c_int32),
    "error_get_info": (None, _handle, POINTER(ErrorInfo)),
    "error_line": (c_char_p, _handle),
    "error_free": (None, _handle),
    "error_new": (c_void_p, c_int32, c_char_p),
    "log_set": (None, c_int32, LogCallback, c_void_p),
    "settings_new": (_STATUS, POINTER(_handle)),
    "settings_set": (_STATUS, _handle, c_char_p, c_char_p),
    "settings_set_for": (_STATUS, _handle, c_char_p, c_char_p, c_char_p),
    "settings_set_credentials_callback": (_STATUS, _handle, c_char_p, CredentialsCallback, c_void_p),
    "settings_free": (None, _handle),
    "setting_count": (c_size_t,),
    "setting_get_info": (_STATUS, c_size_t, POINTER(SettingInfo)),
    "operation_new": (_STATUS, c_int64, POINTER(_handle)),
    "operation_cancel": (None, _handle),
    "operation_fd": (c_int, _handle),
    "operation_get_progress": (None, _handle, POINTER(Progress)),
    "operation_free": (None, _handle),
    "listing_open": (_STATUS, c_char_p, _handle, _handle, POINTER(_handle)),
    "listing_open_all": (_STATUS, c_char_p, _handle, _handle, POINTER(_handle)),
    "listing_open_model": (_STATUS, c_char_p, _handle, _handle, POINTER(_handle)),
    "listing_notes": (c_char_p, _handle),
    "listing_count": (c_size_t, _handle),
    "listing_get_info": (_STATUS, _handle, c_size_t, POINTER(EntryInfo)),
    "listing_root": (c_char_p, _handle),
    "listing_close": (None, _handle),
    "files_folder": (c_char_p, _handle),
    "files_count": (c_size_t, _handle),
    "files_get_info": (_STATUS, _handle, c_size_t, POINTER(FileInfo)),
    "files_close": (None, _handle),
    "pull": (_STATUS, c_char_p, c_char_p, POINTER(PullOptions), _handle, _handle, POINTER(_handle)),
    "snapshot": (_STATUS, c_char_p, POINTER(PullOptions), _handle, _handle, POINTER(_handle)),
    "diagnose": (_STATUS, c_char_p, _handle, _handle, StepCallback, c_void_p),
    "checkpoint_open": (_STATUS, POINTER(c_char_p), c_size_t, _handle, _handle, POINTER(_handle)),
    "checkpoint_open_rank": (_STATUS, c_char_p, c_char_p, c_uint32, _handle, _handle,
                             POINTER(_handle)),
    "checkpoint_open_ranges": (_STATUS, POINTER(ObjectRange), c_size_t, _handle, _handle,
                               POINTER(_handle)),
    "checkpoint_close": (None, _handle),
    "checkpoint_notes": (c_char_p, _handle),
    "checkpoint_tensor_count": (c_size_t, _handle),
    "checkpoint_bytes": (c_uint64, _handle),
    "checkpoint_get_tensor_infos": (_STATUS, _handle, c_size_t, c_size_t, POINTER(TensorInfo),
                                    POINTER(c_size_t)),
    "checkpoint_object_count": (c_size_t, _handle),
    "checkpoint_get_object_info": (_STATUS, _handle, c_size_t, POINTER(ObjectInfo)),
    "checkpoint_get_metadata": (_STATUS, _handle, c_size_t, c_size_t, POINTER(c_char_p),
                                POINTER(c_char_p)),
    "dtype_name": (c_char_p, c_int32),
    "dtype_bits": (c_uint32, c_int32),
    "plan_new": (_STATUS, _handle, POINTER(_handle)),
    "plan_add": (_STATUS, _handle, POINTER(PlanItem), c_size_t),
    "plan_add_matching": (_STATUS, _handle, c_char_p, POINTER(c_size_t)),
    "plan_prioritize": (_STATUS, _handle, POINTER(c_char_p), c_size_t),
    "plan_item_count": (c_size_t, _handle),
    "plan_bytes": (c_uint64, _handle),
    "plan_free": (None, _handle),
    "load_start": (_STATUS, _handle, POINTER(LoadOptions), _handle, POINTER(_handle)),
    "load_next": (_STATUS, _handle, c_int64, POINTER(_handle)),
    "load_next_many": (_STATUS, _handle, c_int64, c_size_t, POINTER(_handle), POINTER(TensorView),
                       POINTER(c_size_t)),
    "load_fd": (_STATUS, _handle, POINTER(c_int)),
    "load_cancel": (None, _handle),
    "load_close": (None, _handle),
    "load_explain": (c_char_p, _handle),
    "load_get_stats": (None, _handle, POINTER(LoadStats)),
    "load_get_all_stats": (c_size_t, _handle, POINTER(c_uint64), c_size_t),
    "stat_count": (c_size_t,),
    "stat_get_info": (_STATUS, c_size_t, POINTER(StatInfo)),
    "held_back_by_name": (c_char_p, c_uint32),
    "tensor_get_view": (None, _handle, POINTER(TensorView)),
    "tensor_release": (None, _handle),
    "tensor_to_dlpack_versioned": (_STATUS, _handle, POINTER(c_void_p)),
    "tensor_to_dlpack": (_STATUS, _handle, POINTER(c_void_p)),
    "communicator_open_mpi": (_STATUS, c_void_p, _handle, POINTER(POINTER(Communicator))),
    "communicator_open_nccl": (_STATUS, POINTER(Communicator), Device, _handle,
                               POINTER(POINTER(Communicator))),
    "communicator_close": (None, POINTER(Communicator)),
    "communicator_agree": (_STATUS, POINTER(Communicator), _handle, _handle),
    "device_parse": (_STATUS, c_char_p, POINTER(Device)),
    "device_kind_name": (c_char_p, c_int32),
    "device_copy_rate": (_STATUS, Device, POINTER(c_double)),
    "trim": (c_uint64,),
    "process_configure": (_STATUS, _handle),
    "process_get_use": (None, POINTER(ProcessUse)),
}


def _offer_certifi():
    """certifi's authorities, for machines without any of their own."""
    try:
        spec = importlib.util.find_spec("certifi")
    except (ImportError, ValueError):
        return
    if spec is None or not spec.origin:
        return
    path = os.path.join(os.path.dirname(spec.origin), "cacert.pem")
    if os.path.exists(path):
        # Of the process, so that commands that it starts have them too.
        os.environ.setdefault("STREAMER_DEBUG_LAST_CA_BUNDLE", path)


def _of_link(path):
    is_dangling = os.path.islink(path) and not os.path.exists(path)
    return f" ({path} is a link to {os.readlink(path)}, which does not exist)" if is_dangling else ""


def _candidates():
    named = os.environ.get("STREAMER_LIBRARY")
    if named:
        return [named]
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), _NAME)
    return [path for path in (beside,) if os.path.exists(path)] + [_NAME]


def _load():
    tried = []
    for path in _candidates():
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            tried.append(f"{error}{_of_link(path)}")
            continue
        if not hasattr(library, "streamer_version"):
            tried.append(f"{path} is not libstreamer")
            continue
        library.streamer_version.restype = c_uint32
        number = library.streamer_version()
        major, minor = number // 1_000_000, number // 1000 % 1000
        # Before 1.0 a minor version may break what the one before promised.
        if (major, minor if major == 0 else 0) != (_MAJOR, _MINOR if _MAJOR == 0 else 0):
            tried.append(f"{path} is libstreamer {major}.{minor}, and this package needs "
                         f"{_MAJOR}.{_MINOR}")
            continue
        missing = [name for name in _FUNCTIONS if not hasattr(library, "streamer_" + name)]
        if not missing:
            return library
        tried.append(f"{path} is older than this package and has no streamer_{missing[0]}()")
    raise ImportError("no usable shared library of libstreamer was found: " + "; ".join(tried) +
                      ". Set STREAMER_LIBRARY to the path of libstreamer.so")


class _Library:
    """The functions of streamer.h without their prefix."""

    def __init__(self, library):
        self.path = library._name
        for name, (result, *parameters) in _FUNCTIONS.items():
            function = getattr(library, "streamer_" + name)
            function.restype = c_int32 if result is _STATUS else result
            function.argtypes = [*parameters, _error_out] if result is _STATUS else parameters
            setattr(self, name, function)


_offer_certifi()
library = _Library(_load())
