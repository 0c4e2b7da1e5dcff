#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""No secret is in any text: secrets_test.py SOURCE_ROOT STREAMER

Walks the table of settings and the environment variables that the sources read, plants a secret of
its own in each, and looks for it in everything that comes out, while servers give back whatever
they were sent. A new setting or variable is planted without a change here.
"""
import base64
import http.server
import json
import os
import pickle
import re
import secrets
import socketserver
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
import unittest
import urllib.parse

ROOT, STREAMER = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
for folder in ("capi/python", "tests/servers"):
    sys.path.insert(0, os.path.join(ROOT, folder))

import certificates  # noqa: E402
import libstreamer  # noqa: E402
from libstreamer._native import LogCallback, library  # noqa: E402

HEADER = json.dumps({"w": {"dtype": "U8", "shape": [64], "data_offsets": [0, 64]}}).encode()
MODEL = struct.pack("<Q", len(HEADER)) + HEADER + bytes(64)
URIS = {"s3": "s3://bucket/m.safetensors", "gs": "gs://bucket/m.safetensors",
        "az": "az://container/m.safetensors"}


class Echo(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Gives back what it was sent: in the body, in headers, in Location, in the ETag. Its mode says
    with which status; "raw" is no HTTP at all, "good" is a store."""

    daemon_threads = True

    def __init__(self, certificate=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.mode = "403"
        self.port = self.server_address[1]
        self.seen = []
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True,
                                              do_handshake_on_connect=False)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def handle_error(self, request, client_address):
        pass

    def stop(self):
        self.shutdown()
        self.server_close()
        self.thread.join()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("latin-1")
        sent = [value for name, value in self.headers.items()
                if name.lower() not in ("host", "accept", "user-agent", "range")]
        everything = " ".join([self.path, urllib.parse.unquote(self.path), *sent, body])
        self.server.seen.append(everything)
        if self.server.mode == "raw":
            self.wfile.write(everything.encode("latin-1"))
            self.close_connection = True
            return
        headers = {"x-amz-request-id": everything, "x-ms-request-id": everything,
                   "x-guploader-uploadid": everything, "x-ms-error-code": everything[:200]}
        status, content = 0, MODEL
        if self.server.mode == "good":
            headers = {"ETag": '"%s"' % everything.replace('"', "")}
            if self.headers.get("Range"):
                first, last = map(int, re.findall(r"\d+", self.headers["Range"]))
                last = min(last, len(MODEL) - 1)
                headers["Content-Range"] = f"bytes {first}-{last}/{len(MODEL)}"
                status, content = 206, MODEL[first:last + 1]
            else:
                status, content = 200, b"<ListBucketResult/>"
        else:
            status = int(self.server.mode)
            quoted = everything.replace("&", "&amp;").replace("<", "&lt;")
            content = (f"<Error><Code>{quoted[:90]}</Code><Message>{quoted}</Message>"
                       f"<RequestId>{quoted}</RequestId></Error>").encode("latin-1")
            if status // 100 == 3:
                headers["Location"] = f"http://{sent[-1] if sent else 'x'}@127.0.0.1:1/?{body}"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, re.sub(r"[\r\n]", " ", value))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = answer


def plain(secret):
    return secret


def base64_of(secret):
    return base64.b64encode(secret.encode()).decode()


# What a value must look like to get further than the first check: what precedes the secret part, how
# that is written, and whether a server is sent it as it is, and so gives it back here.
FORMS = {
    "azure_credentials": [("key:", base64_of, False), ("token:", plain, True),
                          ("sas:", lambda s: f"sv=2021-12-02&sp=rl&sig={s}%3D", True),
                          ("connection_string:",
                           lambda s: "AccountName=acct;AccountKey=" + base64_of(s), False)],
    "gcs_credentials": [("token:", plain, True), ("hmac:PLAINID:", plain, False)],
    "https_bearer_token": [("", plain, True)],
    "s3_credentials": [("keys:PLAINID:", plain, False), ("session:PLAINID:else-1234:", plain, True)],
    "s3_sse_customer_key": [("", lambda s: base64_of(s.ljust(32, "x")[:32]), True)],
}
# Together with what a setting only counts.
PARTNERS = {"s3_sse_customer_key": {"s3_credentials": "keys:PLAINID:else-1234"},
            "azure_credentials": {"azure_account_name": "acct"}}


def secret_settings():
    """Every form of every setting that is secret: its row, what precedes the secret, how that is
    written, and whether it is sent."""
    for row in libstreamer.all_settings():
        if row["is_secret"]:
            for form in FORMS.get(row["name"], [("", plain, False)]):
                yield (row, *form)


