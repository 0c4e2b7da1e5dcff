#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Refusals say what to do: refusals_test.py STREAMER SOURCE_ROOT"""
import base64
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

STREAMER, ROOT = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
sys.path.insert(0, os.path.join(ROOT, "tests", "servers"))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))

import certificates  # noqa: E402
import fake_aws  # noqa: E402
from store_case import checkpoint  # noqa: E402

FILE, _ = checkpoint({"w": 100_000}, 1)
KEY = base64.b64encode(b"no real key at all").decode()


def one_object(handler):
    given = handler.headers.get("Range")
    if given is None:
        return 200, {}, b"<ListBucketResult/>"
    first, last = map(int, re.findall(r"\d+", given))
    last = min(last, len(FILE) - 1)
    return 206, {"ETag": '"1"', "Content-Range": f"bytes {first}-{last}/{len(FILE)}"}, \
        FILE[first:last + 1]


class RawServer:
    """Reads what comes first, sends bytes, closes."""

    def __init__(self, reply):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.reply = reply
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                try:
                    first = connection.recv(65536)
                    connection.sendall(self.reply(first))
                except OSError:
                    pass

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = cls.temporary.name
        cls.authority = certificates.Authority(cls.folder)
        cls.certificate = cls.authority.issue("host", "IP:127.0.0.1,DNS:localhost")

    def start(self, server):
        self.addCleanup(server.stop)
        return server

    def streamer(self, *arguments, **env):
        environment = {"PATH": os.environ["PATH"], "HOME": self.folder,
                       "AWS_EC2_METADATA_DISABLED": "true", "NO_GCE_CHECK": "true",
                       "AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "b", **env}
        done = subprocess.run([STREAMER, *arguments], env=environment, capture_output=True,
                              text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr


class Schemes(Case):
    """https:// to a port without TLS, http:// to one with it, and no scheme at all."""

    def on_every_cloud(self, endpoint):
        """What each says of this endpoint: (cloud, exit code, text)."""
        clouds = {
            "s3": ("s3://bucket/m.safetensors", {"AWS_ENDPOINT_URL": endpoint}),
            "gs": ("gs://bucket/m.safetensors", {"STREAMER_GCS_ENDPOINT": endpoint,
                                                 "STREAMER_GCS_CREDENTIALS": "token:not-a-real-token"}),
            "az": ("az://container/m.safetensors", {"STREAMER_AZURE_ENDPOINT": endpoint,
                                                    "STREAMER_AZURE_ACCOUNT_NAME": "acct",
                                                    "STREAMER_AZURE_CREDENTIALS": f"key:{KEY}"}),
        }
        if "://" in endpoint:
            clouds["https"] = (endpoint + "/m.safetensors", {})
        for cloud, (uri, env) in clouds.items():
            for command in ("load", "doctor"):
                yield (cloud, command, *self.streamer(command, uri, **env))

    def test_https_to_a_port_without_tls_says_so_and_what_to_write(self):
        plain = self.start(fake_aws.Store(one_object))
        # Servers that say nothing, or something that is no TLS, before they close.
        others = [self.start(RawServer(lambda first: b"HTTP/1.1 400 Bad Request\r\n\r\n")),
                  self.start(RawServer(lambda first: b"" if first[:1] == b"\x16" else
                                       b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"))]
        for server in [plain, *others]:
            host = f"127.0.0.1:{server.port}"
            for endpoint in (host, "https://" + host):
                for cloud, command, code, text in self.on_every_cloud(endpoint):
                    with self.subTest(cloud=cloud, command=command, endpoint=endpoint):
                        self.assertIn(f"https://{host} does not speak TLS", text)
                        self.assertIn(f"write http://{host}", text)
                        self.assertNotIn("CA", text.split("does not speak TLS")[1])
                        self.assertEqual(code, 3)

    def test_http_to_a_port_with_tls_says_so_and_what_to_write(self):
        def like_go(first):
            return b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"

        def like_nginx(first):
            body = b"<center>The plain HTTP request was sent to HTTPS port</center>"
            return b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(body) + body

        for server in (fake_aws.Store(one_object, self.certificate), RawServer(like_go),
                       RawServer(like_nginx)):
            host = f"127.0.0.1:{self.start(server).port}"
            for cloud, command, code, text in self.on_every_cloud("http://" + host):
                with self.subTest(cloud=cloud, command=command, server=server):
                    self.assertIn(f"http://{host} speaks TLS, but was asked in plain HTTP", text)
                    self.assertIn(f"write https://{host}", text)
                    # By what came: an answer that is none, or a 400.
                    self.assertIn(code, (2, 3))

    def test_a_certificate_that_is_not_trusted_is_still_that(self):
        tls = self.start(fake_aws.Store(one_object, self.certificate))
        for cloud, command, code, text in self.on_every_cloud(f"https://127.0.0.1:{tls.port}"):
            self.assertIn("ca_bundle", text, (cloud, command))
            self.assertNotIn("does not speak TLS", text)

    def test_n1_a_name_that_has_no_address_is_that_on_every_cloud(self):
        # A label may have 63 characters: no name server is asked.
        host = "x" * 70 + ".invalid"
        for cloud, command, code, text in self.on_every_cloud("https://" + host):
            with self.subTest(cloud=cloud, command=command):
                self.assertIn(host, text)
                self.assertIn("has no address", text)
                self.assertNotIn("memory", text)
                self.assertEqual(code, 3)

    def test_an_endpoint_whose_path_is_the_account_has_a_host(self):
        _, said = self.streamer("doctor", "az://c/x", "--set", "azure_credentials=anonymous",
                                "--set", "azure_endpoint=http://localhost/account")
        self.assertRegex(said, r"ok +addresses .*(127\.0\.0\.1|::1)")

    def test_n6_a_redirect_never_leads_from_https_to_http(self):
        asked = []

        def plain_object(handler):
            asked.append(dict(handler.headers))
            return one_object(handler)

        plain = self.start(fake_aws.Store(plain_object))
        for status in (301, 302, 307, 308):
            tls = self.start(fake_aws.Store(
                lambda handler, status=status: (status, {
                    "Location": f"http://127.0.0.1:{plain.port}{handler.path}"}, b""),
                self.certificate))
            for cloud, uri, env in (
                    ("s3", "s3://bucket/m.safetensors",
                     {"AWS_ENDPOINT_URL": f"https://127.0.0.1:{tls.port}"}),
                    ("https", f"https://127.0.0.1:{tls.port}/m.safetensors", {})):
                with self.subTest(cloud=cloud, status=status):
                    code, text = self.streamer(
                        "load", uri, STREAMER_CA_BUNDLE=self.authority.certificate, **env)
                    self.assertNotEqual(code, 0, text)
                    self.assertEqual(asked, [])

    def test_what_is_no_http_at_all_is_not_taken_for_tls(self):
        server = self.start(RawServer(lambda first: b"220 mail.example ESMTP\r\n"))
        _, text = self.streamer("load", f"http://127.0.0.1:{server.port}/m", "--set",
                                "debug.max_attempts=4")
        self.assertIn("is not valid HTTP", text)
        self.assertNotIn("speaks TLS", text)


class Stores(Case):
    def s3(self, answer, *arguments, **env):
        store = self.start(fake_aws.Store(answer))
        return self.streamer(*arguments, AWS_ENDPOINT_URL=f"http://127.0.0.1:{store.port}", **env)

    def test_an_answer_without_a_code_says_what_to_look_at(self):
        for status, headers, says in (
                (302, {"Location": "https://login.example/?secret=1"},
                 "to https://login.example, which is not followed"),
                (301, {"Location": "/somewhere"}, "this may be no store but a web server or a proxy"),
                (301, {}, "this may be no store but a web server or a proxy"),
                (405, {}, "this may be no store of this kind; check the endpoint"),
                (407, {}, "the proxy asks who this is")):
            with self.subTest(status=status, headers=headers):
                _, text = self.s3(lambda handler, s=status, h=headers: (s, h, b""), "load",
                                  "s3://bucket/m.safetensors")
                self.assertIn(says, text)
                self.assertNotIn("secret", text)

    def test_every_way_to_refuse_path_style_names_the_setting(self):
        for code in ("SecondLevelDomainForbidden", "PathStyleDomainForbidden",
                     "VirtualHostDomainRequired", "InvalidPathAccess"):
            body = f"<Error><Code>{code}</Code></Error>".encode()
            _, text = self.s3(lambda _, body=body: (403, {}, body), "load", "s3://bucket/m",
                              "--set", "s3_addressing=path")
            self.assertIn("the store refuses path style; set s3_addressing to virtual", text)

    def test_a_store_that_refuses_path_style_is_asked_by_virtual_host_by_itself(self):
        def answer(handler):
            if handler.path.startswith("/bucket"):
                return 403, {}, b"<Error><Code>PathStyleDomainForbidden</Code></Error>"
            return one_object(handler)

        store = self.start(fake_aws.Store(answer))
        proxy = self.start(RawProxy(store.port))
        code, text = self.streamer("load", "s3://bucket/m.safetensors", http_proxy=proxy.url,
                                   AWS_ENDPOINT_URL="http://cos.example")
        self.assertEqual(code, 0, text)
        self.assertIn("bucket.cos.example", [host for host, _, _ in store.requests])

    def test_refusals_in_path_style_elsewhere_hint_at_the_setting(self):
        for status in (400, 403, 405):
            _, text = self.s3(lambda _, status=status: (status, {}, b"no"), "load",
                              "s3://bucket/m.safetensors")
            self.assertIn("set s3_addressing to virtual", text)
        _, text = self.s3(lambda _: (404, {}, b"no"), "load", "s3://bucket/m.safetensors")
        self.assertNotIn("s3_addressing", text)

    def test_a_store_without_checksums_is_said_and_what_to_use_instead(self):
        for status in (400, 405, 501):
            def answer(handler, status=status):
                return (status, {}, b"") if handler.command == "HEAD" else one_object(handler)
            code, text = self.s3(answer, "load", "s3://bucket/m.safetensors", "--set",
                                 "verify=store")
            self.assertEqual(code, 2, text)
            self.assertIn("keeps no checksums", text)
            self.assertIn("manifest", text)
            store = self.start(fake_aws.Store(answer))
            code, text = self.streamer("load", "gs://bucket/m.safetensors", "--set", "verify=store",
                                       "--set", "gcs_credentials=anonymous",
                                       STREAMER_GCS_ENDPOINT=f"http://127.0.0.1:{store.port}")
            self.assertEqual(code, 2, text)
            self.assertIn("keeps no checksums", text)

    def test_a_secret_that_a_server_sends_back_as_a_request_id_is_cut(self):
        token = "planted-session-token-0123456789"

        def answer(handler):
            given = handler.headers.get("x-amz-security-token") or ""
            return 403, {"x-amz-request-id": given}, \
                f"<Error><Code>AccessDenied</Code><Message>{'x' * 480} {given}</Message></Error>" \
                .encode()

        for command in ("load", "ls", "doctor"):
            _, text = self.s3(answer, "--log", "trace", command, "s3://bucket/m.safetensors",
                              AWS_SESSION_TOKEN=token)
            self.assertIn("request id ***", text)
            self.assertNotIn("planted", text)

    def test_a_sas_url_as_endpoint_works_and_is_not_shown(self):
        def answer(handler):
            if "sig=planted-signature" not in handler.path:
                return 403, {}, b"no"
            return one_object(handler)

        store = self.start(fake_aws.Store(answer))
        url = f"http://127.0.0.1:{store.port}/acct/?sv=2021&sig=planted-signature"
        for env in ({"AZURE_STORAGE_CONNECTION_STRING": f"BlobEndpoint={url}"},
                    {"AZURE_STORAGE_ENDPOINT": url, "AZURE_STORAGE_ACCOUNT_NAME": "acct"},
                    {"STREAMER_AZURE_ENDPOINT": url, "AZURE_STORAGE_ACCOUNT_NAME": "acct"}):
            code, text = self.streamer("--log", "trace", "load", "az://container/m.safetensors",
                                       **env)
            self.assertEqual(code, 0, text)
            self.assertNotIn("planted", text)


class RawProxy(fake_aws._Threads):
    """For http://: leads every host to one port, with the path alone on the request line."""

    def __init__(self, port):
        import http.client
        import http.server
        import urllib.parse

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                upstream = http.client.HTTPConnection("127.0.0.1", port)
                target = url.path + ("?" + url.query if url.query else "")
                upstream.request(self.command, target, headers=dict(self.headers))
                answer = upstream.getresponse()
                body = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.start(fake_aws.Server(("127.0.0.1", 0), Handler))

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


class Command(Case):
    def test_a_mistyped_command_names_the_nearest(self):
        for given, meant in (("laod", "load"), ("inspct", "inspect"), ("docter", "doctor"),
                             ("snap", "snapshot"), ("list", "ls"), ("Load", "load")):
            code, text = self.streamer(given, "/models")
            self.assertEqual(code, 2)
            self.assertIn(f"there is no command \"{given}\"", text)
            if given != "list":
                self.assertIn(f"did you mean {meant}?", text)
            self.assertIn("There are ls, inspect", text)

    def test_a_mistyped_option_names_the_nearest(self):
        for given, meant in (("--memory-limt", "--memory-limit"), ("--jsn", "--json"),
                             ("--lgo", "--log"), ("--memory_limit", "--memory-limit")):
            code, text = self.streamer("load", "/models", given)
            self.assertEqual(code, 2)
            self.assertIn(f"load has no option {given}; did you mean {meant}?", text)
        code, text = self.streamer("--lgo", "debug", "load", "/models")
        self.assertEqual(code, 2)
        self.assertIn("--lgo cannot come before the command's name; did you mean --log?", text)
        code, text = self.streamer("load", "/models", "--frobnicate=SECRET")
        self.assertIn("load has no option --frobnicate", text)
        self.assertNotIn("SECRET", text)

    def test_options_of_all_commands_are_taken_before_and_behind(self):
        model = os.path.join(self.folder, "m.safetensors")
        with open(model, "wb") as file:
            file.write(FILE)
        for arguments in (("--log", "info", "load", model), ("load", "--log", "info", model),
                          ("load", model, "--log", "info"), ("load", model, "--log=info")):
            code, text = self.streamer(*arguments)
            self.assertEqual(code, 0, text)
            self.assertGreater(len(text.splitlines()), len(self.streamer("load", model)[1]
                                                            .splitlines()), arguments)
        self.assertEqual(self.streamer("load", model, "--version")[0], 0)

    def test_a_folder_named_like_a_command_is_a_folder(self):
        os.makedirs(os.path.join(self.folder, "load"), exist_ok=True)
        done = subprocess.run([STREAMER, "ls", "load"], cwd=self.folder, capture_output=True,
                              text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_arguments_that_are_missing_or_too_many_are_said(self):
        for arguments, words in ((("ls", "/a", "/b"), "ls takes no further argument"),
                                 (("pull", "/a"), "FOLDER"), (("ls",), "URI")):
            code, text = self.streamer(*arguments)
            self.assertEqual(code, 2)
            self.assertIn(words, text)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
