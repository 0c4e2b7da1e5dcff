# SPDX-License-Identifier: Apache-2.0
"""This package and the original have one folder. Where both were installed, each overwrote files of
the other, and taking one of the two away takes files of the other with it."""
import contextlib
import importlib.metadata
import os
from typing import Iterator, Optional

_ADVICE = ("keep one of the two: pip uninstall -y runai-model-streamer libstreamer-runai, and then "
           "pip install libstreamer-runai (vllm[runai] installs the original: install vllm without "
           "[runai])")


def original_here() -> Optional[str]:
    """The original's version, if it was installed to the folder that this package is in."""
    try:
        original = importlib.metadata.distribution("runai-model-streamer")
        folder = original.locate_file("runai_model_streamer")
        is_here = os.path.samefile(str(folder), os.path.dirname(os.path.abspath(__file__)))
        return original.version if is_here else None
    except (importlib.metadata.PackageNotFoundError, OSError):
        return None


def warning() -> Optional[str]:
    """What to say if both are installed here."""
    version = original_here()
    return version and (f"[RunAI Streamer] runai-model-streamer {version} and libstreamer-runai are "
                        f"both installed to {os.path.dirname(__file__)}; libstreamer's is in use: "
                        f"{_ADVICE}")


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Says of a failed import that the folder holds files of both, if it does."""
    try:
        yield
    except ImportError as error:
        if original_here() is None:
            raise
        raise ImportError(f"{os.path.dirname(__file__)} holds files of libstreamer-runai and of "
                          f"runai-model-streamer {original_here()} ({error}): {_ADVICE}") from error
