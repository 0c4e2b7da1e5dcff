# SPDX-License-Identifier: Apache-2.0
"""Which rank reads what, for programs that divide requests themselves: the same on every rank, from
the requests and how many ranks there are. What DistributedStreamer shares, the library divides."""
import bisect
import itertools
import os
from typing import Dict, List, NamedTuple, Tuple

from runai_model_streamer.file_streamer.requests_iterator import FileChunks

# What one rank reads: for each file its chunks, and by number of the chunk where it is from, as (id
# of the request, number in it, bytes).
Origins = Dict[int, Tuple[int, int, int]]
Partition = List[Tuple[FileChunks, Origins]]


class RankSpan(NamedTuple):
    """What one rank reads, and what all of them do."""

    partition: Partition
    sizes_by_rank: List[int]
    total_chunks: int


class _Chunk(NamedTuple):
    path: str
    offset: int
    size: int
    origin: Tuple[int, int]


def get_partition_policy() -> str:
    """RUNAI_STREAMER_PARTITION_POLICY."""
    policy = os.environ.get("RUNAI_STREAMER_PARTITION_POLICY", "spans")
    if policy not in ("chunks", "files", "spans"):
        raise ValueError(f"Invalid partition policy: {policy}")
    return policy


def partition(file_stream_requests: List[FileChunks], n: int) -> List[Partition]:
    """What each of n ranks reads, by RUNAI_STREAMER_PARTITION_POLICY."""
    by = {"chunks": partition_by_chunks, "files": partition_by_files, "spans": partition_by_spans}
    return by[get_partition_policy()](file_stream_requests, n)


def partition_for_rank(file_stream_requests: List[FileChunks], n: int, rank: int) -> RankSpan:
    """partition() for one of the ranks."""
    return _of_rank(partition(file_stream_requests, n), rank)


def partition_span_for_rank(file_stream_requests: List[FileChunks], n: int, rank: int) -> RankSpan:
    """partition_by_spans() for one of the ranks."""
    return _of_rank(partition_by_spans(file_stream_requests, n), rank)


def partition_by_spans(file_stream_requests: List[FileChunks], n: int) -> List[Partition]:
    """All that is to be read, file after file, cut between chunks as near to n equal parts as
    possible."""
    count, order = _checked(n), {}
    for request in file_stream_requests:
        order.setdefault(request.path, len(order))
    chunks = sorted(_chunks_of(file_stream_requests),
                    key=lambda one: (order[one.path], one.offset, one.size))
    # In n-th parts of bytes, so that what is equal is whole.
    ends = [0, *itertools.accumulate(one.size * count for one in chunks)]
    cuts = [0]
    for rank in range(1, count):
        wish = ends[-1] // count * rank
        cut = bisect.bisect_left(ends, wish)
        cuts.append(cut - (cut > 0 and wish - ends[cut - 1] < ends[cut] - wish))
    return [_by_file(chunks[begin:end]) for begin, end in zip(cuts, [*cuts[1:], len(chunks)])]


def partition_by_chunks(file_stream_requests: List[FileChunks], n: int) -> List[Partition]:
    """Largest chunk first, each to the rank with the fewest bytes."""
    chunks = _chunks_of(file_stream_requests)
    return [_by_file([chunks[i] for i in share])
            for share in _distribute([chunk.size for chunk in chunks], n)]


def partition_by_files(file_stream_requests: List[FileChunks], n: int) -> List[Partition]:
    """The same with whole requests."""
    return [_by_file(_chunks_of([file_stream_requests[i] for i in share]))
            for share in _distribute([one.total_size() for one in file_stream_requests], n)]


def get_total_number_of_chunks(partitions: List[Partition]) -> int:
    """Of all ranks."""
    return sum(len(chunks.sizes) for one in partitions for chunks, _ in one)


def get_total_size_of_partition(partition: Partition) -> int:
    """Bytes of one rank."""
    return sum(chunks.total_size() for chunks, _ in partition)


def count_runs(partition: Partition) -> int:
    """How many reads a rank's chunks are, if those that follow each other are one."""
    count = 0
    for chunks, _ in partition:
        end = None
        for offset, size in zip(chunks.offsets, chunks.sizes):
            if size:
                count += offset != end
                end = offset + size
    return count


def _of_rank(partitions, rank):
    if not 0 <= rank < len(partitions):
        raise ValueError(f"rank is {rank}; of {len(partitions)} ranks it is from 0 to "
                         f"{len(partitions) - 1}")
    return RankSpan(partitions[rank], [get_total_size_of_partition(one) for one in partitions],
                    get_total_number_of_chunks(partitions))


def _checked(count):
    if count < 1:
        raise ValueError(f"the number of ranks is {count}; it is at least 1")
    return count


def _chunks_of(requests):
    return [_Chunk(request.path, offset, size, (request.id, index)) for request in requests
            for index, (offset, size) in enumerate(zip(request.offsets, request.sizes))]


def _distribute(sizes, count):
    """Numbers of `sizes` for each of `count` shares: the largest first, each to the share that is
    smallest so far, the first of several; what has no bytes to the first share."""
    shares: List[List[int]] = [[] for _ in range(_checked(count))]
    filled = [0] * count
    for number in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        smallest = filled.index(min(filled)) if sizes[number] else 0
        shares[smallest].append(number)
        filled[smallest] += sizes[number]
    return [sorted(share) for share in shares]


def _by_file(chunks: List[_Chunk]) -> Partition:
    """One entry for each file, its chunks by offset; one without bytes before what begins there."""
    files: Dict[str, List[_Chunk]] = {}
    for chunk in chunks:
        files.setdefault(chunk.path, []).append(chunk)
    made = []
    for number, (path, found) in enumerate(files.items()):
        found.sort(key=lambda one: (one.offset, one.size))
        made.append((FileChunks(number, path, [one.offset for one in found],
                                [one.size for one in found]),
                     {index: (*one.origin, one.size) for index, one in enumerate(found)}))
    return made
