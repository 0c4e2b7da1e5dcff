# SPDX-License-Identifier: Apache-2.0
"""A store that speaks enough of S3 for listings and ranged reads, asks for no credentials, and takes
many connections at once."""
import hashlib
import http.server
import threading
import urllib.parse
from xml.sax.saxutils import escape


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


class SmallStore:
    def __init__(self, address="127.0.0.1"):
        self.objects = {}   # key: bytes
        self.etags = {}     # key: ETag, where it is not the MD5
        self.ghosts = set()  # keys that are listed, and not there
        self.requests = []  # "GET key", "LIST prefix"
        self.has_folders = False  # whether listings respect a delimiter
        self.before_read = lambda key: None
        store = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_GET(self):
                store.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.http = _Server((address, 0), Handler)
        self.url = f"http://{address}:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()

    def variables(self):
        return {"STREAMER_S3_ENDPOINT": self.url, "STREAMER_S3_CREDENTIALS": "anonymous",
                "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}

    def reads(self):
        """Keys whose bytes were asked for, sorted."""
        return sorted(line[4:] for line in self.requests if line.startswith("GET "))

    def etag_of(self, key):
        return self.etags.get(key) or f'"{hashlib.md5(self.objects[key]).hexdigest()}"'

    def answer(self, request):
        path, _, query = request.path.partition("?")
        given = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        key = urllib.parse.unquote(path).split("/", 2)[2] if path.count("/") > 1 else ""
        if "list-type" in given:
            return self.list(request, given)
        self.requests.append(f"{request.command} {key}")
        if key not in self.objects:
            return self.send(request, 404, b"<Error><Code>NoSuchKey</Code></Error>")
        if request.command == "GET":
            self.before_read(key)
        body, headers = self.objects[key], {"ETag": self.etag_of(key)}
        if request.headers.get("If-Match") not in (None, headers["ETag"]):
            return self.send(request, 412, b"<Error><Code>PreconditionFailed</Code></Error>")
        wanted = request.headers.get("Range")
        if not wanted:
            return self.send(request, 200, body, headers)
        first, last = wanted.removeprefix("bytes=").split("-")
        first, last = int(first), min(int(last), len(body) - 1)
        if first > last:
            return self.send(request, 416, b"<Error><Code>InvalidRange</Code></Error>")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        return self.send(request, 206, body[first:last + 1], headers)

    def list(self, request, given):
        prefix, most = given.get("prefix", ""), int(given.get("max-keys", 1000))
        self.requests.append(f"LIST {prefix}")
        keys = sorted(key for key in {*self.objects, *self.ghosts} if key.startswith(prefix))[:most]
        rows = ""
        if self.has_folders and given.get("delimiter"):
            below = [key[len(prefix):].split(given["delimiter"]) for key in keys]
            keys = [key for key, names in zip(keys, below) if len(names) == 1]
            for name in sorted({names[0] for names in below if len(names) > 1}):
                folder = urllib.parse.quote(prefix + name + given["delimiter"])
                rows += f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
        for key in keys:
            is_there = key in self.objects
            size, etag = (len(self.objects[key]), self.etag_of(key)) if is_there else (1, '"x"')
            rows += (f"<Contents><Key>{escape(urllib.parse.quote(key))}</Key><Size>{size}</Size>"
                     f"<ETag>{escape(etag)}</ETag></Contents>")
        page = ("<?xml version='1.0'?><ListBucketResult><EncodingType>url</EncodingType>"
                f"<IsTruncated>false</IsTruncated>{rows}</ListBucketResult>")
        return self.send(request, 200, page.encode())

    def send(self, request, status, body, headers=None):
        try:
            request.send_response(status)
            for name, value in (headers or {}).items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            if request.command != "HEAD":
                request.wfile.write(body)
        except OSError:
            request.close_connection = True
