# SPDX-License-Identifier: Apache-2.0
"""The native functions of the Run:ai Model Streamer 0.15, as its package wraps them."""
import ctypes


class OldFunctions:
    """The five functions of 0.15."""

    t_streamer = ctypes.c_void_p

    def __init__(self, path):
        self.dll = dll = ctypes.CDLL(path)
        texts, sizes = ctypes.POINTER(ctypes.c_char_p), ctypes.POINTER(ctypes.c_size_t)
        numbers = ctypes.POINTER(ctypes.c_uint)
        dll.runai_start.argtypes = [ctypes.POINTER(self.t_streamer)]
        dll.runai_end.restype, dll.runai_end.argtypes = None, [self.t_streamer]
        dll.runai_request.argtypes = [
            self.t_streamer, ctypes.c_uint, texts, sizes, sizes, ctypes.POINTER(ctypes.c_void_p),
            numbers, ctypes.POINTER(sizes), *[ctypes.c_char_p] * 5]
        dll.runai_response.argtypes = [self.t_streamer, numbers, numbers]
        dll.runai_response_str.restype = ctypes.c_char_p
        self.runai_end = dll.runai_end
        self.runai_response_str = dll.runai_response_str

    def check(self, code):
        if code != 0:
            raise ValueError(self.runai_response_str(code).decode())

    def runai_start(self):
        streamer = self.t_streamer(0)
        self.check(self.dll.runai_start(ctypes.byref(streamer)))
        return streamer

    def runai_request(self, streamer, paths, offsets, bytesizes, dsts, ranges, credentials=None):
        keys = [getattr(credentials, name, None) for name in (
            "access_key_id", "secret_access_key", "session_token", "region_name", "endpoint")]
        count = len(paths)
        lists = [(ctypes.c_size_t * len(one))(*one) for one in ranges]
        first = (ctypes.c_ubyte * len(dsts[0])).from_buffer(dsts[0])
        self.check(self.dll.runai_request(
            streamer, count, (ctypes.c_char_p * count)(*(path.encode() for path in paths)),
            (ctypes.c_size_t * count)(*offsets), (ctypes.c_size_t * count)(*bytesizes),
            (ctypes.c_void_p * 1)(ctypes.addressof(first)),
            (ctypes.c_uint * count)(*(len(one) for one in ranges)),
            (ctypes.POINTER(ctypes.c_size_t) * count)(
                *(ctypes.cast(one, ctypes.POINTER(ctypes.c_size_t)) for one in lists)),
            *(key.encode() if key else None for key in keys)))

    def runai_response(self, streamer):
        file_index, index = ctypes.c_uint(), ctypes.c_uint()
        code = self.dll.runai_response(streamer, ctypes.byref(file_index), ctypes.byref(index))
        if code == 1:
            return None
        self.check(code)
        return file_index.value, index.value
