# SPDX-License-Identifier: Apache-2.0
"""Settings of one call: plain values, which may be pickled; what is not said comes from the
environment or is chosen by the library."""
import ctypes

from ._native import Credentials, CredentialsCallback, SettingInfo, library
from .errors import call


def all_settings():
    """Every setting there is: a list of dicts with name, variable, compatible_variable,
    default_value, values and meaning."""
    rows = []
    for index in range(library.setting_count()):
        info = SettingInfo()
        call(library.setting_get_info, index, ctypes.byref(info))
        rows.append({name: (getattr(info, name) or b"").decode()
                     for name, _ in SettingInfo._fields_[1:]})
    return rows


def _value(value):
    if isinstance(value, bool):
        return b"yes" if value else b"no"
    return str(value).encode()


class NativeSettings:
    """Settings as the library has them. Lives as long as what was opened with it, which may ask the
    credentials callback at any time."""

    def __init__(self, values=None, prefixes=None, credentials=None):
        self.handle = ctypes.c_void_p()
        call(library.settings_new, ctypes.byref(self.handle))
        for name, value in (values or {}).items():
            if value is not None:
                call(library.settings_set, self.handle, name.encode(), _value(value))
        for prefix, own in (prefixes or {}).items():
            for name, value in own.items():
                call(library.settings_set_for, self.handle, prefix.encode(), name.encode(),
                     _value(value))
        self._callback = None
        if credentials is not None:
            self._callback = CredentialsCallback(_credentials_callback(credentials))
            call(library.settings_set_credentials_callback, self.handle, b"", self._callback, None)

    def __del__(self):
        if self.handle:
            library.settings_free(self.handle)


def _credentials_callback(credentials):
    # The strings must live until the library has copied them, which it does when this returns.
    kept = {}

    def give(out, _user):
        try:
            given = credentials()
            for name in ("access_key_id", "secret_access_key", "session_token", "bearer_token"):
                if given.get(name) is not None:
                    kept[name] = str(given[name]).encode()
                    setattr(out.contents, name, kept[name])
            out.contents.expires_unix_s = int(given.get("expires_unix_s") or 0)
            return 0
        except Exception:  # nothing may be thrown into C
            return 1

    return give


__all__ = ["all_settings", "NativeSettings", "Credentials"]
