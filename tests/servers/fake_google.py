# SPDX-License-Identifier: Apache-2.0
"""Google Cloud Storage's XML API on loopback, and the token endpoint: no emulator of it checks who
asks, so this one does. A service account's JWT must be signed by the key that belongs to it (checked
by the openssl command), be for reading, and be valid now; other tokens must come from here."""
import base64
import hashlib
import http.server
import json
import os
import subprocess
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape

READ = "https://www.googleapis.com/auth/devstorage.read_only"
EMAIL = "reader@project.iam.gserviceaccount.com"


def _decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class FakeGoogle:
    def __init__(self, folder, refresh_token):
        self.folder, self.refresh_token = folder, refresh_token
        self.objects = {}       # "bucket/name": bytes
        self.given = {}         # token: until when
        self.checked = set()    # JWTs whose signature was found right
        self.requests = []      # "GET /bucket/name"
        self.before_read = lambda key: None
        self.lock = threading.Lock()
        self.key = os.path.join(folder, "account.key")
        self.public = os.path.join(folder, "account.pub")
        for command in (["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out",
                         self.key], ["pkey", "-in", self.key, "-pubout", "-out", self.public]):
            subprocess.run(["openssl", *command], check=True, stderr=subprocess.DEVNULL)
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                server.answer(self)

            do_HEAD = do_POST = do_GET

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever).start()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()

    # ---- What tests put in ----

    def put(self, bucket, name, body):
        self.objects[f"{bucket}/{name}"] = body

    def account_file(self, key=None):
        with open(key or self.key, encoding="ascii") as file:
            text = {"type": "service_account", "client_email": EMAIL, "private_key_id": "k",
                    "private_key": file.read()}
        return self._write(os.path.basename(key or self.key) + ".json", text)

    def user_file(self, refresh_token=None):
        return self._write("user.json", {
            "type": "authorized_user", "client_id": "id", "client_secret": "CANARYSECRET",
            "refresh_token": refresh_token or self.refresh_token, "token_uri": self.url + "/token"})

    def _write(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(content, file)
        return path

    # ---- What they see ----

    def may_read(self, authorization):
        if not authorization.startswith("Bearer "):
            return False
        token = authorization[len("Bearer "):]
        if token in self.given:
            return self.given[token] > time.time()
        try:
            head, claims, signature = token.split(".")
            said = json.loads(_decode(claims))
            if json.loads(_decode(head)) != {"alg": "RS256", "typ": "JWT", "kid": "k"}:
                return False
        except ValueError:
            return False
        now = time.time()
        is_valid = (said.get("iss") == said.get("sub") == EMAIL and said.get("scope") == READ and
                    said["iat"] <= now + 5 and now < said["exp"] <= said["iat"] + 3600)
        return is_valid and self._is_signed(token, f"{head}.{claims}", _decode(signature))

    def _is_signed(self, token, text, signature):
        with self.lock:
            if token in self.checked:
                return True
            path = os.path.join(self.folder, "signature")
            with open(path, "wb") as file:
                file.write(signature)
            done = subprocess.run(["openssl", "dgst", "-sha256", "-verify", self.public,
                                   "-signature", path], input=text.encode(), capture_output=True)
            if done.returncode == 0:
                self.checked.add(token)
            return done.returncode == 0

    def answer(self, request):
        path, _, query = request.path.partition("?")
        self.requests.append(f"{request.command} {urllib.parse.unquote(path)}")
        parameters = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        if path == "/token":
            return self.give_token(request)
        authorization = request.headers.get("Authorization", "")
        if not authorization:
            return self.error(request, 403, "AccessDenied")
        if not self.may_read(authorization):
            return self.error(request, 401, "AuthenticationRequired")
        bucket, _, name = urllib.parse.unquote(path[1:]).partition("/")
        if not any(key.startswith(bucket + "/") for key in self.objects):
            return self.error(request, 404, "NoSuchBucket")
        if not name:
            return self.list(request, bucket, parameters)
        return self.read(request, f"{bucket}/{name}")

    def give_token(self, request):
        length = int(request.headers["Content-Length"])
        form = urllib.parse.parse_qs(request.rfile.read(length).decode())
        if form.get("refresh_token") != [self.refresh_token]:
            body = {"error": "invalid_grant", "error_description": "Token has been revoked."}
            return self.send(request, 400, json.dumps(body).encode())
        token = f"ya29.{len(self.given)}.CANARYSECRET"
        self.given[token] = time.time() + 3600
        body = {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}
        return self.send(request, 200, json.dumps(body).encode())

    def list(self, request, bucket, parameters):
        prefix, delimiter = parameters.get("prefix", ""), parameters.get("delimiter", "")
        after = parameters.get("continuation-token", "")
        most = min(int(parameters.get("max-keys", 1000)), 1000)
        rows, folders = {}, set()
        for key, body in self.objects.items():
            if not key.startswith(f"{bucket}/{prefix}"):
                continue
            name = key[len(bucket) + 1:]
            rest = name[len(prefix):]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.split(delimiter)[0] + delimiter)
            else:
                rows[name] = len(body)
        names = [name for name in sorted([*rows, *folders]) if name > after]
        quote = lambda text: urllib.parse.quote(text, safe="-_.~")
        body = "<?xml version='1.0'?><ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>"
        body += "<EncodingType>url</EncodingType>"
        for name in names[:most]:
            if name in folders:
                body += f"<CommonPrefixes><Prefix>{quote(name)}</Prefix></CommonPrefixes>"
            else:
                body += (f"<Contents><Key>{quote(name)}</Key><Generation>1</Generation>"
                         f"<ETag>{escape(self.etag_of(f'{bucket}/{name}'))}</ETag>"
                         f"<Size>{rows[name]}</Size></Contents>")
        body += f"<IsTruncated>{str(len(names) > most).lower()}</IsTruncated>"
        if len(names) > most:
            token = escape(names[most - 1])
            body += f"<NextContinuationToken>{token}</NextContinuationToken>"
        return self.send(request, 200, (body + "</ListBucketResult>").encode())

    def etag_of(self, key):
        return f'"{hashlib.md5(self.objects[key]).hexdigest()}"'

    def read(self, request, key):
        self.before_read(key)
        body = self.objects.get(key)
        if body is None:
            return self.error(request, 404, "NoSuchKey")
        etag = self.etag_of(key)
        condition = request.headers.get("If-Match")
        if condition and condition != etag:
            return self.error(request, 412, "PreconditionFailed")
        headers = {"ETag": etag, "x-goog-generation": "1",
                   "x-goog-stored-content-encoding": "identity"}
        wanted = request.headers.get("Range")
        if not wanted:
            return self.send(request, 200, body, headers)
        first, last = wanted.removeprefix("bytes=").split("-")
        first, last = int(first), min(int(last), len(body) - 1)
        if first > last:
            return self.error(request, 416, "InvalidRange")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        return self.send(request, 206, body[first:last + 1], headers)

    def error(self, request, status, code):
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message></Error>"
        return self.send(request, status, body.encode(), {"X-GUploader-UploadID": "UPLOAD"})

    def send(self, request, status, body, headers=None):
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)
