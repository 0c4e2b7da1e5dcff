# SPDX-License-Identifier: Apache-2.0
"""For tests without a store: s3:// and gs:// stand for a local folder."""
import logging
import os
import shutil
from typing import Any, Collection, List, Optional

from runai_model_streamer.s3_utils.s3_utils import (S3Credentials, filter_allow, filter_ignore,
                                                    is_gs_path, is_s3_path)
# Kept here, as programs put a patcher's in their place.
from runai_model_streamer.safetensors_streamer.safetensors_streamer import (
    SafetensorsStreamer as OriginalSafetensorsStreamer, list_safetensors as original_list_safetensors)

logger = logging.getLogger(__name__)


class StreamerPatcher:
    """scheme://bucket/key is local_bucket_path/key."""

    def __init__(self, local_bucket_path: str):
        self.local_path = local_bucket_path

    def is_remote_path(self, path: str) -> bool:
        """Whether the path is one that is mapped."""
        return is_s3_path(path) or is_gs_path(path)

    def convert_remote_path_to_local_path(self, path: str) -> str:
        """Others stay as they are."""
        if not self.is_remote_path(path):
            return path
        key = path.split("://", 1)[1].partition("/")[2]
        return os.path.join(self.local_path, key.lstrip("/"))

    def convert_local_path_to_mocked_remote_path(self, local_path_result: str,
                                                 original_remote_path: str) -> str:
        """Back to the scheme and the bucket of the remote path. What is not below the folder stays as
        it is."""
        if not local_path_result.startswith(self.local_path):
            logger.warning("[RunAI Streamer] %s is not below %s", local_path_result, self.local_path)
            return local_path_result
        scheme, rest = original_remote_path.split("://", 1)
        relative = os.path.relpath(local_path_result, self.local_path)
        return f"{scheme}://{rest.partition('/')[0]}/{relative}"

    def shim_list_safetensors(self, path: str,
                              s3_credentials: Optional[S3Credentials] = None) -> List[str]:
        """list_safetensors()."""
        del s3_credentials
        found = original_list_safetensors(self.convert_remote_path_to_local_path(path))
        if not self.is_remote_path(path):
            return found
        return [self.convert_local_path_to_mocked_remote_path(one, path) for one in found]

    def shim_pull_files(self, model_path: str, dst: str,
                        allow_pattern: Optional[List[str]] = None,
                        ignore_pattern: Optional[List[str]] = None,
                        s3_credentials: Optional[S3Credentials] = None) -> None:
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

    def create_mock_streamer(self, *args: Any, **kwargs: Any) -> Any:
        """A SafetensorsStreamer that takes mapped paths."""
        return self.MockSafetensorsStreamer(self)

    class MockSafetensorsStreamer(OriginalSafetensorsStreamer):
        """Reads the local files that remote paths stand for."""

        def __init__(self, patcher: "StreamerPatcher"):
            super().__init__()
            self.patcher = patcher

        def stream_files(self, paths: List[str], s3_credentials: Optional[S3Credentials] = None,
                         device: Optional[str] = "cpu", is_distributed: bool = False,
                         tensor_names: Optional[Collection[str]] = None, owned: bool = True) -> None:
            super().stream_files(
                [self.patcher.convert_remote_path_to_local_path(path) for path in paths],
                s3_credentials, device, is_distributed, tensor_names, owned)