def variables_of_the_sources():
    """Every name in capitals, or of a proxy, that the sources hold as a text of its own."""
    names = set()
    for folder, _, files in os.walk(os.path.join(ROOT, "src")):
        for name in files:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                names |= set(re.findall(r'"((?:[A-Z][A-Z0-9]*_[A-Z0-9_]+)|(?:[a-z]+_proxy))"',
                                        file.read()))
    return sorted(names - {"no_proxy", "NO_PROXY"})


class Secrets(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = cls.temporary.name
        cls.authority = certificates.Authority(cls.folder)
        cls.echo = Echo()
        cls.addClassCleanup(cls.echo.stop)
        cls.tls = Echo(cls.authority.issue("host", "IP:127.0.0.1,DNS:localhost"))
        cls.addClassCleanup(cls.tls.stop)

    def world(self, **more):
        """Where nothing leads but to the echo."""
        here = f"http://127.0.0.1:{self.echo.port}"
        return {"PATH": os.environ["PATH"], "HOME": self.folder, "AWS_EC2_METADATA_DISABLED": "true",
                "NO_GCE_CHECK": "true", "STREAMER_S3_ENDPOINT": here, "STREAMER_GCS_ENDPOINT": here,
                "STREAMER_AZURE_ENDPOINT": here + "/acct", "STREAMER_MAX_ATTEMPTS": "1",
                "STREAMER_CA_BUNDLE": self.authority.certificate,
                "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential", **more}

    def run_streamer(self, *arguments, env):
        done = subprocess.run([STREAMER, "--log", "trace", *arguments], env=env, text=True,
                              capture_output=True, timeout=120, errors="replace")
        return done.stdout + done.stderr

    def assert_clean(self, text, secret, what):
        for form in (secret, secret[:12], base64.b64encode(secret.encode()).decode()[:16],
                     urllib.parse.quote(secret, safe="")):
            if form in text:
                at = text.index(form)
                self.fail(f"{what}: {text[max(0, at - 300):at + 100]}")

    def commands(self, uri):
        to = os.path.join(self.folder, "to")
        return [("ls", uri), ("inspect", uri), ("load", uri), ("pull", uri, to), ("doctor", uri),
                ("snapshot", uri)]

    def test_settings_marked_secret_are_in_no_output_of_any_command(self):
        for row, before, write, is_sent in secret_settings():
            name, secret = row["name"], "p" + secrets.token_hex(9)
            value = write(secret)
            scheme = {"s3": "s3", "gc": "gs", "az": "az"}.get(name[:2])
            uri = URIS.get(scheme, f"https://127.0.0.1:{self.tls.port}/m.safetensors?q={secret}")
            partners = [f"--set={n}={v}" for n, v in PARTNERS.get(name, {}).items()]
            env_of_partners = {"STREAMER_" + n.upper(): v for n, v in PARTNERS.get(name, {}).items()}
            self.echo.seen.clear()
            for mode in ("403", "302", "raw", "good"):
                self.echo.mode = self.tls.mode = mode
                for command in self.commands(uri):
                    text = self.run_streamer(*command, f"--set={name}={before}{value}", *partners,
                                             env=self.world())
                    self.assert_clean(text, secret, (name, mode, command))
                    self.assert_clean(text, value, (name, mode, command))
            if is_sent:
                sent = " ".join(self.echo.seen + self.tls.seen)
                self.assertTrue(secret in sent or value in sent, f"{name} came nowhere")
            for variable in (row["variable"], row["compatible_variable"]):
                if not variable:
                    continue
                text = self.run_streamer("doctor", uri,
                                         env=self.world(**{variable: before + value},
                                                        **env_of_partners))
                self.assert_clean(text, secret, variable)
                self.assert_clean(text, value, variable)

    def test_variables_of_the_environment_are_in_no_output(self):
        # As a secret, and as a URL with a password and a query.
        self.echo.mode = "403"
        names = set(variables_of_the_sources())
        names |= {v for row in libstreamer.all_settings()
                  for v in (row["variable"], row["compatible_variable"]) if v}
        self.assertGreater(len(names), 100)
        may_be_secret = re.compile(r"(SECRET|TOKEN|KEY|PASSWORD|HEADER|STRING|SAS)$")
        is_of = {"AWS": "s3", "S3": "s3", "GCS": "gs", "GOO": "gs", "GCE": "gs", "CLO": "gs",
                 "AZU": "az", "MSI": "az", "IDE": "az"}
        for name in sorted(names):
            short = name.removeprefix("STREAMER_").removeprefix("RUNAI_STREAMER_")
            scheme = is_of.get(short[:3]) or is_of.get(short[:2])
            uris = [URIS[scheme]] if scheme else list(URIS.values())
            for form in ("secret", "url"):
                if form == "secret" and not may_be_secret.search(name):
                    continue
                if "LOG_FILE" in name or name in ("STREAMER_LIBRARY",):
                    continue
                user, query = "u" + secrets.token_hex(9), "q" + secrets.token_hex(9)
                value = user if form == "secret" else \
                    f"http://name:{user}@127.0.0.1:1/?sv=1&sig={query}"
                env = self.world()
                # What this one leads to comes after what the world says.
                for other in ("ENDPOINT", "CA_BUNDLE", "MAX_ATTEMPTS"):
                    if other in name:
                        env = {n: v for n, v in env.items() if other not in n}
                env[name] = value
                for uri in uris:
                    text = self.run_streamer("doctor", uri, env=env)
                    for secret in (user, query):
                        self.assert_clean(text, secret, (name, form, uri))

    def test_proxies_with_passwords_malformed_ones_too(self):
        for shape in ("http://user:{}@[bad", "foo://user:{}@host", "user:{}@127.0.0.1:1",
                      "http://user:{}@127.0.0.1:1", "http://user:{}/@127.0.0.1:1", "user:{}@[bad",
                      "http://{}@127.0.0.1:1", "http://user:{}@", "socks9://u:{}@h:1",
                      "http://user:{}@127.0.0.1:99999", "http://user:\"{}@127.0.0.1:1"):
            secret = secrets.token_hex(9)
            proxy = shape.format(secret)
            for name in ("https_proxy", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
                env = self.world(**{name: proxy, "AWS_ACCESS_KEY_ID": "A",
                                    "AWS_SECRET_ACCESS_KEY": "b"})
                if name != "http_proxy":
                    env["STREAMER_S3_ENDPOINT"] = "https://127.0.0.1:1"
                for command in (("ls", URIS["s3"]), ("doctor", URIS["s3"])):
                    self.assert_clean(self.run_streamer(*command, env=env), secret, (name, proxy))

    def test_endpoints_with_passwords_and_queries(self):
        for name, scheme in (("AWS_ENDPOINT_URL", "s3"), ("AWS_ENDPOINT_URL_S3", "s3"),
                             ("STREAMER_S3_ENDPOINT", "s3"), ("STREAMER_GCS_ENDPOINT", "gs"),
                             ("STORAGE_EMULATOR_HOST", "gs"), ("AZURE_STORAGE_ENDPOINT", "az"),
                             ("STREAMER_AZURE_ENDPOINT", "az")):
            for shape in ("https://user:{}@h/", "user:{}@h", "https://h/?{}", "h/?sig={}",
                          "https://h/?sv=1&sig={}", "http://u:a?{}@h", "h#{}", "https://h:{}"):
                secret = secrets.token_hex(9)
                env = {n: v for n, v in self.world().items() if "ENDPOINT" not in n}
                env.update({name: shape.format(secret), "AZURE_STORAGE_ACCOUNT": "acct"})
                if shape == "https://h:{}":
                    secret = "no such text"  # a port is no secret
                for command in (("ls", URIS[scheme]), ("doctor", URIS[scheme])):
                    self.assert_clean(self.run_streamer(*command, env=env), secret, (name, shape))

    def test_files_of_credentials(self):
        secret = "f" + secrets.token_hex(15)
        here = f"http://127.0.0.1:{self.echo.port}"
        aws = os.path.join(self.folder, "aws")
        google = os.path.join(self.folder, "google")
        token = os.path.join(self.folder, "token")
        with open(token, "w", encoding="utf-8") as file:
            file.write(secret)

        def profile(text):
            with open(aws, "w", encoding="utf-8") as file:
                file.write("[default]\n" + text)
            return {"AWS_SHARED_CREDENTIALS_FILE": aws, "AWS_CONFIG_FILE": aws}

        def credentials(**members):
            with open(google, "w", encoding="utf-8") as file:
                json.dump(members, file)
            return {"GOOGLE_APPLICATION_CREDENTIALS": google}

        pem = f"-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n"
        cases = [
            ("s3", lambda: profile(f"aws_access_key_id = A\naws_secret_access_key = {secret}\n"
                                   f"aws_session_token = {secret}\n")),
            ("s3", lambda: profile(f"aws_access_key_id = A\naws_secret_access_key = {secret}\n"
                                   f"role_arn = r\nsource_profile = {secret}x\n")),
            ("s3", lambda: profile(f"endpoint_url = https://u:{secret}@h/?sig={secret}\n")),
            ("s3", lambda: profile(f"credential_process = /bin/echo {secret} {{\n")),
            ("s3", lambda: profile(f"aws_secret_access_key {secret}\n")),
            ("s3", lambda: {"AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": "arn:aws:iam::1:r",
                            "AWS_ENDPOINT_URL_STS": here}),
            ("s3", lambda: {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{here}/?t={secret}",
                            "AWS_CONTAINER_AUTHORIZATION_TOKEN": secret}),
            ("gs", lambda: credentials(type="authorized_user", client_id="i", client_secret=secret,
                                       refresh_token=secret, token_uri=here)),
            ("gs", lambda: credentials(type="service_account", client_email="a@b", private_key=pem,
                                       token_uri=here)),
            ("gs", lambda: credentials(type=secret + "x", private_key=pem)),
            ("gs", lambda: {"GOOGLE_APPLICATION_CREDENTIALS": token}),
            ("az", lambda: {"IDENTITY_ENDPOINT": here, "IDENTITY_HEADER": secret,
                            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential"}),
            ("az", lambda: {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c",
                            "AZURE_CLIENT_SECRET": secret, "AZURE_AUTHORITY_HOST": here}),
            ("az", lambda: {"AZURE_STORAGE_CONNECTION_STRING": f"AccountName=a;{secret}"}),
            ("az", lambda: {"STREAMER_AZURE_CREDENTIALS":
                            f"connection_string:BlobEndpoint=https://u:{secret}@h/?sv=1&sig={secret}"}),
            ("az", lambda: {"STREAMER_AZURE_CREDENTIALS":
                            f"connection_string:BlobEndpoint=h/?sv=1&sig={secret} x"}),
        ]
        for number, (scheme, make) in enumerate(cases):
            for mode in ("403", "400", "good", "raw"):
                self.echo.mode = mode
                env = self.world(**make())
                if number in (2, 14, 15):
                    env = {n: v for n, v in env.items() if not n.endswith("ENDPOINT")}
                text = self.run_streamer("doctor", URIS[scheme], env=env)
                # What is no secret by its place may be shown: a type, a profile's name.
                if number in (1, 9):
                    text = text.replace(secret + "x", "")
                self.assert_clean(text, secret, (number, mode, env))

    def test_arguments_that_are_mistyped(self):
        secret = secrets.token_hex(9)
        for arguments in (("ls", "/tmp", f"--s3_credentials=keys:ID:{secret}"),
                          ("ls", "/tmp", "--set", f"s3_credential=keys:ID:{secret}"),
                          ("ls", "/tmp", "--set", f"azure_credentials:{secret}"),
                          ("ls", f"https://u:{secret}@h:x/m"), ("ls", f"s3://u:{secret}@b/m"),
                          ("ls", f"https://h:x/m?sig={secret}"), ("ls", f"https://h/m?a={secret} b"),
                          ("load", f"https://127.0.0.1:1/m.safetensors?token={secret}")):
            text = self.run_streamer(*arguments, env=self.world())
            self.assert_clean(text, secret, arguments)

    def test_texts_that_python_makes_itself_can_be_cleaned(self):
        for text, cleaned in (("https://u:SEC@host/m?sig=SEC", "https://***@host/m?***"),
                              ("/models/a?b", "/models/a?b"), ("é", "é")):
            self.assertEqual(libstreamer.errors.clean_text(text), cleaned)

    def test_errors_in_python_in_every_form(self):
        lines = []
        kept = LogCallback(lambda level, line, user: lines.append(line.decode()))
        library.log_set(0, kept, None)
        self.addCleanup(library.log_set, 5, LogCallback(), None)
        here = f"http://127.0.0.1:{self.echo.port}"
        endpoints = {"s3_endpoint": here, "gcs_endpoint": here, "azure_endpoint": here + "/acct",
                     "debug.max_attempts": "1", "ca_bundle": self.authority.certificate}
        for row, before, write, _ in secret_settings():
            secret = "y" + secrets.token_hex(9)
            value = write(secret)
            uri = URIS.get({"s3": "s3", "gc": "gs", "az": "az"}.get(row["name"][:2]),
                           f"https://127.0.0.1:{self.tls.port}/m.safetensors?sig={secret}")
            for mode in ("403", "302", "raw"):
                self.echo.mode = self.tls.mode = mode
                settings = {**endpoints, **PARTNERS.get(row["name"], {}),
                            row["name"]: before + value}
                try:
                    libstreamer.list(uri, settings=settings)
                    libstreamer.open(uri, settings=settings)
                    self.fail("it worked: " + row["name"])
                except libstreamer.StreamerError as error:
                    again = pickle.loads(pickle.dumps(error))
                    texts = [str(error), repr(error), repr(vars(error)), str(again),
                             repr(vars(again)), repr(error.args), *lines]
                    texts.append("".join(traceback.format_exception_only(type(error), error)))
                    for text in texts:
                        for form in (secret, value):
                            self.assert_clean(text, form, (row["name"], mode))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
