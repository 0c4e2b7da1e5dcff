#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every row of docs/symptoms.md is what the library says: symptoms_test.py STREAMER SOURCE_ROOT
[LIBRARY]

A row names its scenario; the scenario's output must hold the row's text, in which … stands for
anything. With --show, prints what every scenario says.
"""
import base64
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

STREAMER, ROOT = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
LIBRARY = (os.path.abspath(sys.argv[3]) if len(sys.argv) > 3 and not sys.argv[3].startswith("-")
           else None)
sys.path[:0] = [os.path.join(ROOT, "tests", folder) for folder in ("servers", "support")]
import certificates  # noqa: E402
import fake_aws  # noqa: E402
import ports  # noqa: E402
import store_answers  # noqa: E402
from store_answers import MODEL, azure_error, error, one_object, safetensors  # noqa: E402
DOCS = os.path.join(ROOT, "docs", "symptoms.md")
SCENARIOS = {}
KEY = base64.b64encode(b"no real key at all").decode()

def scenario(function):
    SCENARIOS[function.__name__.replace("_", "-")] = function
    return function


def rows_of_docs():
    """(id, text) of each row."""
    with open(DOCS, encoding="utf-8") as file:
        for line in file:
            match = re.match(r"\| `([a-z0-9-]+)` \| (.*?) \|", line)
            if match:
                yield match.group(1), match.group(2).replace("`", "")


class World:
    """A folder, and servers that live as long as one scenario."""

    def __init__(self, shared):
        self.shared = shared
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = self.temporary.name
        self.servers = []

    def close(self):
        for server in self.servers:
            server.stop()
        self.temporary.cleanup()

    def write(self, name, content):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return path

    def serve(self, answer, certificate=None):
        """answer: a function of fake_aws.Store, or what it returns. Returns host:port."""
        server = fake_aws.Store(answer if callable(answer) else lambda _: answer, certificate)
        self.servers.append(server)
        return f"127.0.0.1:{server.port}"

    def run(self, *arguments, **env):
        environment = {"PATH": os.environ["PATH"], "HOME": self.folder,
                       "AWS_EC2_METADATA_DISABLED": "true", "NO_GCE_CHECK": "true",
                       "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
                       "STREAMER_MAX_ATTEMPTS": "3", **env}
        done = subprocess.run([STREAMER, *arguments], env=environment, capture_output=True,
                              text=True, timeout=120)
        return done.stdout + done.stderr

    def s3(self, answer, *more, command="load", uri="s3://bucket/m.safetensors", **env):
        return self.run(command, uri, *more, **{
            "AWS_ENDPOINT_URL": "http://" + self.serve(answer), "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "not-a-real-key", **env})

    def google(self, answer, **env):
        return self.run("load", "gs://bucket/m.safetensors", **{
            "STREAMER_GCS_ENDPOINT": "http://" + self.serve(answer),
            "STREAMER_GCS_CREDENTIALS": "token:not-a-real-token", **env})

    def azure(self, answer, **env):
        return self.run("load", "az://container/m.safetensors", **{
            "STREAMER_AZURE_ENDPOINT": f"http://{self.serve(answer)}/acct",
            "AZURE_STORAGE_ACCOUNT": "acct", "AZURE_STORAGE_KEY": KEY,
            **env})

    def python(self, code):
        environment = {"PATH": os.environ["PATH"], "STREAMER_LIBRARY": LIBRARY or "",
                       "PYTHONPATH": os.path.join(ROOT, "capi", "python"),
                       "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=self.folder,
                              capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr


# ---- Files ----

@scenario
def file_missing(world):
    return world.run("load", os.path.join(world.folder, "model.safetensors"))


@scenario
def file_denied(world):
    path = world.write("m.safetensors", MODEL)
    os.chmod(path, 0)
    os.chmod(world.folder, 0o755)
    who = {"user": 65534} if os.geteuid() == 0 else {}
    return subprocess.run([STREAMER, "load", path], capture_output=True, text=True, timeout=60,
                          env={"PATH": os.environ["PATH"]}, **who).stderr


@scenario
def file_short(world):
    return world.run("load", world.write("m.safetensors", MODEL[:-10]))


@scenario
def file_with_broken_header(world):
    return world.run("load", world.write("m.safetensors", safetensors(b'{"w": ')))


@scenario
def file_twice(world):
    path = world.write("m.safetensors", MODEL)
    return world.run("load", path, path)


@scenario
def folder_without_model(world):
    return world.run("load", world.folder)


@scenario
def shard_missing(world):
    world.write("model.safetensors.index.json",
                json.dumps({"weight_map": {"w": "model-00001-of-00001.safetensors"}}))
    return world.run("load", world.folder)


@scenario
def part_missing(world):
    world.write("model-00001-of-00002.safetensors", MODEL)
    return world.run("load", world.folder)


@scenario
def link_to_nowhere(world):
    world.write("a.safetensors", MODEL)
    os.symlink("../blobs/0123", os.path.join(world.folder, "b.safetensors"))
    return world.run("load", world.folder)


@scenario
def pointer_of_git_lfs(world):
    return world.run("load", world.write(
        "m.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"))


@scenario
def file_of_numpy(world):
    return world.run("load", world.write("m.safetensors", b"\x93NUMPY\x01\x00" + bytes(120)))


@scenario
def match_of_nothing(world):
    return world.run("load", world.write("m.safetensors", MODEL), "--match", "lm_head*")


@scenario
def tensor_twice(world):
    world.write("a.safetensors", MODEL)
    world.write("b.safetensors", MODEL)
    return world.run("load", world.folder)


@scenario
def manifest_without_file(world):
    manifest = world.write("SHA256SUMS", "0" * 64 + "  other.safetensors\n")
    return world.run("load", world.write("m.safetensors", MODEL), "--set", f"verify={manifest}")


@scenario
def file_damaged(world):
    manifest = world.write("SHA256SUMS", "0" * 64 + "  m.safetensors\n")
    return world.run("load", world.write("m.safetensors", MODEL), "--set", f"verify={manifest}")


# ---- The command and its settings ----

@scenario
def command_mistyped(world):
    return world.run("laod", "/models")


@scenario
def option_mistyped(world):
    return world.run("load", "/models", "--memory-limt", "8GiB")


@scenario
def set_without_value(world):
    return world.run("load", "/models", "--set", "memory_limit")


@scenario
def setting_mistyped(world):
    return world.run("load", "/models", "--set", "stall_timeout=20000")


@scenario
def setting_with_wrong_value(world):
    return world.run("load", world.write("m.safetensors", MODEL), STREAMER_CONCURRENCY="2.9")


@scenario
def cache_open_to_all(world):
    folder = os.path.join(world.folder, "cache")
    os.mkdir(folder)
    os.chmod(folder, 0o777)
    return world.run("load", "https://localhost/m.safetensors", "--set", f"cache_weights={folder}")


@scenario
def variable_misspelt(world):
    return world.run("load", world.write("m.safetensors", MODEL), STREAMER_MEMRY_LIMIT="1GiB")


@scenario
def memory_limit_too_small(world):
    return world.run("load", world.write("m.safetensors", MODEL), "--memory-limit", "10")


@scenario
def tensor_unknown(world):
    return world.run("load", world.write("m.safetensors", MODEL), "--name", "lm_head")


@scenario
def scheme_unknown(world):
    return world.run("load", "ftp://host/m.safetensors")


@scenario
def bucket_missing_in_uri(world):
    return world.run("load", "s3:///m.safetensors")


@scenario
def one_slash(world):
    return world.run("load", "s3:/bucket/m.safetensors")


# ---- The network ----

@scenario
def name_unknown(world):
    return world.run("load", "https://no-such-host.invalid/m.safetensors")


@scenario
def port_refused(world):
    return world.run("load", f"http://127.0.0.1:{ports.free_ports(1)[0]}/m.safetensors")


@scenario
def https_to_plain_port(world):
    return world.run("load", "s3://bucket/m.safetensors", AWS_ENDPOINT_URL=world.serve(one_object),
                     AWS_ACCESS_KEY_ID="A", AWS_SECRET_ACCESS_KEY="b")


@scenario
def http_to_tls_port(world):
    host = world.serve(one_object, world.shared.certificate)
    return world.run("load", f"http://{host}/m.safetensors")


@scenario
def certificate_of_private_authority(world):
    host = world.serve(one_object, world.shared.certificate)
    return world.run("load", f"https://{host}/m.safetensors")


@scenario
def no_certificates_of_authorities(world):
    host = world.serve(one_object, world.shared.certificate)
    return store_answers.run_without_authorities(STREAMER, "load", f"https://{host}/m.safetensors")


@scenario
def ca_bundle_missing(world):
    return world.run("load", "https://127.0.0.1:1/m.safetensors",
                     AWS_CA_BUNDLE=os.path.join(world.folder, "ca.pem"))


@scenario
def proxy_refuses(world):
    proxy = fake_aws.ConnectProxy(1, refuse=403)
    world.servers.append(proxy)
    return world.run("load", "https://store.example/m.safetensors", HTTPS_PROXY=proxy.url)


@scenario
def server_silent(world):
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    try:
        return world.run("load", f"http://127.0.0.1:{port}/m.safetensors", "--set",
                         "stall_timeout_ms=200", "--set", "debug.max_attempts=1")
    finally:
        listener.close()


@scenario
def not_http(world):
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    ends = threading.Event()

    def serve():
        while not ends.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"220 mail.example ESMTP\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        return world.run("load", f"http://127.0.0.1:{port}/m.safetensors")
    finally:
        ends.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@scenario
def endpoint_malformed(world):
    return world.run("ls", "s3://bucket/", AWS_ENDPOINT_URL="http:127.0.0.1:9000")


# ---- S3 ----

@scenario
def s3_no_such_key(world):
    return world.s3(error(404, "NoSuchKey"))


@scenario
def s3_no_such_bucket(world):
    return world.s3(error(404, "NoSuchBucket"))


@scenario
def s3_access_denied(world):
    return world.s3(error(403, "AccessDenied", "Access Denied"))


@scenario
def s3_wrong_secret_key(world):
    return world.s3(error(403, "SignatureDoesNotMatch"))


@scenario
def s3_unknown_key_id(world):
    return world.s3(error(403, "InvalidAccessKeyId"))


@scenario
def s3_expired_token(world):
    return world.s3(error(400, "ExpiredToken"))


@scenario
def s3_wrong_region(world):
    return world.s3(error(400, "AuthorizationHeaderMalformed"))


@scenario
def s3_archived(world):
    return world.s3(error(403, "InvalidObjectState"))


@scenario
def s3_throttled(world):
    return world.s3(error(503, "SlowDown"), "--set", "debug.max_attempts=1")


@scenario
def s3_path_style_forbidden(world):
    return world.s3(error(403, "PathStyleDomainForbidden"), "--set", "s3_addressing=path")


@scenario
def s3_path_style_suspected(world):
    return world.s3((405, {}, b"no such method here"))


@scenario
def s3_no_checksums(world):
    def answer(handler):
        return (501, {}, b"") if handler.command == "HEAD" else one_object(handler)
    return world.s3(answer, "--set", "verify=store")


@scenario
def s3_half_a_key(world):
    return world.run("ls", "s3://bucket/", "--set", "s3_credentials=keys:AKIAEXAMPLE")


@scenario
def s3_no_such_profile(world):
    return world.run("ls", "s3://bucket/", AWS_PROFILE="prod")


@scenario
def s3_no_credentials(world):
    return world.run("ls", "s3://bucket/")


# ---- Google ----

@scenario
def google_token_without_tls(world):
    return world.run("ls", "gs://bucket/", STREAMER_GCS_ENDPOINT="http://store.example",
                     STREAMER_GCS_CREDENTIALS="token:not-a-real-token")


@scenario
def google_token_refused(world):
    return world.google(error(401, "AuthenticationRequired"))


@scenario
def google_readers_pay(world):
    return world.google(error(400, "UserProjectMissing"))


@scenario
def google_file_is_no_json(world):
    path = world.write("key.json", "not JSON")
    return world.run("ls", "gs://bucket/", GOOGLE_APPLICATION_CREDENTIALS=path)


# ---- Azure ----

@scenario
def azure_without_account(world):
    return world.run("ls", "az://container/", STREAMER_AZURE_CREDENTIALS="token:not-a-real-token")


@scenario
def azure_key_is_no_base64(world):
    return world.run("ls", "az://container/", AZURE_STORAGE_ACCOUNT_NAME="acct",
                     AZURE_STORAGE_ACCOUNT_KEY="!not-a-key!")


@scenario
def azure_authentication_failed(world):
    return world.azure(azure_error(403, "AuthenticationFailed"))


@scenario
def azure_role_missing(world):
    return world.azure(azure_error(403, "AuthorizationPermissionMismatch"))


@scenario
def azure_container_missing(world):
    return world.azure(azure_error(404, "ContainerNotFound"))


@scenario
def azure_not_public(world):
    return world.azure(azure_error(409, "PublicAccessNotPermitted"),
                       STREAMER_AZURE_CREDENTIALS="anonymous")


# ---- Web servers ----

@scenario
def web_not_found(world):
    return world.run("load", f"http://{world.serve((404, {}, b''))}/m.safetensors")


@scenario
def web_without_ranges(world):
    return world.run("load", f"http://{world.serve((200, {}, bytes(600_000)))}/m.safetensors")


# ---- GPUs and Python ----

@scenario
def gpu_without_driver(world):
    said = world.run("load", world.write("m.safetensors", MODEL), "--device", "cuda:0")
    if "libcuda.so.1: cannot open" not in said:
        raise unittest.SkipTest("this machine has a driver")
    return said


@scenario
def device_mistyped(world):
    return world.run("load", "/models", "--device", "gpu0")


@scenario
def python_library_missing(world):
    return subprocess.run([sys.executable, "-c", "import libstreamer"], capture_output=True, text=True,
                          env={"STREAMER_LIBRARY": "/nowhere/libstreamer.so",
                               "PYTHONPATH": os.path.join(ROOT, "capi", "python")}).stderr


@scenario
def python_setting_unknown(world):
    return world.python("import libstreamer\nlibstreamer.list('.', settings={'concurency': 4})")


@scenario
def python_path_missing(world):
    return world.python("import libstreamer\nlibstreamer.open('/nowhere/model.safetensors')")


NEEDS_LIBRARY = {"python-setting-unknown", "python-path-missing"}


class Symptoms(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        authority = certificates.Authority(cls.temporary.name)
        cls.certificate = authority.issue("host", "IP:127.0.0.1,DNS:localhost")

    def output_of(self, name):
        if name in NEEDS_LIBRARY and not LIBRARY:
            self.skipTest("there is no shared library to import")
        world = World(self)
        try:
            return SCENARIOS[name](world).replace(world.folder, "/models")
        finally:
            world.close()

    def test_every_row_has_a_scenario_and_every_scenario_a_row(self):
        names = [name for name, _ in rows_of_docs()]
        self.assertGreaterEqual(len(names), 35)
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(set(names), set(SCENARIOS))


def add_row(name, text):
    def test(self):
        found = self.output_of(name)
        at = 0
        for part in text.split("…"):
            where = found.find(part.strip(), at)
            self.assertNotEqual(where, -1, f"\n{part!r}\nis not in\n{found}")
            at = where + len(part.strip())
    setattr(Symptoms, "test_row_" + name.replace("-", "_"), test)


if __name__ == "__main__":
    if "--show" in sys.argv:
        Symptoms.setUpClass()
        for name in SCENARIOS:
            print(f"== {name}\n{Symptoms('output_of').output_of(name)}")
        Symptoms.doClassCleanups()
        sys.exit()
    for row in rows_of_docs():
        add_row(*row)
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
