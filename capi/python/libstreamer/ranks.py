# SPDX-License-Identifier: Apache-2.0
"""Ranks: processes that share a load, and how they reach each other."""
import contextlib
import ctypes
import datetime
import time
from typing import Any, Iterator, Mapping, Optional

from . import _native
from ._native import Communicator, library
from .errors import InvalidArgumentError, StreamerError, UnsupportedError, call
from .settings import NativeSettings

_TIMED_OUT, _IO = 205, 206


class RankGroup:
    """How ranks reach each other. Making one is collective: every rank does it. One thread and one load
    at a time: the next load starts when the one before has come to its end or is closed. Unusable once
    ranks could not reach each other (a rank is gone, or did not answer in time); errors that all ranks
    were told leave it usable. Ends with close()."""

    def __init__(self, communicator, settings: Optional[Mapping[str, Any]] = None):
        self.communicator = communicator  # a pointer to Communicator
        try:
            self._settings = NativeSettings(settings)
        except Exception as error:
            # Otherwise the other ranks would wait for this one.
            self._settings = NativeSettings()
            self.tell(error)
            raise

    @classmethod
    def mpi(cls, settings: Optional[Mapping[str, Any]] = None) -> "RankGroup":
        """The ranks of MPI_COMM_WORLD on this machine, or all: see the setting distributed_scope."""
        native = NativeSettings(settings)
        communicator = ctypes.POINTER(Communicator)()
        call(library.communicator_open_mpi, None, native.handle, ctypes.byref(communicator))
        return _Opened(communicator, settings)

    @property
    def rank(self) -> int:
        """From 0 to size - 1."""
        return self.communicator.contents.rank

    @property
    def size(self) -> int:
        """The number of ranks."""
        return self.communicator.contents.size

    def agree(self, error: Optional[BaseException] = None) -> None:
        """Collective. Tells the other ranks that this one succeeded, or what went wrong here; raises
        the error of the lowest rank that has one, naming that rank."""
        mine = None
        if error is not None:
            code = (error.code if isinstance(error, StreamerError) else 0) or 900
            mine = library.error_new(code, str(error).encode("utf-8", "replace"))
        try:
            call(library.communicator_agree, self.communicator, self._settings.handle, mine)
        finally:
            library.error_free(mine)

    def tell(self, error: BaseException) -> None:
        """agree() for callers that raise the error themselves. Alone, a rank tells nobody."""
        if self.size == 1:
            return
        try:
            self.agree(error)
        except Exception:  # the caller's error is the one to raise
            pass

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """What fails in it fails on the other ranks, too, which would wait for this one."""
        try:
            yield
        except Exception as error:
            self.tell(error)
            raise

    @property
    def carries(self) -> Any:
        """What carries the bytes: there may be several groups over one such thing."""
        return self

    @property
    def is_for_any_thread(self) -> bool:
        """Whether loads may be started on a thread of their own."""
        return False

    def close(self) -> None:
        """Releases its resources."""

    def __enter__(self) -> "RankGroup":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class _Opened(_native.Unshared, RankGroup):
    def close(self) -> None:
        communicator, self.communicator = self.communicator, None
        if communicator:
            library.communicator_close(communicator)

    def __del__(self):
        if getattr(self, "communicator", None):
            self.close()


