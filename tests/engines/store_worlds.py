# SPDX-License-Identifier: Apache-2.0
"""Stores on this machine other than s3_world's: the real servers of tests/servers. Each is a context:
(a client, which has put(bucket, name, body) and a bucket "models", and the variables that lead there);
or None where its server is not installed."""
import contextlib
import os
import shutil
import subprocess
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TESTS, "servers"), os.path.join(TESTS, "support")]

import azure_client  # noqa: E402
import azurite  # noqa: E402
import certificates  # noqa: E402
import fake_google  # noqa: E402
import ports  # noqa: E402
import radosgw  # noqa: E402
import s3_client  # noqa: E402


@contextlib.contextmanager
def _s3(folder):
    store = radosgw.Radosgw(os.path.join(folder, "ceph"), certificates.Authority(folder, "s3"))
    try:
        store.start()
        client = s3_client.Client(store.url(), radosgw.ACCESS_KEY, radosgw.SECRET_KEY)
        client.make_bucket("models")
        yield client, {
            "AWS_ENDPOINT_URL": store.url(), "AWS_ACCESS_KEY_ID": radosgw.ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": radosgw.SECRET_KEY, "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
            "RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING": "0"}
    finally:
        store.stop()


@contextlib.contextmanager
def _azure(folder):
    store = azurite.Azurite(os.path.join(folder, "azurite"), certificates.Authority(folder, "azure"))
    try:
        store.start()
        client = azure_client.Client(store.url(), azurite.ACCOUNT, azurite.KEY)
        client.make_container("models")
        yield client, {"AZURE_STORAGE_CONNECTION_STRING":
                       f"DefaultEndpointsProtocol=http;AccountName={azurite.ACCOUNT};"
                       f"AccountKey={azurite.KEY};BlobEndpoint={store.url()};"}
    finally:
        store.stop()


@contextlib.contextmanager
def _google(folder):
    store = fake_google.FakeGoogle(folder, "1//refresh-of-a-test")
    try:
        yield store, {"STREAMER_GCS_ENDPOINT": store.url, "NO_GCE_CHECK": "true",
                      "GOOGLE_APPLICATION_CREDENTIALS": store.account_file()}
    finally:
        store.stop()


@contextlib.contextmanager
def _google_emulator(program, folder):
    root, port = os.path.join(folder, "fake-gcs"), ports.free_ports(1)[0]
    os.makedirs(os.path.join(root, "models"))
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-data", root,
         "-filesystem-root", root, "-external-url", url],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ports.wait_for(port, process, 60)
        # What the incumbent's native library, its Python and the client of Google look at.
        yield None, {"API_ENDPOINT_OVERRIDE": url, "CLOUD_STORAGE_EMULATOR_ENDPOINT": url,
                     "GOOGLE_CLOUD_PROJECT": "a-project",
                     "RUNAI_STREAMER_GCS_USE_ANONYMOUS_CREDENTIALS": "True"}
    finally:
        process.terminate()
        process.wait()


def s3(folder):
    return _s3(folder) if shutil.which("radosgw") else None


def azure(folder):
    return _azure(folder) if azurite.program() else None


def google(folder):
    return _google(folder)


def google_emulator(folder):
    """fake-gcs-server, which asks nobody who they are."""
    program = os.environ.get("STREAMER_FAKE_GCS") or shutil.which("fake-gcs-server")
    return _google_emulator(program, folder) if program else None
