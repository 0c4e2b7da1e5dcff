# SPDX-License-Identifier: Apache-2.0
"""The JSON API of Google Cloud Storage on loopback, as emulators without an XML API have it: what else
is asked is answered with `missing`, a status without XML. Listings come two entries a page."""
import base64
import hashlib
import http.server
import json
import threading
import urllib.parse


class JsonEmulator:
    def __init__(self, missing=404):
        self.objects = {}  # name: bytes, of the one bucket
        self.crc32c = {}   # name: base64
        self.missing = missing
        self.requests = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_GET(self):
                server.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()

    def answer(self, request):
        self.requests.append(request.path)
        path, _, query = request.path.partition("?")
        given = dict(urllib.parse.parse_qsl(query))
        root = "/storage/v1/b/bucket/o"
        if path == root:
            return self.list(request, given)
        if not path.startswith(root + "/"):
            return self.send(request, self.missing, b"Not here")
        name = urllib.parse.unquote(path[len(root) + 1:])
        if name not in self.objects:
            body = json.dumps({"error": {"code": 404, "message": f"No such object: {name}"}})
            return self.send(request, 404, body.encode())
        if given.get("alt") != "media":
            return self.send(request, 200, json.dumps(self.about(name)).encode())
        content = self.objects[name]
        etag = f'"{self.about(name)["etag"]}"'
        if request.headers.get("If-Match") not in (None, etag):
            return self.send(request, 412, b"")
        first, last = map(int, request.headers["Range"].removeprefix("bytes=").split("-"))
        last = min(last, len(content) - 1)
        if first > last:
            return self.send(request, 416, b"")
        return self.send(request, 206, content[first:last + 1], {
            "ETag": etag, "Content-Range": f"bytes {first}-{last}/{len(content)}"})

    def about(self, name):
        content = self.objects[name]
        about = {"kind": "storage#object", "name": name, "size": str(len(content)),
                 "etag": base64.b64encode(hashlib.md5(content).digest()).decode()}
        return about | ({"crc32c": self.crc32c[name]} if name in self.crc32c else {})

    def list(self, request, given):
        prefix, rows = given.get("prefix", ""), []
        for name in sorted(self.objects):
            inner = name.removeprefix(prefix)
            if not name.startswith(prefix):
                continue
            if given.get("delimiter") and "/" in inner:
                row = prefix + inner.partition("/")[0] + "/"
                if row not in rows:
                    rows.append(row)
            else:
                rows.append(self.about(name))
        first = int(given.get("pageToken", 0))
        most = min(2, int(given["maxResults"]))
        page = {"kind": "storage#objects",
                "items": [row for row in rows[first:first + most] if isinstance(row, dict)],
                "prefixes": [row for row in rows[first:first + most] if isinstance(row, str)]}
        if first + most < len(rows):
            page["nextPageToken"] = str(first + most)
        return self.send(request, 200, json.dumps(page).encode())

    @staticmethod
    def send(request, status, body, headers=None):
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)
