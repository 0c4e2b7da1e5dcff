# SPDX-License-Identifier: Apache-2.0
"""The Python surface of the Run:ai Model Streamer over libstreamer, for programs that use it, such
as vLLM and SGLang. Put this folder's parent on the path only where that is wanted."""
import logging as _logging
import os as _os
import sys as _sys

from runai_model_streamer import _installation

with _installation.explained():
    from runai_model_streamer.distributed_streamer import DistributedStreamer
    from runai_model_streamer.file_streamer import FileChunks, FileStreamer
    from runai_model_streamer.safetensors_streamer.safetensors_streamer import (
        ObjectStorageModel, SafetensorsStreamer, list_safetensors, pull_files)

__all__ = ["SafetensorsStreamer", "ObjectStorageModel", "DistributedStreamer", "FileStreamer",
           "FileChunks", "list_safetensors", "pull_files"]


logger_level = _os.environ.get("RUNAI_STREAMER_LOG_LEVEL", "INFO").upper()


def _set_level():
    # The native library of the original knows one more.
    level = _logging.DEBUG if logger_level == "SPAM" else _logging.getLevelName(logger_level)
    if not isinstance(level, int):
        raise ValueError(f"Unknown level: {logger_level!r}")
    _logging.getLogger(__name__).setLevel(level)


def _show_log():
    """RUNAI_STREAMER_LOG_TO_STDERR=1: also where the program shows nothing of this package's log. As
    this is then shown here, it is not passed on."""
    logger = _logging.getLogger(__name__)
    if _os.environ.get("RUNAI_STREAMER_LOG_TO_STDERR") != "1" or any(
            getattr(handler, "_runai_stderr_handler", False) for handler in logger.handlers):
        return
    handler = _logging.StreamHandler(_sys.stderr)
    handler._runai_stderr_handler = True
    handler.setFormatter(_logging.Formatter("%(asctime)s [%(levelname)s] %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False


_set_level()
_show_log()
if _installation.warning():
    _logging.getLogger(__name__).warning(_installation.warning())
