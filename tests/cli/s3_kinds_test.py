#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Directory buckets (S3 Express) and access points, through the streamer command:
s3_kinds_test.py STREAMER ROOT

AWS' own host names, behind a proxy that leads to a store on loopback, which checks every signature.
"""
import datetime
import hashlib
import hmac
import os
import re
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.parse

STREAMER, ROOT = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
for folder in ("servers", "support"):
    sys.path.insert(0, os.path.join(ROOT, "tests", folder))

import certificates  # noqa: E402
import fake_aws  # noqa: E402
from store_case import checkpoint  # noqa: E402

KEYS = {"KEYID": "CANARYSECRET/key+1"}
TOKEN = "CANARYsessionOfTheCaller"
BUCKET = "models--use1-az4--x-s3"
ZONE = f"{BUCKET}.s3express-use1-az4.us-east-1.amazonaws.com"
ARN = "arn:aws:s3:eu-west-1:123456789012:accesspoint/reader"
POINT = "reader-123456789012.s3-accesspoint.eu-west-1.amazonaws.com"


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def check_signature(handler, secrets):
    """(key id, region, service) of a request that is signed right; fails with AssertionError."""
    found = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=(\w+)/(\d+)/([\w-]+)/(\w+)/aws4_request, "
                         r"SignedHeaders=([\w;-]+), Signature=(\w+)",
                         handler.headers.get("Authorization") or "")
    assert found, handler.headers.get("Authorization")
    key_id, date, region, service, names, signature = found.groups()
    path, _, query = handler.path.partition("?")
    lines = "".join(f"{name}:{handler.headers[name]}\n" for name in names.split(";"))
    canonical = (f"{handler.command}\n{path}\n{query}\n{lines}\n{names}\n"
                 f"{hashlib.sha256(b'').hexdigest()}")
    text = (f"AWS4-HMAC-SHA256\n{handler.headers['x-amz-date']}\n"
            f"{date}/{region}/{service}/aws4_request\n"
            f"{hashlib.sha256(canonical.encode()).hexdigest()}")
    key = ("AWS4" + secrets[key_id]).encode()
    for part in (date, region, service, "aws4_request"):
        key = _hmac(key, part)
    assert hmac.new(key, text.encode(), hashlib.sha256).hexdigest() == signature, canonical
    for name in handler.headers:
        assert not name.lower().startswith("x-amz-") or name.lower() in names, name
    return key_id, region, service


class Store:
    """A bucket that is listed out of order, two entries a page, with the same folder on several."""

    def __init__(self, host, session_seconds=300, signed_for=("us-east-1", "s3express")):
        self.host, self.session_seconds, self.signed_for = host, session_seconds, signed_for
        self.has_sessions = "s3express" in host
        self.objects, self.sessions, self.revoked = {}, {}, set()
        self.lock = threading.Lock()
        self.wrong, self.modes = [], []
        self.revoke_after = 10 ** 9  # reads, after which the session that is in use is revoked

    def answer(self, handler):
        try:
            return self._answer(handler)
        except (AssertionError, KeyError) as wrong:
            self.wrong.append(repr(wrong))
            return 403, {}, b"<Error><Code>SignatureDoesNotMatch</Code></Error>"

    def _answer(self, handler):
        assert handler.headers["Host"] == self.host, handler.headers["Host"]
        path, _, query = handler.path.partition("?")
        given = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        with self.lock:
            secrets = KEYS | {key: secret for key, (secret, _) in self.sessions.items()}
        key_id, *signed_for = check_signature(handler, secrets)
        assert tuple(signed_for) == self.signed_for, signed_for
        token = handler.headers.get("x-amz-s3session-token")
        if "session" in given:
            assert key_id in KEYS and token is None and path == "/"
            assert handler.headers.get("x-amz-security-token") == TOKEN
            return self._create_session(handler)
        if self.has_sessions:
            assert handler.headers.get("x-amz-security-token") is None
            assert self.sessions[key_id][1] == token, "another session"
            if key_id in self.revoked:
                return 403, {}, b"<Error><Code>ExpiredToken</Code></Error>"
        if "list-type" in given:
            assert "start-after" not in given
            assert given["prefix"] in ("",) or given["prefix"].endswith("/")
            return self._list(given)
        return self._read(handler, urllib.parse.unquote(path)[1:], key_id)

    def _create_session(self, handler):
        with self.lock:
            self.modes.append(handler.headers.get("x-amz-create-session-mode"))
            number = len(self.sessions)
            key, secret, token = (f"SESSION{number}", f"CANARYsecretOfSession{number}",
                                  f"CANARYtokenOfSession{number}")
            self.sessions[key] = (secret, token)
        until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(
            seconds=self.session_seconds)
        return 200, {}, (
            f"<CreateSessionResult><Credentials><SessionToken>{token}</SessionToken>"
            f"<SecretAccessKey>{secret}</SecretAccessKey><AccessKeyId>{key}</AccessKeyId>"
            f"<Expiration>{until:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials>"
            f"</CreateSessionResult>").encode()

    def _list(self, given):
        prefix, rows = given["prefix"], []
        for key, content in sorted(self.objects.items(), key=lambda item: item[0][::-1]):
            if not key.startswith(prefix):
                continue
            folder = key[len(prefix):].partition("/")
            if given.get("delimiter") and folder[1]:
                rows.append(f"<CommonPrefixes><Prefix>{prefix}{folder[0]}/</Prefix>"
                            "</CommonPrefixes>")
            else:
                rows.append(f"<Contents><Key>{key}</Key><Size>{len(content)}</Size></Contents>")
        first = int(given.get("continuation-token", 0))
        most = min(2, int(given["max-keys"]))
        is_more = first + most < len(rows)
        return 200, {}, (
            f"<ListBucketResult><IsTruncated>{str(is_more).lower()}</IsTruncated>"
            f"{''.join(rows[first:first + most])}"
            + (f"<NextContinuationToken>{first + most}</NextContinuationToken>" if is_more else "")
            + "</ListBucketResult>").encode()

    def _read(self, handler, key, key_id):
        if key not in self.objects:
            return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        content = self.objects[key]
        first, last = map(int, re.match(r"bytes=(\d+)-(\d+)", handler.headers["Range"]).groups())
        last = min(last, len(content) - 1)
        with self.lock:
            self.revoke_after -= 1
            if self.revoke_after == 0:
                self.revoked.add(key_id)
        return 206, {"ETag": '"one"', "Content-Range": f"bytes {first}-{last}/{len(content)}"}, \
            content[first:last + 1]


class Kinds(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = temporary.name
        cls.authority = certificates.Authority(cls.folder)
        cls.certificate = cls.authority.issue("aws", f"DNS:{ZONE},DNS:{POINT}")
        cls.files, cls.digests = {}, {}
        for shard in (1, 2):
            content, digests = checkpoint({f"{shard}.{t}": 90_000 + t for t in range(4)}, shard)
            cls.files[f"m/model-0000{shard}-of-00002.safetensors"] = content
            cls.digests |= digests
        cls.files |= {"m/config.json": b"{}", "m/sub/a": b"1", "m/sub/b": b"2", "m/sub/c": b"3"}

    def start(self, store):
        store.objects = dict(self.files)
        server = fake_aws.Store(store.answer, self.certificate)
        self.addCleanup(server.stop)
        self.proxy = fake_aws.ConnectProxy(server.port)
        self.addCleanup(self.proxy.stop)
        return store

    def streamer(self, *arguments, env=None, code=0):
        environment = {"PATH": os.environ["PATH"], "HOME": self.folder, "AWS_REGION": "us-east-1",
                       "AWS_ACCESS_KEY_ID": "KEYID", "AWS_SECRET_ACCESS_KEY": KEYS["KEYID"],
                       "AWS_SESSION_TOKEN": TOKEN, "AWS_EC2_METADATA_DISABLED": "true",
                       "HTTPS_PROXY": self.proxy.url if hasattr(self, "proxy") else "",
                       "AWS_CA_BUNDLE": self.authority.certificate, **(env or {})}
        done = subprocess.run([STREAMER, "--log", "trace", *arguments], env=environment,
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode == 0, code == 0, done.stdout + done.stderr[-3000:])
        self.assertNotIn("CANARY", done.stdout + done.stderr)
        return done

    def digest(self, uri, **how):
        done = self.streamer("digest", uri, "--set", "debug.chunk_bytes=64KiB", **how)
        return dict(reversed(line.split(None, 1)) for line in done.stdout.splitlines())

    def names(self, *arguments):
        lines = self.streamer("ls", *arguments).stdout.splitlines()
        return [line.split(None, 1)[1] for line in lines]

    # ---- Directory buckets ----

    def test_a_directory_bucket_is_read_in_a_session(self):
        store = self.start(Store(ZONE))
        self.assertEqual(self.digest(f"s3://{BUCKET}/m"), self.digests)
        self.assertEqual(store.wrong, [])
        # One for all of its requests, and no more rights than reading needs.
        self.assertEqual(store.modes, ["ReadOnly"])
        self.assertEqual({host.split(":")[0] for host in self.proxy.hosts}, {ZONE})

    def test_a_listing_without_order_is_whole_and_sorted(self):
        self.start(Store(ZONE))
        root = f"s3://{BUCKET}/m/"
        self.assertEqual(self.names(root), [root + name for name in (
            "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
            "sub/")])
        self.assertEqual(self.names("-r", f"s3://{BUCKET}"),
                         [f"s3://{BUCKET}/{key}" for key in sorted(self.files)])

    def test_a_session_that_ends_is_renewed(self):
        store = self.start(Store(ZONE))
        store.revoke_after = 4
        self.assertEqual(self.digest(f"s3://{BUCKET}/m", env={"STREAMER_CONCURRENCY": "4"}),
                         self.digests)
        self.assertEqual(store.wrong, [])
        self.assertEqual(len(store.sessions), 2)

    def test_sessions_that_are_refused_say_so(self):
        store = self.start(Store(ZONE))
        store._create_session = lambda _: (403, {}, b"<Error><Code>AccessDenied</Code></Error>")
        done = self.streamer("ls", f"s3://{BUCKET}/m", code=3)
        self.assertIn("AccessDenied", done.stderr)
        self.assertIn("s3express:CreateSession", done.stderr)

    def test_the_doctor_knows_what_it_is(self):
        self.start(Store(ZONE))
        text = self.streamer("doctor", f"s3://{BUCKET}/m").stdout
        self.assertIn("a directory bucket (S3 Express) in zone use1-az4", text)
        self.assertIn("for the bucket's session: from CreateSession", text)

    # ---- Access points ----

    def test_an_access_point_is_read_by_its_arn(self):
        store = self.start(Store(POINT, signed_for=("eu-west-1", "s3")))
        for arn in (ARN, ARN.replace("accesspoint/", "accesspoint:")):
            self.assertEqual(self.digest(f"s3://{arn}/m"), self.digests)
            self.assertEqual(self.names(f"s3://{arn}/m/sub"),
                             [f"s3://{arn}/m/sub/{name}" for name in "abc"])
            self.streamer("pull", f"s3://{arn}/m", os.path.join(self.folder, "pulled"))
        self.assertEqual(store.wrong, [])
        self.assertIn("access point reader of account 123456789012",
                      self.streamer("doctor", f"s3://{ARN}/m").stdout)

    def test_other_arns_say_what_they_are(self):
        for arn, words in {
                "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap": "SigV4a",
                "arn:aws:s3-object-lambda:us-east-1:123456789012:accesspoint/x": "Object Lambda",
                "arn:aws:s3-outposts:us-east-1:123456789012:outpost/op-1/accesspoint/x": "Outposts",
                "arn:aws:s3:::bucket": "write s3://bucket/KEY",
                "arn:aws:s3:us-east-1:1234:accesspoint/x": "an account has 12 digits",
                "arn:aws:s3:cn-north-1:123456789012:accesspoint/x": "not a region of",
                "arn:aws:sqs:us-east-1:123456789012:queue": 'its service is "sqs"',
                "arn:aws:s3:us-east-1:123456789012:accesspoint/": "names no access point"}.items():
            done = self.streamer("ls", f"s3://{arn}/m", code=1)
            self.assertIn(words, done.stderr, arn)
        self.assertIn("NAME--ZONE--x-s3", self.streamer("ls", "s3://x--x-s3/m", code=1).stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
