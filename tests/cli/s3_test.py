#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TLS, proxies, regions and settings of S3, through the streamer command: s3_test.py STREAMER ROOT"""
import base64
import hashlib
import json
import os
import re
import shutil
import ssl
import struct
import subprocess
import sys
import tempfile
import unittest

STREAMER, ROOT = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
sys.path.insert(0, os.path.join(ROOT, "tests", "servers"))

import certificates  # noqa: E402
import fake_aws  # noqa: E402

SECRET = "CANARYSECRET/key+1"


def checkpoint(size=3_000_000):
    data = bytes(range(251)) * (size // 251)
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(data)],
                               "data_offsets": [0, len(data)]}}).encode()
    return struct.pack("<Q", len(header)) + header + data, hashlib.sha256(data).hexdigest()


FILE, DIGEST = checkpoint()


def serve_range(handler):
    """What S3 answers to a ranged GET of the one object there is."""
    if handler.headers.get("Range") is None:
        return 200, {}, b"<ListBucketResult/>"
    first, last = map(int, re.match(r"bytes=(\d+)-(\d+)", handler.headers["Range"]).groups())
    last = min(last, len(FILE) - 1)
    return 206, {"ETag": '"one"', "Content-Range": f"bytes {first}-{last}/{len(FILE)}"}, \
        FILE[first:last + 1]


def error(status, code, more="", headers=None):
    return status, headers or {}, f"<Error><Code>{code}</Code>{more}</Error>".encode()


def region_of(handler):
    return handler.headers["Authorization"].split("/")[2]


