# SPDX-License-Identifier: Apache-2.0
"""Which rank reads what: the same on every rank, from the requests and how many ranks there are."""
import os
from typing import List, NamedTuple

from runai_model_streamer.file_streamer.requests_iterator import FileChunks


class Chunk(NamedTuple):
    """One chunk of what was asked for."""

    file_id: int  # of its FileChunks
    index: int  # in that
    path: str
    offset: int
    size: int


class PartOfFile(FileChunks):
    """Chunks that one rank reads in one go; origins says which: (id of the request, index in it)."""

    def __init__(self, chunks: List[Chunk]):
        super().__init__(chunks[0].file_id, chunks[0].path, [one.offset for one in chunks],
                         [one.size for one in chunks])
        self.origins = [(one.file_id, one.index) for one in chunks]


def partition(requests: List[FileChunks], count: int) -> List[List[FileChunks]]:
    """What each of `count` ranks reads, by RUNAI_STREAMER_PARTITION_POLICY: "files", or evenly."""
    by_files = check_policy() == "files"
    return partition_by_files(requests, count) if by_files else partition_by_chunks(requests, count)


def check_policy() -> str:
    """RUNAI_STREAMER_PARTITION_POLICY."""
    policy = os.environ.get("RUNAI_STREAMER_PARTITION_POLICY", "spans")
    if policy not in ("chunks", "files", "spans"):
        raise ValueError(f"Invalid partition policy: {policy}")
    return policy


def partition_by_chunks(requests: List[FileChunks], count: int) -> List[List[PartOfFile]]:
    """Largest chunk first, each to the rank with the fewest bytes; what follows each other in a file
    is read together. Chunks without bytes go where nothing is read for them: to the first rank."""
    every = chunks_of(requests)
    shares = distribute([chunk.size for chunk in every], count)
    return [_merged([every[i] for i in share]) for share in shares]


def partition_by_files(requests: List[FileChunks], count: int) -> List[List[FileChunks]]:
    """The same with whole files."""
    return [[requests[i] for i in share]
            for share in distribute([request.total_size() for request in requests], count)]


def chunks_of(requests: List[FileChunks]) -> List[Chunk]:
    """All chunks, in their order."""
    return [Chunk(request.id, index, request.path, offset, size) for request in requests
            for index, (offset, size) in enumerate(zip(request.offsets, request.sizes))]


def distribute(sizes: List[int], count: int) -> List[List[int]]:
    """Numbers of `sizes` for each of `count` shares, in their order; the largest first, each to the
    share that is smallest so far, the first of several."""
    shares: List[List[int]] = [[] for _ in range(count)]
    filled = [0] * count
    for number in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        smallest = filled.index(min(filled)) if sizes[number] else 0
        shares[smallest].append(number)
        filled[smallest] += sizes[number]
    return [sorted(share) for share in shares]


def _merged(chunks: List[Chunk]) -> List[PartOfFile]:
    """What follows each other in a file as one, whichever requests it is from."""
    runs: List[List[Chunk]] = []
    for chunk in sorted(chunks, key=lambda one: (one.path, one.offset, one.size, one.file_id)):
        last = runs[-1][-1] if runs else None
        if last and (last.path, last.offset + last.size) == (chunk.path, chunk.offset):
            runs[-1].append(chunk)
        else:
            runs.append([chunk])
    return [PartOfFile(run) for run in runs]
