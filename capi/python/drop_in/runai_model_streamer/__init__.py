# SPDX-License-Identifier: Apache-2.0
"""The Python surface of the Run:ai Model Streamer over libstreamer, for programs that use it, such
as vLLM and SGLang. Put this folder's parent on the path only where that is wanted."""
import logging as _logging
import os as _os

from runai_model_streamer.distributed_streamer import DistributedStreamer
from runai_model_streamer.file_streamer import FileChunks, FileStreamer
from runai_model_streamer.safetensors_streamer.safetensors_streamer import (
    ObjectStorageModel, SafetensorsStreamer, list_safetensors, pull_files)

__all__ = ["SafetensorsStreamer", "ObjectStorageModel", "DistributedStreamer", "FileStreamer",
           "FileChunks", "list_safetensors", "pull_files"]


def _set_level():
    name = _os.environ.get("RUNAI_STREAMER_LOG_LEVEL", "INFO").upper()
    # The native library of the original knows one more.
    level = _logging.DEBUG if name == "SPAM" else _logging.getLevelName(name)
    if not isinstance(level, int):
        raise ValueError(f"Unknown level: {name!r}")
    _logging.getLogger(__name__).setLevel(level)


_set_level()
