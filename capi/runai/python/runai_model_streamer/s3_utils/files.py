# SPDX-License-Identifier: Apache-2.0
"""Listing and pulling, as the original's packages for one store each have it."""
from typing import List, Optional

import libstreamer
from runai_model_streamer.s3_utils.s3_utils import (S3Credentials, as_uri, filter_allow,
                                                    filter_ignore, settings_of)


def list_files(path: str, is_recursive: bool, allow_pattern: Optional[List[str]],
               ignore_pattern: Optional[List[str]],
               s3_credentials: Optional[S3Credentials]) -> List[libstreamer.Entry]:
    """The objects under a prefix whose keys the patterns allow, sorted."""
    entries = libstreamer.list(as_uri(path).rstrip("/") + "/", recursive=is_recursive,
                               settings=settings_of(s3_credentials))
    keys = {entry.uri.split("/", 3)[3]: entry for entry in entries if not entry.is_folder}
    names = list(keys)
    if allow_pattern is not None:
        names = filter_allow(names, allow_pattern)
    if ignore_pattern is not None:
        names = filter_ignore(names, ignore_pattern)
    return [keys[name] for name in names]


def glob(path: str, allow_pattern: Optional[List[str]] = None,
         s3_credentials: Optional[S3Credentials] = None) -> List[str]:
    """URIs of the objects directly under a prefix, sorted."""
    return [entry.uri for entry in list_files(path, False, allow_pattern, None, s3_credentials)]


def pull_files(model_path: str, dst: str, allow_pattern: Optional[List[str]] = None,
               ignore_pattern: Optional[List[str]] = None,
               s3_credentials: Optional[S3Credentials] = None) -> None:
    """Copies the objects under a prefix to dst."""
    # Once it is there: this module is what that one is made of.
    from runai_model_streamer.safetensors_streamer import safetensors_streamer
    safetensors_streamer.pull_files(model_path, dst, allow_pattern, ignore_pattern, s3_credentials)
