#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The streamer command against a real S3 store: radosgw_test.py STREAMER SOURCE_ROOT"""
import base64
import hashlib
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest

STREAMER, ROOT = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
for folder in ("servers", "support"):
    sys.path.insert(0, os.path.join(ROOT, "tests", folder))

import certificates  # noqa: E402
import radosgw  # noqa: E402
import s3_client  # noqa: E402
from store_case import CANARY, ODD_NAMES, StoreCase, checkpoint  # noqa: E402


class RealStore(StoreCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = cls.temporary.name
        cls.authority = certificates.Authority(cls.folder)
        cls.store = radosgw.Radosgw(os.path.join(cls.folder, "ceph"), cls.authority)
        cls.addClassCleanup(cls.store.stop)
        cls.store.start()
        cls.client = s3_client.Client(cls.store.url(), radosgw.ACCESS_KEY, radosgw.SECRET_KEY)
        cls.client.make_bucket("models")
        cls.upload(cls.client, ODD_NAMES)

    def streamer(self, *arguments, env=None, gateway="http"):
        environment = {
            "AWS_ENDPOINT_URL": self.store.url(gateway), "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": radosgw.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": radosgw.SECRET_KEY,
            "AWS_EC2_METADATA_DISABLED": "true", **(env or {})}
        return self.run_streamer(STREAMER, arguments, environment,
                                 ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"))

    def test_sharded_checkpoint_by_every_way(self):
        self.assertEqual(self.digest("s3://models/llama 3/"), self.digests)
        self.assertEqual(self.digest("s3://models/llama 3"), self.digests)
        tls = {"AWS_CA_BUNDLE": self.authority.certificate}
        self.assertEqual(self.digest("s3://models/llama 3/", gateway="https", env=tls), self.digests)
        virtual = {"STREAMER_S3_ADDRESSING": "virtual",
                   "AWS_ENDPOINT_URL": f"http://s3.localhost:{self.store.http}"}
        self.assertEqual(self.digest("s3://models/llama 3/", env=virtual), self.digests)
        virtual["AWS_ENDPOINT_URL"] = f"https://s3.localhost:{self.store.https}"
        self.assertEqual(self.digest("s3://models/llama 3/", env={**virtual, **tls}), self.digests)

    def test_odd_names(self):
        listed = self.streamer("ls", "-r", "--json", "s3://models/odd/")
        self.assertEqual(listed.returncode, 0, listed.stderr[-2000:])
        uris = {json.loads(line)["uri"] for line in listed.stdout.splitlines()}
        for number, name in enumerate(ODD_NAMES):
            uri = f"s3://models/odd/{name}.safetensors"
            with self.subTest(name=name):
                self.assertIn(uri, uris)
                self.assertEqual(self.digest(uri), getattr(self, f"odd_{number}"))

    def test_google_with_hmac_keys(self):
        # The same signatures under another scheme.
        env = {"STREAMER_GCS_ENDPOINT": self.store.url(),
               "STREAMER_GCS_CREDENTIALS": f"hmac:{radosgw.ACCESS_KEY}:{radosgw.SECRET_KEY}",
               "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_ENDPOINT_URL": None}
        self.assertEqual(self.digest("gs://models/llama 3/", env=env), self.digests)
        for number, name in enumerate(ODD_NAMES):
            with self.subTest(name=name):
                self.assertEqual(self.digest(f"gs://models/odd/{name}.safetensors", env=env),
                                 getattr(self, f"odd_{number}"))
        env["STREAMER_GCS_CREDENTIALS"] = f"hmac:{radosgw.ACCESS_KEY}:{CANARY}"
        done = self.streamer("inspect", "gs://models/llama 3/", env=env)
        self.assertEqual(done.returncode, 3)
        self.assertIn("403 SignatureDoesNotMatch", done.stderr)

    def test_listing(self):
        listed = self.streamer("ls", "--json", "s3://models/llama 3")
        entries = [json.loads(line) for line in listed.stdout.splitlines()]
        names = [entry["uri"] for entry in entries]
        self.assertEqual(names, sorted(names))
        self.assertIn({"uri": "s3://models/llama 3/sub/", "bytes": 0, "is_folder": True}, entries)
        self.assertIn({"uri": "s3://models/llama 3/config.json", "bytes": 8, "is_folder": False},
                      entries)

    def test_paging(self):
        self.client.make_bucket("many")
        for number in range(1005):
            self.client.put("many", f"p/{number:04}", b"x")
        listed = self.streamer("ls", "s3://many/p/")
        self.assertEqual(len(listed.stdout.splitlines()), 1005)

    def test_pull(self):
        target = os.path.join(self.folder, "pulled")
        done = self.streamer("pull", "s3://models/llama 3/", target, "--allow", "*.json",
                             "--ignore", "*index*")
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        found = sorted(os.path.relpath(os.path.join(folder, name), target)
                       for folder, _, names in os.walk(target) for name in names)
        self.assertEqual(found, ["config.json", "sub/tokenizer.json"])
        with open(os.path.join(target, "sub/tokenizer.json"), "rb") as file:
            self.assertEqual(file.read(), b'{"b": 2}')
        # Names that lead outside are named, and nothing appears there.
        before = set(os.listdir(self.folder))
        done = self.streamer("pull", "s3://models/odd/", os.path.join(self.folder, "escape"))
        self.assertEqual(done.returncode, 2, done.stderr[-2000:])
        self.assertIn("s3://models/odd/", done.stderr)
        self.assertEqual(set(os.listdir(self.folder)) - before, {"escape"})
        # A symbolic link on the way.
        os.makedirs(os.path.join(self.folder, "outside"))
        trap = os.path.join(self.folder, "trap")
        os.makedirs(trap)
        os.symlink("../outside", os.path.join(trap, "sub"))
        done = self.streamer("pull", "s3://models/llama 3/", trap, "--allow", "*tokenizer.json")
        self.assertEqual(done.returncode, 3)
        self.assertEqual(os.listdir(os.path.join(self.folder, "outside")), [])

    def test_refusals_have_their_kinds(self):
        def fails(code, words, env, gateway="http"):
            done = self.streamer("inspect", "s3://models/llama 3/", env=env, gateway=gateway)
            with self.subTest(words=words):
                self.assertEqual(done.returncode, code, done.stderr[-2000:])
                self.assertIn(words, done.stderr)
        fails(3, "403 SignatureDoesNotMatch", {"AWS_SECRET_ACCESS_KEY": CANARY + "/wrong"})
        fails(3, "403 InvalidAccessKeyId", {"AWS_ACCESS_KEY_ID": "NOBODY"})
        fails(3, "403 AccessDenied", {"RUNAI_STREAMER_S3_UNSIGNED": "1"})
        fails(3, "no credentials were found", {"AWS_ACCESS_KEY_ID": None,
                                               "AWS_SECRET_ACCESS_KEY": None})
        fails(3, "TLS: the server was not trusted", {}, gateway="https")
        fails(3, "no connection", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1",
                                   "STREAMER_MAX_ATTEMPTS": "2"})
        fails(2, "not a region", {"AWS_REGION": "evil.com/"})
        done = self.streamer("inspect", "s3://nobucket/x.safetensors")
        self.assertEqual(done.returncode, 3)
        self.assertIn("NoSuchBucket", done.stderr)
        done = self.streamer("inspect", "s3://models/none.safetensors")
        self.assertIn("NoSuchKey", done.stderr)

    def test_session_keys(self):
        sts = s3_client.Client(self.store.url("sts"), radosgw.ACCESS_KEY, radosgw.SECRET_KEY)
        self.allow_everything(sts)
        role = self.make_role(sts, "reader", {
            "Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/tester"]},
            "Action": ["sts:AssumeRole"]})
        answer = sts.form({"Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": role,
                           "RoleSessionName": "session", "DurationSeconds": "900"}).decode()
        def value(tag):
            return answer.split(f"<{tag}>")[1].split("<")[0]
        keys = {"AWS_ACCESS_KEY_ID": value("AccessKeyId"),
                "AWS_SECRET_ACCESS_KEY": value("SecretAccessKey"),
                "AWS_SESSION_TOKEN": value("SessionToken")}
        self.assertEqual(self.digest("s3://models/llama 3/", env=keys, gateway="sts"), self.digests)
        # The same through our own request to STS.
        config = os.path.join(self.folder, "config")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"[profile base]\naws_access_key_id={radosgw.ACCESS_KEY}\n"
                       f"aws_secret_access_key={radosgw.SECRET_KEY}\n"
                       f"[profile role]\nrole_arn={role}\nsource_profile=base\n")
        profile = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None,
                   "AWS_CONFIG_FILE": config, "AWS_PROFILE": "role"}
        self.assertEqual(self.digest("s3://models/llama 3/", env=profile, gateway="sts"),
                         self.digests)
        first = "B" if keys["AWS_SESSION_TOKEN"].startswith("A") else "A"
        keys["AWS_SESSION_TOKEN"] = first + keys["AWS_SESSION_TOKEN"][1:]
        done = self.streamer("inspect", "s3://models/llama 3/", env=keys, gateway="sts")
        # This store says InvalidArgument to a token that it cannot read.
        self.assertIn(done.returncode, (2, 3), done.stderr[-2000:])

    def test_web_identity(self):
        sts = s3_client.Client(self.store.url("sts"), radosgw.ACCESS_KEY, radosgw.SECRET_KEY)
        issuer = Issuer(self.folder)
        self.addCleanup(issuer.stop)
        sts.form({"Action": "CreateOpenIDConnectProvider", "Version": "2010-05-08",
                  "Url": issuer.url, "ClientIDList.member.1": "streamer",
                  "ThumbprintList.member.1": issuer.thumbprint}, service="iam")
        role = self.make_role(sts, "web", {
            "Effect": "Allow",
            "Principal": {"Federated": ["arn:aws:iam:::oidc-provider/" +
                                        issuer.url.split("://")[1]]},
            "Action": ["sts:AssumeRoleWithWebIdentity"],
            "Condition": {"StringEquals": {issuer.url.split("://")[1] + ":app_id": "streamer"}}})
        token = os.path.join(self.folder, "token")
        with open(token, "w", encoding="ascii") as file:
            file.write(issuer.token("streamer") + "\n")
        env = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None,
               "AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": role}
        self.assertEqual(self.digest("s3://models/llama 3/", env=env, gateway="sts"), self.digests)

    def test_doctor(self):
        done = self.streamer("doctor", "s3://models/llama 3/",
                             env={"AWS_CA_BUNDLE": self.authority.certificate}, gateway="https")
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        for words in ("endpoint", "from AWS_ENDPOINT_URL", "path style", "from AWS_REGION",
                      "127.0.0.1", "TLSv1", "from the environment", "list", "stat", "MB/s"):
            self.assertIn(words, done.stdout)
        done = self.streamer("doctor", "s3://models/llama 3/", gateway="https")
        self.assertEqual(done.returncode, 3)
        self.assertIn("FAILED connection", done.stdout)
        self.assertIn("AWS_CA_BUNDLE", done.stdout)
        self.assertNotIn("credentials", done.stdout)

    # ---- What STS needs ----

    def allow_everything(self, sts):
        policy = json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*"}]}, separators=(",", ":"))
        sts.form({"Action": "PutUserPolicy", "Version": "2010-05-08", "UserName": "tester",
                  "PolicyName": "all", "PolicyDocument": policy}, service="iam")

    def make_role(self, sts, name, statement):
        trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]},
                           separators=(",", ":"))
        sts.form({"Action": "CreateRole", "Version": "2010-05-08", "RoleName": name, "Path": "/",
                  "AssumeRolePolicyDocument": trust}, service="iam")
        policy = json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["s3:*"], "Resource": "arn:aws:s3:::*"}]},
            separators=(",", ":"))
        sts.form({"Action": "PutRolePolicy", "Version": "2010-05-08", "RoleName": name,
                  "PolicyName": "read", "PolicyDocument": policy}, service="iam")
        return "arn:aws:iam:::role/" + name


