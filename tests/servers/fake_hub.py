# SPDX-License-Identifier: Apache-2.0
"""A small Hugging Face compatible hub on loopback, as the documented one behaves: revisions, the tree
API page by page, `resolve` with what is in git itself, and 302 to signed URLs of a CDN of another
origin for what is in LFS, which expire after some uses. It counts who asked for what, and with which
token."""
import hashlib
import http.server
import json
import threading
import urllib.parse

KINDS = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}


class Repository:
    def __init__(self):
        self.commits = {}       # commit: {path: bytes}
        self.refs = {}          # branch, tag, refs/pr/1: commit
        self.readers = None     # tokens that may read it; None: anybody
        self.is_gated = False   # otherwise, who may not read it does not learn that it is there

    def commit(self, files, ref="main"):
        name = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[name] = dict(files)
        self.refs[ref] = name
        return name


def git_id(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_in_lfs(path):
    return path.endswith((".safetensors", ".bin"))


def etag_of(path, content):
    return hashlib.sha256(content).hexdigest() if is_in_lfs(path) else git_id(content)


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that fails goes away


class FakeHub:
    def __init__(self):
        self.repositories = {}      # "org/name", "datasets/org/name": Repository
        self.renamed = {}           # old: new
        self.page_entries = 1000    # of the tree API
        self.uses_of_url = 10 ** 9  # how often a signed URL is good
        self.answers_first = []     # (status, headers), before any other answer of the hub
        self.after_page = lambda: None
        self.damage = lambda content: content  # what the CDN makes of it
        self.link_origin = None     # of the links to next pages, where a mirror names another host
        self.requests = []          # "GET /path?query" of the hub
        self.tokens = set()         # what the hub was given
        self.cdn_requests = []      # (token, range) of the CDN
        self.signed = {}            # signature: [uses left, content]
        self.lock = threading.Lock()
        self.hub, self.url = self._serve(self._answer_hub)
        self.cdn, self.cdn_url = self._serve(self._answer_cdn)

    def _serve(self, answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_GET(self):
                answer(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        server = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server, f"http://127.0.0.1:{server.server_port}"

    def stop(self):
        for server in (self.hub, self.cdn):
            server.shutdown()
            server.server_close()

    def repository(self, name="org/model"):
        return self.repositories.setdefault(name, Repository())

    def asked(self, what):
        return [line for line in self.requests if what in line]

    # ---- The hub ----

    def _answer_hub(self, request):
        path, _, query = request.path.partition("?")
        token = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        with self.lock:
            self.requests.append(f"{request.command} {request.path}")
            if token:
                self.tokens.add(token)
            if self.answers_first:
                status, headers = self.answers_first.pop(0)
                return self._send(request, status, b"{}", headers)
        if token.startswith("wrong"):
            return self._refuse(request, 401, "", "Invalid credentials in Authorization header")
        parts = path.strip("/").split("/")
        if parts[0] == "api":
            return self._answer_api(request, token, parts[1], parts[2:], query)
        kind = next((kind for kind, prefix in KINDS.items() if prefix == parts[0] + "/"), "models")
        if kind != "models":
            parts = parts[1:]
        if "resolve" not in parts:
            return self._refuse(request, 404, "", "Not Found")
        at = parts.index("resolve")
        name = KINDS[kind] + "/".join(parts[:at])
        repository = self._find(request, token, name)
        if repository is None:
            return None
        revision = urllib.parse.unquote(parts[at + 1])
        commit = self._commit(request, repository, revision)
        if commit is None:
            return None
        wanted = urllib.parse.unquote("/".join(parts[at + 2:]))
        return self._resolve(request, repository, commit, wanted)

    def _find(self, request, token, name):
        if name in self.renamed:
            self._send(request, 307, b"",
                       {"Location": request.path.replace(name, self.renamed[name], 1)})
            return None
        repository = self.repositories.get(name)
        may_read = repository and (repository.readers is None or token in repository.readers)
        if may_read:
            return repository
        if repository and repository.is_gated:
            self._refuse(request, 403 if token else 401, "GatedRepo",
                         f"Access to model {name} is restricted.")
        else:
            self._refuse(request, 404 if token else 401, "RepoNotFound", "Repository not found")
        return None

    def _commit(self, request, repository, revision):
        commit = repository.refs.get(revision, revision)
        if commit in repository.commits:
            return commit
        self._refuse(request, 404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return None

    def _answer_api(self, request, token, kind, parts, query):
        at = next((i for i, part in enumerate(parts) if part in ("revision", "tree")), len(parts))
        repository = self._find(request, token, KINDS[kind] + "/".join(parts[:at]))
        if repository is None:
            return None
        rest = [urllib.parse.unquote(part) for part in parts[at + 1:]] or ["main"]
        commit = self._commit(request, repository, rest[0])
        if commit is None:
            return None
        if parts[at:at + 1] == ["tree"]:
            return self._tree(request, repository.commits[commit], "/".join(rest[1:]), query)
        about = {"id": "/".join(parts[:at]), "sha": commit, "private": False, "tags": [],
                 "siblings": [{"rfilename": path} for path in sorted(repository.commits[commit])]}
        return self._send(request, 200, json.dumps(about).encode())

    def _tree(self, request, files, folder, query):
        given = dict(urllib.parse.parse_qsl(query))
        below = folder + "/" if folder else ""
        is_deep = given.get("recursive", "").lower() in ("true", "1")
        rows, folders = [], set()
        for path, content in sorted(files.items()):
            if not path.startswith(below):
                continue
            inner = path[len(below):].split("/")
            for depth in range(1, len(inner) if is_deep else min(len(inner), 2)):
                folders.add(below + "/".join(inner[:depth]))
            if not is_deep and len(inner) > 1:
                continue
            row = {"type": "file", "oid": git_id(content), "size": len(content), "path": path}
            if is_in_lfs(path):
                row["oid"] = git_id(b"a pointer")
                row["lfs"] = {"oid": etag_of(path, content), "size": len(content),
                              "pointerSize": 134}
            rows.append(row)
        rows += [{"type": "directory", "oid": git_id(name.encode()), "size": 0, "path": name}
                 for name in sorted(folders)]
        if folder and not rows:
            return self._refuse(request, 404, "EntryNotFound", f"{folder} does not exist")
        first = int(given.get("cursor", 0))
        most = min(self.page_entries, int(given.get("limit", self.page_entries)))
        headers = {}
        if first + most < len(rows):
            given["cursor"] = str(first + most)
            origin = self.link_origin or self.url
            link = f"{origin}{request.path.partition('?')[0]}?{urllib.parse.urlencode(given)}"
            headers["Link"] = f'<{link}>; rel="next"'
        self._send(request, 200, json.dumps(rows[first:first + most]).encode(), headers)
        return self.after_page()

    def _resolve(self, request, repository, commit, path):
        if path not in repository.commits[commit]:
            return self._refuse(request, 404, "EntryNotFound", "Entry not found",
                                {"X-Repo-Commit": commit})
        content = repository.commits[commit][path]
        etag = f'"{etag_of(path, content)}"'
        headers = {"X-Repo-Commit": commit, "ETag": etag, "Accept-Ranges": "bytes"}
        if not is_in_lfs(path):
            return self._send_range(request, content, headers)
        with self.lock:
            signature = f"s{len(self.signed)}"
            self.signed[signature] = [self.uses_of_url, self.damage(content)]
        headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(len(content)),
                    "Location": f"{self.cdn_url}/{etag[1:9]}?Expires=1&Signature={signature}"}
        return self._send(request, 302, b"Found. Redirecting", headers)

    # ---- The CDN ----

    def _answer_cdn(self, request):
        given = dict(urllib.parse.parse_qsl(request.path.partition("?")[2]))
        with self.lock:
            self.cdn_requests.append((request.headers.get("Authorization"),
                                      request.headers.get("Range")))
            one = self.signed[given["Signature"]]
            one[0] -= 1
        if one[0] < 0:
            return self._send(request, 403, b"<Error><Code>AccessDenied</Code>"
                                            b"<Message>Request has expired</Message></Error>")
        if request.headers.get("If-Match") not in (None, '"of-the-cdn"'):
            return self._send(request, 412, b"")
        return self._send_range(request, one[1], {"ETag": '"of-the-cdn"'})

    # ---- Answers ----

    def _refuse(self, request, status, code, message, headers=None):
        headers = {"X-Error-Message": message, "X-Request-Id": "Root=1-test", **(headers or {})}
        if code:
            headers["X-Error-Code"] = code
        self._send(request, status, json.dumps({"error": message}).encode(), headers)

    def _send_range(self, request, content, headers):
        wanted = request.headers.get("Range")
        if not wanted or not content:
            return self._send(request, 200, content, headers)
        first, last = wanted.removeprefix("bytes=").split("-")
        first, last = int(first), min(int(last or len(content)), len(content) - 1)
        if first > last:
            return self._send(request, 416, b"", {"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return self._send(request, 206, content[first:last + 1], headers)

    @staticmethod
    def _send(request, status, body, headers=None):
        try:
            request.send_response(status)
            for name, value in (headers or {}).items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            if request.command != "HEAD":
                request.wfile.write(body)
            request.wfile.flush()
        except OSError:
            request.close_connection = True
