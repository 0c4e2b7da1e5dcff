# SPDX-License-Identifier: Apache-2.0
"""Which paths are objects of a store, and whose they are."""
import fnmatch
import os
from typing import Any, Dict, List, Optional


class S3Credentials:
    """Keys to use instead of looking for some; what is None is looked for."""

    def __init__(self, access_key_id: Optional[str] = None,
                 secret_access_key: Optional[str] = None, session_token: Optional[str] = None,
                 region_name: Optional[str] = None, endpoint: Optional[str] = None):
        self.access_key_id = access_key_id
        self.secret_access_key = secret_access_key
        self.session_token = session_token
        self.region_name = region_name
        self.endpoint = endpoint


def settings_of(credentials: Optional[S3Credentials]) -> Dict[str, Any]:
    """As settings of libstreamer."""
    if credentials is None:
        return {}
    return {name: value for name, value in (
        ("s3_access_key_id", credentials.access_key_id),
        ("s3_secret_access_key", credentials.secret_access_key),
        ("s3_session_token", credentials.session_token),
        ("s3_region", credentials.region_name),
        ("s3_endpoint", credentials.endpoint)) if value}


def is_s3_path(path: str) -> bool:
    """Schemes are as they are written: "S3://" is a folder."""
    return str(path).startswith("s3://")


def is_gs_path(path: str) -> bool:
    """The same for Google."""
    return str(path).startswith("gs://")


def is_azure_path(path: str) -> bool:
    """The same for Azure."""
    return str(path).startswith("az://")


def is_object_path(path: str) -> bool:
    """Of any store."""
    return is_s3_path(path) or is_gs_path(path) or is_azure_path(path)


def as_uri(path: str) -> str:
    """A path as libstreamer takes it, which knows more kinds of URIs: here they are local paths."""
    return os.path.abspath(path) if "://" in path and not is_object_path(path) else path


def filter_allow(paths: List[str], patterns: List[str]) -> List[str]:
    """Those that match one of the patterns."""
    return [path for path in paths if any(fnmatch.fnmatch(path, p) for p in patterns)]


def filter_ignore(paths: List[str], patterns: List[str]) -> List[str]:
    """Those that match none of them."""
    return [path for path in paths if not any(fnmatch.fnmatch(path, p) for p in patterns)]


def removeprefix(text: str, prefix: str) -> str:
    """str.removeprefix() of Python 3.9."""
    return text[len(prefix):] if text.startswith(prefix) else text
