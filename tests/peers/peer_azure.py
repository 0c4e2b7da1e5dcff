# SPDX-License-Identifier: Apache-2.0
"""Azure: the stand-ins, and the environments. A token says how it was come by."""

import base64
import functools
import json
import os
import subprocess
import tempfile

URI = "az://container/"
ALWAYS = {
    "AZURE_AUTHORITY_HOST": "<https>",
    "AZURE_STORAGE_ENDPOINT": "<https>/account",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST": "<http>",
    "REQUESTS_CA_BUNDLE": "<ca>",
    "AZURE_STORAGE_ACCOUNT": "account",
    "STREAMER_MAX_ATTEMPTS": "1",
}
FILES = {"federated": "cluster"}


@functools.cache
def certificate_files():
    """Certificates in every form: what stands in each file, by name."""
    with tempfile.TemporaryDirectory() as folder:
        path = {
            name: os.path.join(folder, name)
            for name in ("key", "crt", "locked.pem", "pfx", "locked.pfx")
        }

        def openssl(text, *more):
            subprocess.run(
                ["openssl", *text.format(**path).split(), *more], check=True, capture_output=True
            )

        openssl("req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {crt} -days 2 -subj /CN=app")
        openssl("pkcs8 -topk8 -in {key} -passout pass:word -out", path["locked.pem"])
        openssl("pkcs12 -export -inkey {key} -in {crt} -passout pass: -out {pfx}")
        openssl("pkcs12 -export -inkey {key} -in {crt} -passout pass:word -out", path["locked.pfx"])
        files = {}
        for name, place in path.items():
            with open(place, "rb") as file:
                files[name] = file.read()
    files["pem"] = files["key"] + files["crt"]
    files["locked.pem"] += files["crt"]
    return files


def prepare(world):
    os.makedirs(os.path.join(world.home, "c"))
    for name, content in certificate_files().items():
        with open(os.path.join(world.home, "c", name), "wb") as file:
            file.write(content)


def answer(world, request):
    path, form, query, headers = request.path_only, request.form, request.query, request.headers
    is_json = {"Content-Type": "application/json"}
    if path.endswith("/.well-known/openid-configuration"):
        base = world.words["https"] + path.replace("/v2.0/.well-known/openid-configuration", "")
        return (
            200,
            is_json,
            json.dumps(
                {
                    "authorization_endpoint": base + "/oauth2/v2.0/authorize",
                    "token_endpoint": base + "/oauth2/v2.0/token",
                    "issuer": base + "/v2.0",
                }
            ),
        )
    if path.endswith("/oauth2/v2.0/token"):
        if form.get("client_secret") == "wrong":
            return 401, is_json, '{"error":"invalid_client","error_description":"AADSTS7000215"}'
        by = form.get("client_secret") or form["client_assertion"]
        if by.count(".") == 2:
            header = json.loads(base64.urlsafe_b64decode(by.split(".")[0] + "=="))
            by = "certificate" + (".chain" if "x5c" in header else "")
        return 200, is_json, token(f"{path.split('/')[1]}.{form['client_id']}.by.{by}")
    if "oauth2/token" in path or path == "/msi":
        who = query.get("client_id") or query.get("clientid") or "machine"
        how = next(
            (name for name in ("X-IDENTITY-HEADER", "secret", "Metadata") if headers.get(name)), None
        )
        if not how:
            return 400, is_json, '{"error":"invalid_request"}'
        return 200, is_json, token(f"identity.{who}.{query.get('api-version')}.{how}")
    if "/container" not in path:
        return 200, {}, ""  # the doctor looks whether somebody is there
    said = headers.get("Authorization", "").split(":")[0].removeprefix("Bearer ")
    if "sig" in query:
        said = f"{said} sas {query['sig']}".strip()
    world.seen.append(said or "unsigned")
    return (
        200,
        {},
        (
            "<?xml version='1.0'?><EnumerationResults ContainerName='container'>"
            "<Blobs></Blobs><NextMarker /></EnumerationResults>"
        ),
    )


