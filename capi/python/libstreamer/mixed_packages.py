# SPDX-License-Identifier: Apache-2.0
"""runai-model-streamer and libstreamer-runai have one import folder."""
import importlib.metadata
import importlib.util
import logging


def warn_of_mixed_packages(logger: logging.Logger) -> None:
    """Says if the original was installed over libstreamer-runai: its own files are then in use, and it
    does not know of ours. The other way round, our package says so itself."""
    try:
        versions = [f"{name} {importlib.metadata.version(name)}"
                    for name in ("runai-model-streamer", "libstreamer-runai")]
    except importlib.metadata.PackageNotFoundError:
        return
    found = importlib.util.find_spec("runai_model_streamer")
    if found is None or found.origin is None:
        return
    with open(found.origin, encoding="utf-8") as text:
        if "_installation" in text.read():  # ours
            return
    logger.warning("libstreamer: %s are both installed, and runai_streamer is that of the first: keep "
                   "one of the two: pip uninstall -y runai-model-streamer libstreamer-runai, and then "
                   "pip install libstreamer-runai", " and ".join(versions))
