# SPDX-License-Identifier: Apache-2.0
"""Settings of one call: plain values, which may be pickled; what is not set comes from the
environment or is chosen by the library."""
import contextlib
import ctypes

from ._native import Credentials, CredentialsCallback, SettingInfo, Unshared, library
from .errors import AccessError, StreamerError, call


def all_settings():
    """All settings: a list of dicts with name, variable, compatible_variable, default_value,
    values, meaning, scope, and is_secret (a bool)."""
    rows = []
    for index in range(library.setting_count()):
        info = SettingInfo()
        call(library.setting_get_info, index, ctypes.byref(info))
        row = {name: (getattr(info, name) or b"").decode()
               for name, kind in SettingInfo._fields_ if kind is ctypes.c_char_p}
        rows.append({**row, "is_secret": bool(info.is_secret)})
    return rows


def _value(value):
    if isinstance(value, bool):
        return b"yes" if value else b"no"
    return str(value).encode()


class NativeSettings(Unshared):
    """Native settings. Must live as long as anything opened with them, which may call the credentials
    callback at any time."""

    def __init__(self, values=None, prefixes=None, credentials=None):
        self.handle = ctypes.c_void_p()
        call(library.settings_new, ctypes.byref(self.handle))
        for name, value in (values or {}).items():
            if value is not None:
                call(library.settings_set, self.handle, name.encode(), _value(value))
        for prefix, own in (prefixes or {}).items():
            for name, value in own.items():
                if value is None:
                    continue
                call(library.settings_set_for, self.handle, prefix.encode(), name.encode(),
                     _value(value))
        self._callback = None
        self.failure = None  # what the credentials callback raised, if its last call raised
        if credentials is not None:
            self._callback = CredentialsCallback(self._credentials_callback(credentials))
            call(library.settings_set_credentials_callback, self.handle, b"", self._callback, None)

    def _credentials_callback(self, credentials):
        # The strings must live until the library has copied them, which it does when this returns.
        kept = {}

        def give(out, _user):
            try:
                given = credentials()
                for name in ("access_key_id", "secret_access_key", "session_token",
                             "bearer_token"):
                    if given.get(name) is not None:
                        kept[name] = str(given[name]).encode()
                        setattr(out.contents, name, kept[name])
                out.contents.expires_unix_s = int(given.get("expires_unix_s") or 0)
            except BaseException as failure:  # nothing may be thrown into C
                self.failure = failure
                return 1
            self.failure = None
            return 0

        return give

    def __del__(self):
        if self.handle:
            library.settings_free(self.handle)


def explain(error, *all_settings_used):
    """Makes an exception of a credentials callback the cause of the error that it led to."""
    for used in all_settings_used:
        failure = getattr(used, "failure", None)
        if failure is None or not isinstance(error, AccessError) or error.__cause__ is failure:
            continue
        error.__cause__ = failure
        raised = f"; it raised {type(failure).__name__}: {failure}".splitlines()[0]
        error.args = (str(error) + raised,)
        error.message += raised


@contextlib.contextmanager
def explained_by(*all_settings_used):
    """explain() for errors raised within the block."""
    try:
        yield
    except StreamerError as error:
        explain(error, *all_settings_used)
        raise


__all__ = ["all_settings", "explain", "explained_by", "NativeSettings", "Credentials"]