def token(text):
    return json.dumps(
        {
            "access_token": text,
            "expires_in": 3600,
            "expires_on": 4000000000,
            "token_type": "Bearer",
            "resource": "x",
        }
    )


APP = {"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "app"}
SECRET = {**APP, "AZURE_CLIENT_SECRET": "secret"}
POD = {**APP, "AZURE_FEDERATED_TOKEN_FILE": "<home>/federated"}
KEY = "a2V5"
AZ = {
    "bin/az": "#!/bin/sh\necho '{\"accessToken\":\"az\",\"expiresOn\":\"2030-01-02 03:04:05.000000\","
    "\"expires_on\":1900000000,\"tokenType\":\"Bearer\"}'\n"
}
AZD = {"bin/azd": "#!/bin/sh\necho '{\"token\":\"azd\",\"expiresOn\":\"2030-01-02T03:04:05Z\"}'\n"}
# Not found by either side.
NO_MACHINE = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:1"}


def certificate(name, **more):
    return {"env": {**APP, "AZURE_CLIENT_CERTIFICATE_PATH": f"<home>/c/{name}", **more}}


def string(text, **more):
    return {
        "env": {
            "AZURE_STORAGE_ENDPOINT": None,
            "AZURE_STORAGE_ACCOUNT": None,
            "AZURE_STORAGE_CONNECTION_STRING": text,
        },
        **more,
    }


def only(name, *files, **env):
    return {
        "env": {"AZURE_TOKEN_CREDENTIALS": name, **env},
        "files": {key: text for one in files for key, text in one.items()},
    }


ROWS = {
    # ---- The order ----
    "nothing": {"env": NO_MACHINE},
    "secret": {"env": SECRET},
    "secret-wrong": {"env": {**SECRET, "AZURE_CLIENT_SECRET": "wrong"}, "files": AZ},
    "secret-over-certificate": {"env": {**SECRET, "AZURE_CLIENT_CERTIFICATE_PATH": "<home>/c/pem"}},
    "secret-without-tenant": {"env": {"AZURE_CLIENT_ID": "app", "AZURE_CLIENT_SECRET": "s"}},
    "certificate": certificate("pem"),
    "certificate-pfx": certificate("pfx"),
    "certificate-locked": certificate("locked.pem", AZURE_CLIENT_CERTIFICATE_PASSWORD="word"),
    "certificate-locked-pfx": certificate("locked.pfx", AZURE_CLIENT_CERTIFICATE_PASSWORD="word"),
    "certificate-wrong-password": certificate("locked.pfx", AZURE_CLIENT_CERTIFICATE_PASSWORD="other"),
    "certificate-without-password": certificate("locked.pem"),
    "certificate-chain": certificate("pem", AZURE_CLIENT_SEND_CERTIFICATE_CHAIN="true"),
    "certificate-without-key": certificate("crt"),
    "certificate-missing": certificate("none"),
    "workload": {"env": POD},
    "environment-over-workload": {"env": {**POD, **SECRET}},
    "workload-missing-file": {"env": {**POD, "AZURE_FEDERATED_TOKEN_FILE": "<home>/none"}},
    "workload-without-client": {"env": {**NO_MACHINE, **POD, "AZURE_CLIENT_ID": None}},
    "machine": {},
    "machine-client": {"env": {"AZURE_CLIENT_ID": "chosen"}},
    "app-service": {"env": {"IDENTITY_ENDPOINT": "<http>/msi", "IDENTITY_HEADER": "h"}},
    "app-service-client": {
        "env": {"IDENTITY_ENDPOINT": "<http>/msi", "IDENTITY_HEADER": "h", "AZURE_CLIENT_ID": "chosen"}
    },
    "machine-learning": {"env": {"MSI_ENDPOINT": "<http>/msi", "MSI_SECRET": "s"}},
    "identity-endpoint-alone": {"env": {"IDENTITY_ENDPOINT": "<http>/msi"}, "files": AZ},
    "identity-endpoint-and-msi": {
        "env": {"IDENTITY_ENDPOINT": "<http>/msi", "MSI_ENDPOINT": "<http>/msi", "MSI_SECRET": "s"},
        "files": AZ,
    },
    "cli": {"env": NO_MACHINE, "files": AZ},
    "cli-with-tenant": {"env": {**NO_MACHINE, "AZURE_TENANT_ID": "tenant"}, "files": AZ},
    "developer-cli": {"env": NO_MACHINE, "files": AZD},
    "cli-over-developer-cli": {"env": NO_MACHINE, "files": {**AZ, **AZD}},
    "cli-fails": {"env": NO_MACHINE, "files": {**AZD, "bin/az": "#!/bin/sh\nexit 1\n"}},
    "machine-over-cli": {"files": AZ},
    # ---- AZURE_TOKEN_CREDENTIALS ----
    "only-dev": only("dev", AZ, **SECRET),
    "only-prod": only("prod", AZ, **NO_MACHINE),
    "only-prod-blanks": only(" Prod ", AZ, **SECRET),
    "only-named": only("AzureDeveloperCliCredential", AZ, AZD),
    "only-named-capitals": only("AZURECLICREDENTIAL", AZ, AZD, **SECRET),
    "only-environment": only("EnvironmentCredential", AZ),
    "only-workload": only("workloadidentitycredential", AZ, **POD),
    "only-machine": only("managedidentitycredential", AZ, **POD),
    "only-nonsense": only("nonsense", AZ, **SECRET),
    "authority-without-scheme": {"env": {**SECRET, "AZURE_AUTHORITY_HOST": "login.example.com/ "}},
    "authority-http": {"env": {**SECRET, "AZURE_AUTHORITY_HOST": "http://login.example.com"}},
    # ---- Connection strings ----
    "string-key": string(f"BlobEndpoint=<https>/account;AccountName=account;AccountKey={KEY}"),
    "string-lower": string(f"blobendpoint=<https>/account;accountname=account;accountkey={KEY};"),
    "string-sas": string("BlobEndpoint=<https>/account;SharedAccessSignature=sv=1&sig=a"),
    "string-sas-mark": string("BlobEndpoint=<https>/account;SharedAccessSignature=?sv=1&sig=a"),
    "string-sas-in-endpoint": string("BlobEndpoint=<https>/account?sv=1&sig=b"),
    "string-two-sas": string(
        "BlobEndpoint=<https>/account?sv=1&sig=b;SharedAccessSignature=sv=1&sig=a"
    ),
    "string-key-and-sas": string(
        f"BlobEndpoint=<https>/account;AccountName=account;AccountKey={KEY};"
        "SharedAccessSignature=sv=1&sig=a"
    ),
    "string-nobody": string(
        "BlobEndpoint=<https>/account;AccountName=account", differs="strings-without-credentials"
    ),
    "string-host": string(
        f"DefaultEndpointsProtocol=https;AccountName=account;AccountKey={KEY};"
        "EndpointSuffix=core.windows.net"
    ),
    "string-host-china": string(
        f"AccountName=account;AccountKey={KEY};EndpointSuffix=core.chinacloudapi.cn"
    ),
    "string-host-http-alone": string(
        f"DefaultEndpointsProtocol=http;AccountName=account;AccountKey={KEY}"
    ),
    "string-host-capitals": string(
        f"ACCOUNTNAME=account;ACCOUNTKEY={KEY};ENDPOINTSUFFIX=core.usgovcloudapi.net"
    ),
    "string-without-account": string(f"AccountKey={KEY}"),
    "string-broken": string("AccountName"),
    "string-other-services": string(
        "QueueEndpoint=https://q.example.com;BlobEndpoint=<https>/account;"
        f"AccountName=account;AccountKey={KEY};TableEndpoint=https://t.example.com"
    ),
}