class S3(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = cls.temporary.name
        cls.authority = certificates.Authority(cls.folder)
        cls.certificate = cls.authority.issue(
            "aws", "DNS:*.amazonaws.com,DNS:*.s3.us-east-1.amazonaws.com,"
                   "DNS:*.s3.eu-west-1.amazonaws.com,DNS:localhost,IP:127.0.0.1")

    def start(self, server):
        self.addCleanup(server.stop)
        return server

    def streamer(self, *arguments, env=None):
        environment = {"PATH": os.environ["PATH"], "HOME": self.folder,
                       "AWS_ACCESS_KEY_ID": "KEYID", "AWS_SECRET_ACCESS_KEY": SECRET,
                       "AWS_EC2_METADATA_DISABLED": "true",
                       "AWS_CA_BUNDLE": self.authority.certificate, **(env or {})}
        done = subprocess.run([STREAMER, "--log", "trace", *arguments], env=environment,
                              capture_output=True, text=True, timeout=60)
        for secret in (SECRET, "Signature=", "proxy-password"):
            self.assertNotIn(secret, done.stdout + done.stderr)
        return done

    def loads(self, env=None, uri="s3://bucket/m.safetensors"):
        done = self.streamer("digest", uri, "--set", "debug.chunk_bytes=256KiB", env=env)
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        self.assertIn(DIGEST, done.stdout)
        return done

    def fails(self, code, words, env=None):
        done = self.streamer("digest", "s3://bucket/m.safetensors", env=env)
        self.assertEqual(done.returncode, code, done.stderr[-3000:])
        self.assertIn(words, done.stderr)
        return done

    def aws(self, answer, **how):
        """AWS behind a proxy: the environment that leads there, and the store."""
        store = self.start(fake_aws.Store(answer, self.certificate))
        proxy = self.start(fake_aws.ConnectProxy(store.port, **how))
        return {"HTTPS_PROXY": proxy.url}, store, proxy

    # ---- N19 ----

    def test_N19_another_region_is_followed(self):
        redirects = {
            "header": lambda: error(301, "PermanentRedirect",
                                    headers={"x-amz-bucket-region": "eu-west-1",
                                             "Location": "https://evil.example.com/"}),
            "body": lambda: error(400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>"),
            "temporary": lambda: error(307, "TemporaryRedirect",
                                       "<Endpoint>evil.example.com</Endpoint>",
                                       {"x-amz-bucket-region": "eu-west-1"}),
        }
        for name, redirect in redirects.items():
            with self.subTest(name):
                env, store, proxy = self.aws(
                    lambda h, r=redirect: serve_range(h) if region_of(h) == "eu-west-1" else r())
                self.loads(env)
                hosts = {host.split(":")[0] for host in proxy.hosts}
                self.assertEqual(hosts, {"bucket.s3.us-east-1.amazonaws.com",
                                         "bucket.s3.eu-west-1.amazonaws.com"})
                # Learnt once: one request went to the wrong region.
                wrong = [r for r in store.requests if "us-east-1" in r[0]]
                self.assertEqual(len(wrong), 1)

    def test_N19_a_head_request_finds_the_region(self):
        def answer(handler):
            if handler.command == "HEAD":
                return 403, {"x-amz-bucket-region": "eu-west-1"}, b""
            if region_of(handler) == "eu-west-1":
                return serve_range(handler)
            return 301, {}, b""
        env, store, _ = self.aws(answer)
        self.loads(env)
        self.assertNotIn("Authorization", [r for r in store.requests if r[1] == "/"][0][2])

    def test_N19_what_is_no_region_is_not_followed(self):
        for region in ("evil.example.com/", "", "123", "us-east-1"):
            with self.subTest(region):
                env, _, proxy = self.aws(lambda h, r=region: error(
                    301, "PermanentRedirect", headers={"x-amz-bucket-region": r} if r else {}))
                self.fails(2, "PermanentRedirect", env)
                self.assertEqual({host.split(":")[0] for host in proxy.hosts},
                                 {"bucket.s3.us-east-1.amazonaws.com"})

    def test_N19_a_second_redirect_is_an_error(self):
        turn = {"us-east-1": "eu-west-1", "eu-west-1": "us-east-1"}
        env, store, _ = self.aws(lambda h: error(
            301, "PermanentRedirect", headers={"x-amz-bucket-region": turn[region_of(h)]}))
        self.fails(2, "PermanentRedirect", env)
        self.assertEqual(len(store.requests), 2)

    # ---- N23 ----

    def test_N23_certificates_that_are_not_believed(self):
        other = certificates.Authority(self.folder, "other")
        cases = {
            "unknown authority": other.issue("unknown", "IP:127.0.0.1"),
            "wrong host": self.authority.issue("wrong", "DNS:elsewhere.example.com"),
            "expired": self.authority.issue("expired", "IP:127.0.0.1", days="-1"),
            "self-signed": (other.certificate, other.key),
        }
        for name, certificate in cases.items():
            with self.subTest(name):
                store = self.start(fake_aws.Store(serve_range, certificate))
                self.fails(3, "TLS: the server was not trusted",
                           {"AWS_ENDPOINT_URL": f"https://127.0.0.1:{store.port}"})
                self.assertEqual(store.requests, [])

    def test_N23_old_tls_is_refused(self):
        def old(context):
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
            context.set_ciphers("ALL:@SECLEVEL=0")
        store = self.start(fake_aws.Store(serve_range, self.certificate, old))
        self.fails(3, "TLS", {"AWS_ENDPOINT_URL": f"https://127.0.0.1:{store.port}"})

    def test_N23_own_authority_and_versions(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            def only(context, version=version):
                context.minimum_version = context.maximum_version = version
            store = self.start(fake_aws.Store(serve_range, self.certificate, only))
            self.loads({"AWS_ENDPOINT_URL": f"https://127.0.0.1:{store.port}"})

    def test_N23_http_where_tls_was_asked_for(self):
        store = self.start(fake_aws.Store(serve_range))
        self.fails(3, "TLS", {"AWS_ENDPOINT_URL": f"https://127.0.0.1:{store.port}",
                              "STREAMER_MAX_ATTEMPTS": "2"})

    def test_N23_cut_connections_recover(self):
        env, _, proxy = self.aws(serve_range, cut_after=200_000, cuts=3)
        self.loads(env)
        # In the handshake too.
        env, _, proxy = self.aws(serve_range, cut_after=100, cuts=2)
        self.loads(env)
        self.assertLess(proxy.cuts, 0)

    def test_a_missing_ca_bundle_says_so(self):
        self.fails(3, "CA bundle", {"AWS_CA_BUNDLE": "/nowhere.pem"})

    def test_a_folder_of_authorities_is_believed_and_nobody_else(self):
        env, _, _ = self.aws(serve_range)
        hashed = os.path.join(self.folder, "hashed")
        other = os.path.join(self.folder, "other")
        for folder, name in ((hashed, self.authority.certificate),
                             (other, certificates.Authority(self.folder, "other").certificate)):
            os.mkdir(folder)
            shutil.copy(name, os.path.join(folder, "ca.pem"))
            subprocess.run(["openssl", "rehash", folder], check=True)
        self.loads({**env, "AWS_CA_BUNDLE": hashed})
        self.loads({**env, "AWS_CA_BUNDLE": "", "SSL_CERT_DIR": "/nowhere:" + hashed})
        self.loads({**env, "AWS_CA_BUNDLE": "", "REQUESTS_CA_BUNDLE": self.authority.certificate,
                    "SSL_CERT_DIR": other})
        self.fails(3, "", {**env, "AWS_CA_BUNDLE": other})
        self.fails(3, "", {**env, "AWS_CA_BUNDLE": "", "SSL_CERT_DIR": other})

    def test_a_server_that_asks_who_we_are_is_shown_the_client_certificate(self):
        clients = certificates.Authority(self.folder, "clients")
        names = []

        def answer(handler):
            names.append(handler.connection.getpeercert()["subject"][0][0][1])
            return serve_range(handler)

        def configure(context):
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients.certificate)

        store = self.start(fake_aws.Store(answer, self.certificate, configure))
        proxy = self.start(fake_aws.ConnectProxy(store.port))
        env = {"HTTPS_PROXY": proxy.url}
        certificate, key = clients.issue("reader", "DNS:reader")
        both = os.path.join(self.folder, "both.pem")
        with open(both, "w", encoding="ascii") as file:
            for name in (certificate, key):
                with open(name, encoding="ascii") as part:
                    file.write(part.read())
        self.loads({**env, "STREAMER_CLIENT_CERTIFICATE": certificate, "STREAMER_CLIENT_KEY": key})
        self.loads({**env, "STREAMER_CLIENT_CERTIFICATE": both})
        self.assertEqual(set(names), {"reader"})
        done = self.fails(3, "set client_certificate", env)
        self.assertLess(done.stderr.count("alert"), 5)  # said once, not tried ten times
        stranger, its_key = self.authority.issue("stranger", "DNS:stranger")
        self.fails(3, "set client_certificate", {**env, "STREAMER_CLIENT_CERTIFICATE": stranger,
                                                 "STREAMER_CLIENT_KEY": its_key})
        self.fails(2, "does not belong", {**env, "STREAMER_CLIENT_CERTIFICATE": certificate,
                                          "STREAMER_CLIENT_KEY": its_key})
        self.fails(3, "/nowhere.pem", {**env, "STREAMER_CLIENT_CERTIFICATE": "/nowhere.pem"})

    # ---- N25 ----

    def test_N25_a_proxy_that_refuses(self):
        env, store, _ = self.aws(serve_range, refuse=407)
        self.fails(3, "the proxy refused", env)
        self.assertEqual(store.requests, [])

    def test_N25_a_proxy_that_is_not_there(self):
        self.fails(3, "", {"HTTPS_PROXY": "http://user:proxy-password@127.0.0.1:1",
                           "STREAMER_MAX_ATTEMPTS": "2"})

    def test_N25_no_proxy(self):
        store = self.start(fake_aws.Store(serve_range))
        for value in ("127.0.0.1", "127.0.0.0/8", "*"):
            self.loads({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{store.port}",
                        "http_proxy": "http://127.0.0.1:1", "NO_PROXY": value})

    def test_N25_plain_http_through_a_proxy(self):
        # An http proxy gets the absolute URL, and Host is the store's.
        proxy = self.start(fake_aws.Store(serve_range))
        self.loads({"AWS_ENDPOINT_URL": "http://store.example.com",
                    "http_proxy": f"http://127.0.0.1:{proxy.port}"})
        self.assertEqual({r[0] for r in proxy.requests}, {"store.example.com"})
        self.assertTrue(all(r[1].startswith("http://store.example.com/") for r in proxy.requests))

    # ---- Settings ----

    def test_start_needs_one_request_and_no_head(self):
        store = self.start(fake_aws.Store(serve_range))
        env = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{store.port}"}
        done = self.streamer("inspect", "s3://bucket/m.safetensors", env=env)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(store.requests), 1)

    def test_headers_that_settings_ask_for(self):
        key = "A" * 42 + "E="
        store = self.start(fake_aws.Store(serve_range))
        self.loads({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{store.port}",
                    "STREAMER_REQUESTER_PAYS": "yes", "STREAMER_S3_VERSION_ID": "v/1",
                    "STREAMER_S3_EXPECTED_BUCKET_OWNER": "123456789012",
                    "STREAMER_S3_SSE_CUSTOMER_KEY": key})
        host, path, headers = store.requests[-1]
        headers = {name.lower(): value for name, value in headers.items()}
        self.assertEqual(path, "/bucket/m.safetensors?versionId=v%2F1")
        self.assertEqual(headers["x-amz-request-payer"], "requester")
        self.assertEqual(headers["x-amz-expected-bucket-owner"], "123456789012")
        self.assertEqual(headers["x-amz-server-side-encryption-customer-algorithm"], "AES256")
        for name in ("x-amz-request-payer", "x-amz-server-side-encryption-customer-key-md5"):
            self.assertIn(name, headers["authorization"])

    def test_the_doctor_of_a_file_needs_no_list(self):
        def answer(handler):
            if handler.headers.get("Range") is None and handler.command == "GET":
                return error(403, "AccessDenied")
            return serve_range(handler)
        store = self.start(fake_aws.Store(answer))
        env = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{store.port}"}
        done = self.streamer("doctor", "s3://bucket/m.safetensors", env=env)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, "list .* not needed for a file, and not possible: .*AccessDenied")
        self.assertRegex(done.stdout, "ok +model .* 1 tensor,")
        done = self.streamer("doctor", "s3://bucket/", env=env)
        self.assertNotEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, "FAILED list")

    def test_a_project_of_googles_is_not_charged_for_s3(self):
        store = self.start(fake_aws.Store(serve_range))
        self.loads({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{store.port}",
                    "STREAMER_REQUESTER_PAYS": "my-project"})
        self.assertNotIn("x-amz-request-payer", {name.lower() for name in store.requests[-1][2]})

    def test_endpoints_by_precedence(self):
        store = self.start(fake_aws.Store(serve_range))
        here = f"http://127.0.0.1:{store.port}"
        nowhere = "http://127.0.0.1:1"
        config = os.path.join(self.folder, "endpoint-config")
        with open(config, "w", encoding="ascii") as file:
            file.write(f"[default]\nservices = lab\n[services lab]\ns3 =\n  endpoint_url = {here}\n")
        for env in ({"AWS_ENDPOINT_URL_S3": here, "AWS_ENDPOINT_URL": nowhere},
                    {"AWS_ENDPOINT_URL_S3": here, "AWS_ENDPOINT_URL": nowhere,
                     "RUNAI_STREAMER_S3_ENDPOINT": nowhere},
                    {"RUNAI_STREAMER_S3_ENDPOINT": here, "AWS_ENDPOINT_URL": nowhere},
                    {"AWS_ENDPOINT_URL": here, "RUNAI_STREAMER_S3_ENDPOINT": here},
                    {"AWS_CONFIG_FILE": config}):
            with self.subTest(env):
                self.loads(env)

    def test_W3_what_cannot_be_verified_is_seen_by_default(self):
        checksums = {}

        def answer(handler):
            if handler.command == "HEAD":
                return 200, {"ETag": '"one"', **checksums}, b""
            return serve_range(handler)
        store = self.start(fake_aws.Store(answer))

        def load(verify, *more):
            environment = {"PATH": os.environ["PATH"], "HOME": self.folder,
                           "AWS_ACCESS_KEY_ID": "KEYID", "AWS_SECRET_ACCESS_KEY": SECRET,
                           "AWS_EC2_METADATA_DISABLED": "true",
                           "AWS_ENDPOINT_URL": f"http://127.0.0.1:{store.port}"}
            return subprocess.run([STREAMER, "load", "s3://bucket/m.safetensors", "--set",
                                   f"verify={verify}", *more], env=environment,
                                  capture_output=True, text=True, timeout=60)
        for headers in ({}, {"x-amz-checksum-crc32": "AAAAAA==-3",
                             "x-amz-checksum-type": "COMPOSITE"},
                        {"x-amz-checksum-crc32": "?"}):
            with self.subTest(headers):
                checksums = headers
                done = load("store")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("warning: s3://bucket/m.safetensors is not verified", done.stderr)
                self.assertIn("verified: none of 1 file ", done.stdout)
                counts = json.loads(load("store", "--json").stdout)
                self.assertEqual((counts["objects"], counts["objects_verified"]), (1, 0))
                done = load("required")
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn("cannot be verified", done.stderr)
        checksums = {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(FILE).digest())
                     .decode(), "x-amz-checksum-type": "FULL_OBJECT"}
        done = load("required")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("verified: 1 of 1 file\n", done.stdout)

    def test_unsigned_requests_carry_nothing(self):
        store = self.start(fake_aws.Store(serve_range))
        self.loads({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{store.port}",
                    "RUNAI_STREAMER_S3_UNSIGNED": "1"})
        for _, _, headers in store.requests:
            self.assertFalse([name for name in headers if name.lower().startswith("x-amz")])
            self.assertNotIn("Authorization", headers)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
