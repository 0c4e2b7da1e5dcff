# SPDX-License-Identifier: Apache-2.0
"""What compare.py measures in: a model, a server, what the page cache holds, memory that the host
backs, and words for the machine."""
import ctypes
import datetime
import json
import math
import mmap
import os
import platform
import random
import resource
import shutil
import socket
import struct
import subprocess
import sys
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "servers"))

import certificates  # noqa: E402
import ports  # noqa: E402

LAYERS, PIECE = 12, 64 << 20
BUCKET, FOLDER = "models", "llama"
MADV_POPULATE_WRITE = 23  # Linux 5.14


def tensors_of(gb):
    """(name, shape) of a Llama-like model of about so many GB in bf16: 99 tensors, of which the largest
    is an 18th of the bytes whatever the size."""
    # 10.75 h^2 in each layer and 8 h^2 each for the two ends, 2 bytes each.
    h = max(8, round(math.sqrt(gb * 1e9 / 2 / (LAYERS * 10.75 + 16)) / 8) * 8)
    yield "model.embed_tokens.weight", [8 * h, h]
    for layer in range(LAYERS):
        for name, shape in (("input_layernorm", [h]), ("mlp.down_proj", [h, h * 11 // 4]),
                            ("mlp.gate_up_proj", [h * 11 // 2, h]), ("post_attention_layernorm", [h]),
                            ("self_attn.k_proj", [h // 4, h]), ("self_attn.o_proj", [h, h]),
                            ("self_attn.q_proj", [h, h]), ("self_attn.v_proj", [h // 4, h])):
            yield f"model.layers.{layer}.{name}.weight", shape
    yield "model.norm.weight", [h]
    yield "lm_head.weight", [8 * h, h]


def random_bytes(source, size):
    return b"".join(source.randbytes(min(PIECE, size - at)) for at in range(0, size, PIECE))


def make_model(folder, gb, shards):
    """Writes the shards, and model.json: files, and for each tensor its name, shape and CRC."""
    os.makedirs(folder)
    named = [(name, shape, 2 * math.prod(shape)) for name, shape in tensors_of(gb)]
    total, groups, done = sum(size for *_, size in named), [[] for _ in range(shards)], 0
    for one in named:
        groups[min(done * shards // total, shards - 1)].append(one)
        done += one[2]
    groups = [group for group in groups if group]
    source, files, tensors = random.Random(1), [], []
    for number, group in enumerate(groups, 1):
        header, at = {"__metadata__": {"format": "pt"}}, 0
        for name, shape, size in group:
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        files.append(os.path.join(folder, f"model-{number:05}-of-{len(groups):05}.safetensors"))
        with open(files[-1], "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for name, shape, size in group:
                data = random_bytes(source, size)
                tensors.append((name, shape, zlib.crc32(data)))
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
    model = {"files": files, "tensors": tensors, "bytes": total}
    with open(os.path.join(folder, "model.json"), "w", encoding="utf-8") as file:
        json.dump(model, file)
    return model


class Server:
    """nginx over a folder, at http and https: GET and HEAD with ranges, path-style, and one page of
    ListObjectsV2. It looks at no signature."""

    def __init__(self, root, work, files, congestion):
        """congestion: the control of its connections, whatever this machine's default is."""
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if not nginx:
            raise FileNotFoundError("nginx is not installed")
        self.version = subprocess.run([nginx, "-v"], capture_output=True, text=True,
                                      check=True).stderr.strip().rpartition(" ")[2]
        authority = certificates.Authority(work)
        self.ca = authority.certificate
        certificate, key = authority.issue("server", "DNS:localhost,IP:127.0.0.1")
        self.congestion = congestion
        plain, tls = ports.free_ports(2)
        # nginx has no directive for it, but takes sockets that are listening already.
        sockets = [self.listen(port, congestion) for port in (plain, tls)]
        self.urls = {"http": f"http://127.0.0.1:{plain}", "https": f"https://127.0.0.1:{tls}"}
        with open(os.path.join(work, "list.xml"), "w", encoding="ascii") as file:
            file.write(self.listing(files))
        places = "\n".join(f"{kind}_temp_path {work}/temp;" for kind in (
            "client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        where = f"""root {root};
            location ~ ^/{BUCKET}/?$ {{
              default_type application/xml; root {work}; try_files /list.xml =404;
            }}"""
        configuration = os.path.join(work, "nginx.conf")
        with open(configuration, "w", encoding="utf-8") as file:
            file.write(f"""
                {"user root;" if os.geteuid() == 0 else ""}
                worker_processes auto; daemon off; pid {work}/nginx.pid; error_log {work}/error.log;
                events {{ worker_connections 4096; }}
                http {{
                  access_log off; sendfile on; sendfile_max_chunk 2m; tcp_nopush on;
                  keepalive_requests 1000000;
                  {places}
                  server {{ listen 127.0.0.1:{plain}; {where} }}
                  server {{ listen 127.0.0.1:{tls} ssl; ssl_certificate {certificate};
                           ssl_certificate_key {key}; {where} }}
                }}""")
        numbers = [one.fileno() for one in sockets]
        inherited = "".join(f"{number};" for number in numbers)
        self.process = subprocess.Popen([nginx, "-c", configuration, "-e", f"{work}/error.log"],
                                        env={**os.environ, "NGINX": inherited}, pass_fds=numbers)
        for one in sockets:
            one.close()
        try:
            ports.wait_for(tls, self.process, 20)
        except BaseException:
            self.stop()
            raise

    @staticmethod
    def listen(port, congestion):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
        except OSError as error:
            with open("/proc/sys/net/ipv4/tcp_available_congestion_control",
                      encoding="ascii") as file:
                known = file.read().split()
            raise OSError(f"congestion control {congestion}: {error.strerror}; this kernel has "
                          f"{', '.join(known)}") from None
        listener.bind(("127.0.0.1", port))
        listener.listen(511)
        # nginx takes it as it is: of two workers that are woken, one would wait in accept().
        listener.setblocking(False)
        return listener

    @staticmethod
    def listing(files):
        rows = "".join(f"<Contents><Key>{FOLDER}/{os.path.basename(path)}</Key>"
                       "<LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                       "<ETag>&quot;1&quot;</ETag>"
                       f"<Size>{os.path.getsize(path)}</Size><StorageClass>STANDARD</StorageClass>"
                       "</Contents>" for path in files)
        return ('<?xml version="1.0" encoding="UTF-8"?>'
                '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<Name>{BUCKET}</Name><Prefix>{FOLDER}/</Prefix><KeyCount>{len(files)}</KeyCount>"
                f"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def warm(paths):
    """Brings files to the page cache."""
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            buffer = bytearray(4 << 20)
            while file.readinto(buffer):
                pass


def drop(paths):
    """Takes files out of the page cache; returns the part of them that stayed."""
    stayed = total = 0
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            with mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE) as memory:
                pages = (ctypes.c_ubyte * -(-len(memory) // mmap.PAGESIZE))()
                start = ctypes.c_ubyte.from_buffer(memory)
                ctypes.CDLL(None).mincore(ctypes.c_void_p(ctypes.addressof(start)),
                                          ctypes.c_size_t(len(memory)), pages)
                del start
                stayed += sum(page & 1 for page in bytes(pages))
                total += len(pages)
    return stayed / max(total, 1)


def available_bytes():
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))


def back(size):
    """Touches so much memory and lets it go: where a host backs a machine's memory only when it is
    touched first, the next process finds it backed. Returns seconds of CPU for each GB."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        try:
            memory.madvise(MADV_POPULATE_WRITE)
        except OSError:
            zeros = bytes(PIECE)
            for at in range(0, size - PIECE + 1, PIECE):
                memory[at:at + PIECE] = zeros
    after = resource.getrusage(resource.RUSAGE_SELF)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / (size / 1e9)


def file_system_of(folder):
    device, found = os.stat(folder).st_dev, "unknown"
    with open("/proc/self/mounts", encoding="utf-8") as file:
        for _, point, kind, *_ in map(str.split, file):
            try:
                found = kind if os.stat(point).st_dev == device else found
            except OSError:
                pass  # of somebody else, or its name has escapes
    return found


def machine(folder):
    name = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"date": datetime.date.today().isoformat(), "processor": name,
            "cores": len(os.sched_getaffinity(0)), "memory_gb": round(memory / 1e9, 1),
            "kernel": platform.release(), "file_system": file_system_of(folder),
            "load_average": os.getloadavg()[0]}
