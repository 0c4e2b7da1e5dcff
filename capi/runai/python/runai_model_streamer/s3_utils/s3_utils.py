# SPDX-License-Identifier: Apache-2.0
"""Which paths are objects of a store, and whose they are."""
import fnmatch
import importlib
import importlib.util
import os
from types import ModuleType
from typing import Any, Dict, List, Optional

from runai_model_streamer._environment import settings_by_environment

GCS_PROTOCOL_PREFIX = "gs://"
S3_PROTOCOL_PREFIX = "s3://"
AZURE_PROTOCOL_PREFIX = "az://"
DEFAULT_GCS_ENDPOINT_URL = "https://storage.googleapis.com"
AWS_ENDPOINT_URL_ENV = "AWS_ENDPOINT_URL"
AWS_EC2_METADATA_DISABLED_ENV = "AWS_EC2_METADATA_DISABLED"
DEFAULT_AWS_EC2_METADATA_DISABLED = "true"


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


def settings_of(credentials: Optional[S3Credentials], is_remote: bool = True) -> Dict[str, Any]:
    """As settings of libstreamer, with what the environment says."""
    values = settings_by_environment(is_remote)
    if credentials is not None:
        values.update((name, value) for name, value in (
            ("s3_credentials", _keys_of(credentials)),
            ("s3_region", credentials.region_name),
            ("s3_endpoint", credentials.endpoint)) if value)
    return values


def _keys_of(credentials: S3Credentials) -> Optional[str]:
    key_id, secret, token = (
        (value or "").strip()  # of the line break that a mounted file leaves
        for value in (credentials.access_key_id, credentials.secret_access_key,
                      credentials.session_token))
    if not key_id and not secret:
        return None
    if not key_id or not secret:
        missing = "secret_access_key" if key_id else "access_key_id"
        raise ValueError(f"half a key was given: S3Credentials has no {missing}")
    keys = [part.replace("%", "%25").replace(":", "%3A") for part in (key_id, secret)]
    return ":".join(["session", *keys, token] if token else ["keys", *keys])


def is_s3_path(path: str) -> bool:
    """Whichever way the scheme is written: engines take "S3://" for what it means."""
    return _begins(path, S3_PROTOCOL_PREFIX)


def is_gs_path(path: str) -> bool:
    """The same for Google."""
    return _begins(path, GCS_PROTOCOL_PREFIX)


def is_azure_path(path: str) -> bool:
    """The same for Azure."""
    return _begins(path, AZURE_PROTOCOL_PREFIX)


def _begins(path, prefix):
    return str(path)[:len(prefix)].lower() == prefix


def is_object_path(path: str) -> bool:
    """Of any store."""
    return is_s3_path(path) or is_gs_path(path) or is_azure_path(path)


def as_uri(path: str) -> str:
    """A path as libstreamer takes it, which knows more kinds of URIs: here they are local paths."""
    if is_object_path(path):
        return path[:2].lower() + path[2:]
    return os.path.abspath(path) if "://" in path else path


def filter_allow(paths: List[str], patterns: List[str]) -> List[str]:
    """Those that match one of the patterns."""
    return [path for path in paths if any(fnmatch.fnmatch(path, p) for p in patterns)]


def filter_ignore(paths: List[str], patterns: List[str]) -> List[str]:
    """Those that match none of them."""
    return [path for path in paths if not any(fnmatch.fnmatch(path, p) for p in patterns)]


def removeprefix(s: str, prefix: str) -> str:
    """str.removeprefix() of Python 3.9."""
    return s[len(prefix):] if s.startswith(prefix) else s


def get_module(main_module: str, module_name: str) -> Optional[ModuleType]:
    """A module of a package, None if one of the two is not installed."""
    if importlib.util.find_spec(main_module) is None:
        return None
    return importlib.import_module(module_name) if importlib.util.find_spec(module_name) else None


def get_s3_credentials_module() -> Optional[ModuleType]:
    """None: the library finds credentials itself."""
    return None


def get_s3_files_module() -> Optional[ModuleType]:
    """What lists and pulls; it needs no package besides."""
    return importlib.import_module("runai_model_streamer.s3_utils.files")


get_gcs_files_module = get_azure_files_module = get_s3_files_module


def s3_glob(path: str, allow_pattern: Optional[List[str]] = None,
            s3_credentials: Optional[S3Credentials] = None) -> List[str]:
    """URIs of the objects directly under a prefix whose keys match one of the patterns."""
    return get_s3_files_module().glob(path, allow_pattern, s3_credentials)


def s3_pull_files(model_path: str, dst: str, allow_pattern: Optional[List[str]] = None,
                  ignore_pattern: Optional[List[str]] = None,
                  s3_credentials: Optional[S3Credentials] = None) -> None:
    """Copies the objects under a prefix to dst. Patterns are held against whole keys."""
    get_s3_files_module().pull_files(model_path, dst, allow_pattern, ignore_pattern, s3_credentials)


def gcs_glob(path: str, allow_pattern: Optional[List[str]] = None) -> List[str]:
    """s3_glob() of Google."""
    return s3_glob(path, allow_pattern)


def gcs_pull_files(model_path: str, dst: str, allow_pattern: Optional[List[str]] = None,
                   ignore_pattern: Optional[List[str]] = None,
                   s3_credentials: Optional[S3Credentials] = None) -> None:
    """s3_pull_files() of Google."""
    s3_pull_files(model_path, dst, allow_pattern, ignore_pattern, s3_credentials)


def azure_glob(path: str, allow_pattern: Optional[List[str]] = None) -> List[str]:
    """s3_glob() of Azure."""
    return s3_glob(path, allow_pattern)


def azure_pull_files(model_path: str, dst: str, allow_pattern: Optional[List[str]] = None,
                     ignore_pattern: Optional[List[str]] = None) -> None:
    """s3_pull_files() of Azure."""
    s3_pull_files(model_path, dst, allow_pattern, ignore_pattern)