class Issuer:
    """An OpenID Connect issuer on loopback: its keys, and tokens that it signs."""

    def __init__(self, folder):
        authority = certificates.Authority(folder, "issuer")
        self.key = authority.key
        der = subprocess.run(["openssl", "x509", "-in", authority.certificate, "-outform", "DER"],
                             check=True, capture_output=True).stdout
        self.thumbprint = hashlib.sha1(der).hexdigest().upper()
        keys = json.dumps({"keys": [{"kid": "1", "kty": "RSA", "alg": "RS256", "use": "sig",
                                     "x5c": [base64.b64encode(der).decode()]}]}).encode()
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = keys
                if "openid-configuration" in self.path:
                    body = json.dumps({"issuer": issuer.url,
                                       "jwks_uri": issuer.url + "/certs"}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def token(self, audience):
        def encode(value):
            return base64.urlsafe_b64encode(value).rstrip(b"=")
        now = int(time.time())
        claims = {"iss": self.url, "sub": "pod", "aud": audience, "client_id": audience,
                  "iat": now - 10, "exp": now + 600}
        text = encode(json.dumps({"alg": "RS256", "typ": "JWT", "kid": "1"}).encode()) + b"." + \
            encode(json.dumps(claims).encode())
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text,
                                   check=True, capture_output=True).stdout
        return (text + b"." + encode(signature)).decode()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
