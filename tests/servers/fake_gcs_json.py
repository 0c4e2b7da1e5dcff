# SPDX-License-Identifier: Apache-2.0
"""The JSON API of Google Cloud Storage on loopback, as emulators have it: one bucket, "bucket", and
listings of two entries a page. What they do otherwise than Google can be set."""
import http.server
import json
import threading
import urllib.parse


class JsonEmulator:
    def __init__(self):
        self.missing = (404, b"Not Found")  # status and body of what is not there
        self.reads_xml = False         # objects can be read by the XML API, without ETags
        self.names_generations = True  # in answers with bytes
        self.keeps_conditions = True   # whether ifGenerationMatch counts
        self.token = None              # that requests must carry
        self.failures = []             # statuses of the next answers
        self.before_read = lambda name: None
        self.requests = []             # paths with their queries
        self.objects = {}              # name: (bytes, generation, CRC32C in base64)
        self.generation = 1795717500000000
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
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()

    def put(self, name, content, crc32c=None):
        self.generation += 1
        self.objects[name] = (content, self.generation, crc32c)

    def asked_otherwise(self):
        """Requests that were not for the JSON API."""
        return [path for path in self.requests if not path.startswith("/storage/v1/")]

    # ---- Answers ----

    def answer(self, request):
        self.requests.append(request.path)
        if self.failures:
            return self.error(request, self.failures.pop(0), "backendError", "Try later")
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return self.error(request, 401, "authError", "Invalid Credentials")
        path, _, query = request.path.partition("?")
        given = dict(urllib.parse.parse_qsl(query))
        root = "/storage/v1/b/bucket/o"
        if path == root:
            return self.list(request, given)
        if path.startswith(root + "/"):
            encoded = path[len(root) + 1:]
            if "/" in encoded:  # a name's slashes are encoded
                return self.send(request, *self.missing)
            return self.object(request, urllib.parse.unquote(encoded), given)
        name = urllib.parse.unquote(path).removeprefix("/bucket/")
        if self.reads_xml and name in self.objects:
            return self.read(request, name, None)
        return self.send(request, *self.missing)

    def object(self, request, name, given):
        if name not in self.objects:
            return self.error(request, 404, "notFound", f"No such object: bucket/{name}")
        if given.get("alt") == "media":
            return self.read(request, name, given.get("ifGenerationMatch"))
        return self.send(request, 200, json.dumps(self.about(name)).encode())

    def read(self, request, name, condition):
        self.before_read(name)
        content, generation, _ = self.objects[name]
        if self.keeps_conditions and condition not in (None, str(generation)):
            return self.error(request, 412, "conditionNotMet", "At least one precondition failed")
        first, last = map(int, request.headers["Range"].removeprefix("bytes=").split("-"))
        last = min(last, len(content) - 1)
        if first > last:
            return self.error(request, 416, "requestedRangeNotSatisfiable", "Not there")
        headers = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        if self.names_generations:
            headers["X-Goog-Generation"] = str(generation)
        return self.send(request, 206, content[first:last + 1], headers)

    def about(self, name):
        content, generation, crc32c = self.objects[name]
        about = {"kind": "storage#object", "name": name, "size": str(len(content)),
                 "generation": str(generation), "metageneration": "1",
                 # Of the metadata's version, as the testbench has it: it says nothing of the bytes.
                 "etag": "c4ca4238a0b923820dcc509a6f75849b",
                 "acl": [{"kind": "storage#objectAccessControl", "role": "OWNER"}]}
        if not content:
            del about["size"]  # as protobuf's JSON leaves out what is 0
        return about | ({"crc32c": crc32c} if crc32c else {})

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
        page = {"kind": "storage#objects"}
        for member, kind in (("items", dict), ("prefixes", str)):
            found = [row for row in rows[first:first + most] if isinstance(row, kind)]
            if found:
                page[member] = found
        if first + most < len(rows):
            page["nextPageToken"] = str(first + most)
        return self.send(request, 200, json.dumps(page).encode())

    def error(self, request, status, reason, message):
        errors = [{"domain": "global", "reason": reason, "message": message}]
        body = {"error": {"code": status, "message": message, "errors": errors}}
        return self.send(request, status, json.dumps(body).encode())

    @staticmethod
    def send(request, status, body, headers=None):
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)
