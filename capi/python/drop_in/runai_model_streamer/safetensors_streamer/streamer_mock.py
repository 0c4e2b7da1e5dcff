# SPDX-License-Identifier: Apache-2.0
"""For tests without a store: s3:// and gs:// stand for a local folder."""
import os
import shutil
from typing import Any, Iterator, List, Optional

from runai_model_streamer.s3_utils.s3_utils import filter_allow, filter_ignore
from runai_model_streamer.safetensors_streamer import safetensors_streamer


class StreamerPatcher:
    """scheme://bucket/key is local_bucket_path/key."""

    def __init__(self, local_bucket_path: str):
        self.local_bucket_path = local_bucket_path

    def is_remote_path(self, path: str) -> bool:
        """Whether the path is one that is mapped."""
        return path.startswith(("s3://", "gs://"))

    def convert_remote_path_to_local_path(self, path: str) -> str:
        """Others stay as they are."""
        if not self.is_remote_path(path):
            return path
        key = path.split("://", 1)[1].partition("/")[2]
        return os.path.join(self.local_bucket_path, key)

    def convert_local_path_to_mocked_remote_path(self, path: str, remote: str) -> str:
        """Back to the scheme and the bucket of `remote`."""
        scheme, rest = remote.split("://", 1)
        relative = os.path.relpath(path, self.local_bucket_path)
        return f"{scheme}://{rest.partition('/')[0]}/{relative}"

    def shim_list_safetensors(self, path: str, s3_credentials: Optional[Any] = None) -> List[str]:
        """list_safetensors()."""
        del s3_credentials
        found = safetensors_streamer.list_safetensors(self.convert_remote_path_to_local_path(path))
        if not self.is_remote_path(path):
            return found
        return [self.convert_local_path_to_mocked_remote_path(one, path) for one in found]

    def shim_pull_files(self, model_path: str, dst: str,
                        allow_pattern: Optional[List[str]] = None,
                        ignore_pattern: Optional[List[str]] = None,
                        s3_credentials: Optional[Any] = None) -> None:
        """pull_files(), with patterns held against paths below model_path."""
        del s3_credentials
        if not self.is_remote_path(model_path):
            raise NotImplementedError("pull files is not implemented for file system paths")
        source = self.convert_remote_path_to_local_path(model_path)
        names = [os.path.relpath(os.path.join(folder, name), source)
                 for folder, _, files in os.walk(source) for name in files]
        if allow_pattern:
            names = filter_allow(names, allow_pattern)
        if ignore_pattern:
            names = filter_ignore(names, ignore_pattern)
        for name in sorted(names):
            target = os.path.join(dst, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(os.path.join(source, name), target)

    def create_mock_streamer(self, *_: Any, **__: Any) -> "MockStreamer":
        """A SafetensorsStreamer that takes mapped paths."""
        return MockStreamer(self)


class MockStreamer(safetensors_streamer.SafetensorsStreamer):
    """Reads the local files that remote paths stand for."""

    def __init__(self, patcher: StreamerPatcher):
        super().__init__()
        self._patcher = patcher

    def stream_files(self, paths: List[str], *arguments: Any, **keywords: Any) -> None:
        super().stream_files([self._patcher.convert_remote_path_to_local_path(path)
                              for path in paths], *arguments, **keywords)

    def get_tensors(self) -> Iterator[Any]:
        yield from super().get_tensors()