class TorchRanks(RankGroup):
    """Over torch.distributed: gloo for the host, nccl for GPUs. group: a process group; None: the
    default one. device: for nccl, this rank's GPU; None or without a number: torch's current one.
    On the host, bytes go from rank to rank, so that a rank that is gone can be named."""

    def __init__(self, group: Any = None, settings: Optional[Mapping[str, Any]] = None,
                 device: Any = None):
        import torch
        import torch.distributed as dist
        if not dist.is_available() or not dist.is_initialized():
            raise InvalidArgumentError("torch.distributed is not initialised")
        if group is None:
            group = dist.distributed_c10d._get_default_group()
        backend = str(dist.get_backend(group)).lower()
        if backend not in ("gloo", "nccl"):
            raise UnsupportedError(f"a process group of {backend} cannot pass bytes on; gloo and "
                                   "nccl can")
        self._torch, self._group = torch, group
        self._on_device = backend == "nccl"
        number = 0
        if self._on_device:
            named = torch.device("cuda" if device is None else device)
            number = torch.cuda.current_device() if named.index is None else named.index
        # An exception that is not an Exception, such as Ctrl-C, raised while the library waited.
        self.interrupt: Optional[BaseException] = None
        self._callbacks = (_native.AllGather(self._all_gather), _native.AllToAll(self._all_to_all))
        self._table = Communicator(
            rank=group.rank(), size=group.size(), device=_native.Device(
                _native.DEVICE_CUDA if self._on_device else _native.DEVICE_HOST, number),
            all_gather=self._callbacks[0], all_to_all=self._callbacks[1])
        super().__init__(ctypes.pointer(self._table), settings)

    @property
    def carries(self) -> Any:
        return self._group

    @property
    def is_for_any_thread(self) -> bool:
        return not self._on_device  # a GPU is chosen for each thread

    def _guarded(self, body, why, why_size):
        try:
            body()
            return 0
        except _RankFailed as error:
            status, text = error.status, str(error)
        except BaseException as error:  # nothing may be thrown into C
            if not isinstance(error, Exception):
                self.interrupt = error
            status, text = _IO, f"torch.distributed: {error}"
        line = text.splitlines()[0].encode("utf-8", "replace")[:why_size - 1]
        ctypes.memmove(why, line + b"\0", len(line) + 1)
        return status

    def _host(self, address, nbytes):
        """Host memory as a torch tensor."""
        return self._torch.frombuffer((ctypes.c_ubyte * nbytes).from_address(address),
                                      dtype=self._torch.uint8)

    def _memory(self, address, nbytes):
        """Memory of the kind that is passed on, as a torch tensor."""
        if not self._on_device:
            return self._host(address, nbytes)
        return self._torch.as_tensor(_CudaBytes(address, nbytes),
                                     device=f"cuda:{self._table.device.number}")

    def _all_gather(self, _context, mine, everything, nbytes, timeout_ms, why, why_size):
        def body():
            if nbytes == 0:
                return
            own = self._host(mine, nbytes)
            rows = [self._host(everything + rank * nbytes, nbytes) for rank in range(self.size)]
            rows[self.rank].copy_(own)
            others = [rank for rank in range(self.size) if rank != self.rank]
            if not self._on_device:
                self._exchange([(rank, own) for rank in others],
                               [(rank, rows[rank]) for rank in others], timeout_ms)
                return
            staged = own.cuda(self._table.device.number)
            received = {rank: self._torch.empty_like(staged) for rank in others}
            self._exchange([(rank, staged) for rank in others], list(received.items()), timeout_ms)
            for rank, row in received.items():
                rows[rank].copy_(row)
        return self._guarded(body, why, why_size)

    def _all_to_all(self, _context, send, send_count, receive, receive_count, timeout_ms, why,
                    why_size):
        def body():
            self._exchange(
                [(one.rank, self._memory(one.data, one.bytes)) for one in send[:send_count]],
                [(one.rank, self._memory(one.data, one.bytes)) for one in receive[:receive_count]],
                timeout_ms)
        return self._guarded(body, why, why_size)

    def _exchange(self, outgoing, incoming, timeout_ms):
        until = time.monotonic() + timeout_ms / 1000
        if self._on_device:
            self._exchange_on_device(outgoing, incoming, until, timeout_ms)
            return
        works = [(rank, self._started(rank, self._group.recv, tensor)) for rank, tensor in incoming]
        works += [(rank, self._started(rank, self._group.send, tensor)) for rank, tensor in outgoing]
        for rank, work in works:
            left = max(until - time.monotonic(), 0.001)
            try:
                work.wait(datetime.timedelta(seconds=left))
            except RuntimeError as error:
                raise self._failure(rank, error, until, timeout_ms) from error

    def _everywhere(self, rank):
        """The global number, in torch.distributed, of a rank of the group."""
        everyone = self._torch.distributed.distributed_c10d
        find = getattr(everyone, "get_global_rank", None) or everyone._get_global_rank
        return find(self._group, rank)

    @staticmethod
    def _started(rank, function, tensor):
        try:
            return function([tensor], rank, 0)
        except RuntimeError as error:
            raise _RankFailed(_IO, f"rank {rank} is gone: {error}") from error

    @staticmethod
    def _failure(rank, error, until, timeout_ms):
        if time.monotonic() >= until - 0.01:
            return _RankFailed(_TIMED_OUT, f"no answer from rank {rank} within {timeout_ms} ms")
        return _RankFailed(_IO, f"rank {rank} is gone: {error}")

    def _exchange_on_device(self, outgoing, incoming, until, timeout_ms):
        device = self._table.device.number
        with self._torch.cuda.device(device):
            dist = self._torch.distributed
            operations = [dist.P2POp(dist.irecv, tensor, self._everywhere(rank), self._group)
                          for rank, tensor in incoming]
            operations += [dist.P2POp(dist.isend, tensor, self._everywhere(rank), self._group)
                           for rank, tensor in outgoing]
            for work in dist.batch_isend_irecv(operations) if operations else ():
                work.wait()  # makes torch's stream wait for it, and returns at once
            done = self._torch.cuda.Event()
            done.record()
            # CUDA has no wait with a timeout.
            pause = 1e-6
            while not done.query():
                if time.monotonic() >= until:
                    raise _RankFailed(_TIMED_OUT, "NCCL did not pass everything on within "
                                                  f"{timeout_ms} ms: a rank is gone or hangs")
                time.sleep(pause)
                pause = min(2 * pause, 2e-4)


class _RankFailed(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class _CudaBytes:
    """Memory of a device, for torch.as_tensor()."""

    def __init__(self, address, nbytes):
        self.__cuda_array_interface__ = {"shape": (nbytes,), "typestr": "|u1", "strides": None,
                                         "data": (address, False), "version": 3}


def as_ranks(group: Any, settings: Optional[Mapping[str, Any]],
             device: Any = None) -> Optional[RankGroup]:
    """Converts load(group=...): None, a RankGroup, True for torch's default group, or another torch
    group."""
    if group is None or group is False or isinstance(group, RankGroup):
        return group or None
    on_device = device if str(device).startswith("cuda") else None
    return TorchRanks(None if group is True else group, settings, on_device)


__all__ = ["RankGroup", "TorchRanks", "as_ranks"]
