# SPDX-License-Identifier: Apache-2.0
"""A ring of buffers, as the original has it for programs that make one of their own. Ours are in the
native library."""
import collections
from typing import Any, Callable, Deque, List, Optional


class Slot:
    """A buffer and its address."""

    __slots__ = ("memory", "address")

    def __init__(self, memory: Any, address: int) -> None:
        self.memory = memory
        self.address = address


class SlotPool:
    """`depth` buffers of what alloc() makes, which are taken and given back by number. owned: one
    that was given back is never taken again, and a new one takes its place."""

    def __init__(self, depth: int, alloc: Callable[[], Slot], owned: bool) -> None:
        self._alloc = alloc
        self._owned = owned
        self._slots: List[Optional[Slot]] = [alloc() for _ in range(depth)]
        self._free: Deque[int] = collections.deque(range(depth))

    def __len__(self) -> int:
        return len(self._slots)

    def has_free(self) -> bool:
        """Whether take() may be called."""
        return bool(self._free)

    def take(self) -> int:
        """The number of a buffer that is nobody else's. IndexError if there is none."""
        index = self._free.popleft()
        if self._slots[index] is None:
            self._slots[index] = self._alloc()
        return index

    def release(self, index: int) -> None:
        """Gives a buffer back, once."""
        if index in self._free:
            raise ValueError(f"ring slot {index} is already free")
        if self._owned:
            self._slots[index] = None
        self._free.append(index)

    def slot(self, index: int) -> Slot:
        """The buffer of a number that was taken."""
        slot = self._slots[index]
        if slot is None:
            raise RuntimeError(f"ring slot {index} was given away; take() gives another one")
        return slot
