#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The streamer command against Azurite: azurite_test.py STREAMER SOURCE_ROOT"""
import base64
import http.client
import http.server
import json
import os
import ssl
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

STREAMER, ROOT = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
for folder in ("servers", "support"):
    sys.path.insert(0, os.path.join(ROOT, "tests", folder))

import azure_client  # noqa: E402
import azurite  # noqa: E402
import certificates  # noqa: E402
from store_case import CANARY, ODD_NAMES, StoreCase  # noqa: E402

# The service makes "/" of a backslash, and Azurite resolves "." and ".." and merges slashes.
NAMES = [name.replace("\\", "") for name in ODD_NAMES
         if not any(part in name for part in ("/./", "/../", "//"))]


def token(minutes=60):
    """What Azurite takes for a token of Microsoft Entra: it does not check the signature."""
    def encode(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
    now = int(time.time())
    claims = {"aud": "https://storage.azure.com", "iss": "https://sts.windows.net/test/",
              "nbf": now - 60, "iat": now - 60, "exp": now + 60 * minutes}
    return f"{encode({'alg': 'RS256', 'typ': 'JWT'})}.{encode(claims)}.c2lnbmF0dXJl"


class TokenService:
    """Microsoft's login, as far as a service principal sees it."""

    def __init__(self):
        service = self
        self.asked = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                form = urllib.parse.parse_qs(
                    self.rfile.read(int(self.headers["Content-Length"])).decode())
                service.asked += 1
                is_right = form.get("client_secret") == [CANARY] and self.path == "/t/oauth2/v2.0/token"
                body = json.dumps({"access_token": token(), "expires_in": 3599} if is_right
                                  else {"error": "invalid_client"}).encode()
                self.send_response(200 if is_right else 401)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class SecureClient(azure_client.Client):
    def __init__(self, *arguments, ca):
        super().__init__(*arguments)
        context = ssl.create_default_context(cafile=ca)
        self.connect = lambda host: http.client.HTTPSConnection(host, context=context)


class RealStore(StoreCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = cls.temporary.name
        cls.authority = certificates.Authority(cls.folder)
        cls.store = azurite.Azurite(os.path.join(cls.folder, "azurite"), cls.authority)
        cls.addClassCleanup(cls.store.stop)
        cls.store.start()
        cls.client = azure_client.Client(cls.store.url(), azurite.ACCOUNT, azurite.KEY)
        secure = SecureClient(cls.store.url("https"), azurite.ACCOUNT, azurite.KEY,
                              ca=cls.authority.certificate)
        for client in (cls.client, secure):
            client.make_container("models")
            cls.upload(client, NAMES)

    def streamer(self, *arguments, env=None, secrets=()):
        environment = {"AZURE_STORAGE_ACCOUNT_NAME": azurite.ACCOUNT,
                       "AZURE_STORAGE_ACCOUNT_KEY": azurite.KEY,
                       "AZURE_STORAGE_ENDPOINT": self.store.url(),
                       "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
                       "STREAMER_CA_BUNDLE": self.authority.certificate, **(env or {})}
        return self.run_streamer(STREAMER, arguments, environment,
                                 ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN",
                                  "AZURE_STORAGE_TOKEN", "AZURE_CLIENT_SECRET"), secrets)

    def test_sharded_checkpoint_by_every_way(self):
        keyless = {"AZURE_STORAGE_ACCOUNT_KEY": None}
        self.assertEqual(self.digest("az://models/llama 3/"), self.digests)
        self.assertEqual(self.digest("abfs://models/llama 3"), self.digests)
        text = (f"DefaultEndpointsProtocol=http;AccountName={azurite.ACCOUNT};"
                f"AccountKey={azurite.KEY};BlobEndpoint={self.store.url()};")
        connection = {"AZURE_STORAGE_CONNECTION_STRING": text, "AZURE_STORAGE_ACCOUNT_NAME": None,
                      "AZURE_STORAGE_ENDPOINT": None, **keyless}
        self.assertEqual(self.digest("az://models/llama 3/", env=connection,
                                     secrets=[azurite.KEY]), self.digests)
        sas = self.client.sas("models")
        signature = sas.split("sig=")[1]
        self.assertEqual(self.digest("az://models/llama 3/", secrets=[signature],
                                     env={"AZURE_STORAGE_SAS_TOKEN": "?" + sas, **keyless}),
                         self.digests)
        url = f"{self.store.url()}/models/llama%203/?{sas}"
        self.assertEqual(self.digest(url, env=keyless, secrets=[signature]), self.digests)
        secure = {"AZURE_STORAGE_ENDPOINT": self.store.url("https")}
        self.assertEqual(self.digest("az://models/llama 3/", env=secure), self.digests)
        self.assertEqual(self.digest("az://models/llama 3/",
                                     env={"AZURE_STORAGE_TOKEN": token(), **secure, **keyless}),
                         self.digests)

    def test_service_principal(self):
        service = TokenService()
        self.addCleanup(service.stop)
        env = {"AZURE_STORAGE_ACCOUNT_KEY": None, "AZURE_AUTHORITY_HOST": service.url,
               "AZURE_STORAGE_ENDPOINT": self.store.url("https"), "AZURE_TENANT_ID": "t",
               "AZURE_CLIENT_ID": "app", "AZURE_CLIENT_SECRET": CANARY}
        self.assertEqual(self.digest("az://models/llama 3/", env=env), self.digests)
        self.assertEqual(service.asked, 1)
        done = self.streamer("inspect", "az://models/llama 3/",
                             env={**env, "AZURE_CLIENT_SECRET": CANARY + "/wrong"})
        self.assertEqual(done.returncode, 3)
        self.assertIn("invalid_client", done.stderr)

    def test_odd_names(self):
        listed = self.streamer("ls", "-r", "--json", "az://models/odd/")
        self.assertEqual(listed.returncode, 0, listed.stderr[-2000:])
        uris = {json.loads(line)["uri"] for line in listed.stdout.splitlines()}
        for number, name in enumerate(NAMES):
            uri = f"az://models/odd/{name}.safetensors"
            with self.subTest(name=name):
                self.assertIn(uri, uris)
                self.assertEqual(self.digest(uri), getattr(self, f"odd_{number}"))

    def test_paging(self):
        self.client.make_container("many")
        for number in range(1005):
            self.client.put("many", f"p/{number:04}", b"x")
        listed = self.streamer("ls", "az://many/p/")
        self.assertEqual(len(listed.stdout.splitlines()), 1005)

    def test_pull(self):
        target = os.path.join(self.folder, "pulled")
        done = self.streamer("pull", "az://models/llama 3/", target, "--allow", "*.json",
                             "--ignore", "*index*")
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        found = sorted(os.path.relpath(os.path.join(folder, name), target)
                       for folder, _, names in os.walk(target) for name in names)
        self.assertEqual(found, ["config.json", "sub/tokenizer.json"])

    def test_refusals_have_their_kinds(self):
        def fails(words, env, uri="az://models/llama 3/"):
            done = self.streamer("inspect", uri, env=env)
            with self.subTest(words=words):
                self.assertEqual(done.returncode, 3, done.stderr[-2000:])
                self.assertIn(words, done.stderr)
        wrong = base64.b64encode(CANARY.encode()).decode()
        fails("403 AuthorizationFailure", {"AZURE_STORAGE_ACCOUNT_KEY": wrong})
        keyless = {"AZURE_STORAGE_ACCOUNT_KEY": None}
        fails("AuthorizationFailure", {"AZURE_STORAGE_SAS_TOKEN": self.client.sas("models", -5),
                                       **keyless})
        fails("AuthorizationPermissionMismatch",
              {"AZURE_STORAGE_SAS_TOKEN": self.client.sas("models", permissions="w"), **keyless})
        fails("403 AuthenticationFailed",
              {"AZURE_STORAGE_TOKEN": token(-5), "AZURE_STORAGE_ENDPOINT": self.store.url("https"),
               **keyless})
        fails("no credentials were found", keyless)
        fails("403 AuthorizationFailure", {"STREAMER_AZURE_CREDENTIALS": "anonymous", **keyless},
              "az://models/llama 3/model-00001-of-00004.safetensors")
        fails("ContainerNotFound", {}, "az://nocontainer/")
        fails("BlobNotFound", {}, "az://models/none.safetensors")
        fails("TLS: the server was not trusted",
              {"STREAMER_CA_BUNDLE": None, "AZURE_STORAGE_ENDPOINT": self.store.url("https")})

    def test_doctor(self):
        done = self.streamer("doctor", "az://models/llama 3/",
                             env={"AZURE_STORAGE_ENDPOINT": self.store.url("https")})
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        for words in ("endpoint", "from AZURE_STORAGE_ENDPOINT", "container", "TLSv1",
                      "the account's key, from AZURE_STORAGE_ACCOUNT_KEY", "list", "stat", "MB/s"):
            self.assertIn(words, done.stdout)


if __name__ == "__main__":
    if azurite.program() is None:
        print("azurite-blob is not there: npm install azurite, and set STREAMER_AZURITE")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
