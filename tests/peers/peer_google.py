# SPDX-License-Identifier: Apache-2.0
"""Google: the stand-ins, and the environments. A token says how it was come by."""

import base64
import functools
import json
import subprocess
import urllib.parse

URI = "gs://bucket/"
ALWAYS = {
    "STREAMER_GCS_ENDPOINT": "<http>",
    "NO_GCE_CHECK": "true",
    "STREAMER_MAX_ATTEMPTS": "1",
    "GOOGLE_CLOUD_PROJECT": "project",
}
ADC = ".config/gcloud/application_default_credentials.json"
NAMED = {"GOOGLE_APPLICATION_CREDENTIALS": "<home>/key.json"}
METADATA = {"NO_GCE_CHECK": None, "GCE_METADATA_HOST": "<host>", "GCE_METADATA_IP": "<host>"}


@functools.cache
def private_key():
    return subprocess.run(
        ["openssl", "genrsa", "2048"], capture_output=True, text=True, check=True
    ).stdout


def prepare(world):
    world.words["private"] = json.dumps(private_key())[1:-1]


def claims_of(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def answer(world, request):
    path, form, headers = request.path_only, request.form, request.headers
    flavour = {"Metadata-Flavor": "Google", "Content-Type": "application/json"}
    if path in ("/token", "/sts"):
        kind = form["grant_type"].rpartition(":")[2]
        by = {
            "refresh_token": lambda: form["refresh_token"],
            "jwt-bearer": lambda: claims_of(form["assertion"])["iss"],
            "token-exchange": lambda: subject(form["subject_token"]),
        }[kind]()
        if by == "revoked":
            return 400, {}, '{"error":"invalid_grant","error_description":"Revoked."}'
        return (
            200,
            {"Content-Type": "application/json"},
            json.dumps(
                {
                    "access_token": f"{kind}.by.{by}",
                    "expires_in": 3600,
                    "token_type": "Bearer",
                    "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                }
            ),
        )
    if path.endswith(":generateAccessToken"):
        by = headers["Authorization"].removeprefix("Bearer ")
        return (
            200,
            {"Content-Type": "application/json"},
            json.dumps(
                {
                    "accessToken": f"{path.split(':')[0].rpartition('/')[2]}.acted.by.{by}",
                    "expireTime": "2099-01-01T00:00:00Z",
                }
            ),
        )
    if path == "/subject":
        return 200, {}, '{"value":"of-url-%s"}' % headers.get("X-Wanted")
    if path == "/aws/token":
        return 200, {}, "session"
    if path == "/aws/zone":
        return 200, {}, "us-east-2b"
    if path == "/aws/role":
        return 200, {}, "role"
    if path == "/aws/role/role":
        return (
            200,
            {},
            json.dumps(
                {
                    "AccessKeyId": "IMDS." + str(headers.get("X-aws-ec2-metadata-token")),
                    "SecretAccessKey": "s",
                    "Token": "t",
                }
            ),
        )
    if path == "/" or path.endswith("/project/project-id"):
        return 200, flavour, "project"
    if path.startswith("/computeMetadata/v1/universe"):
        return 404, flavour, ""
    if path.endswith("/token"):
        return (
            200,
            flavour,
            json.dumps({"access_token": "machine", "expires_in": 3600, "token_type": "Bearer"}),
        )
    if path.startswith("/computeMetadata/"):
        return 200, flavour, json.dumps({"email": "default", "scopes": [], "aliases": ["default"]})
    token = headers.get("Authorization", "").removeprefix("Bearer ") or "nobody"
    if token.count(".") == 2 and token.startswith("eyJ"):
        token = "signed.by." + claims_of(token)["iss"]
    world.seen.append(f"{token} charged {request.query.get('userProject')}")
    return (
        200,
        {},
        (
            "<?xml version='1.0'?><ListBucketResult><IsTruncated>false</IsTruncated>"
            "</ListBucketResult>"
        ),
    )


def subject(text):
    """What AWS would be asked, or the token as it is."""
    if not text.startswith("%7B"):
        return text
    asked = json.loads(urllib.parse.unquote(text))
    headers = {one["key"].lower(): one["value"] for one in asked["headers"]}
    scope = headers["authorization"].split("Credential=")[1].split("/aws4_request")[0].split("/")
    return ".".join(
        (
            scope[0],
            scope[2],
            scope[3],
            urllib.parse.urlparse(asked["url"]).hostname,
            asked["method"],
            headers.get("x-amz-security-token", "none"),
            headers["x-goog-cloud-target-resource"].rpartition("/")[2],
        )
    )


def user(name, **more):
    return json.dumps(
        {
            "type": "authorized_user",
            "client_id": "i",
            "client_secret": "s",
            "refresh_token": name,
            "token_uri": "<http>/token",
            **more,
        }
    )


def account(name, token_uri="<http>/token", **more):
    # The key is put in as text: it is JSON already.
    return json.dumps(
        {
            "type": "service_account",
            "client_email": name,
            "private_key_id": "k",
            "private_key": "PRIVATE",
            "token_uri": token_uri,
            **more,
        }
    ).replace("PRIVATE", "<private>")


def external(source, **more):
    return json.dumps(
        {
            "type": "external_account",
            "audience": "//iam.googleapis.com/p/pool",
            "subject_token_type": (
                "urn:ietf:params:aws:token-type:aws4_request"
                if "environment_id" in source
                else "urn:ietf:params:oauth:token-type:jwt"
            ),
            "token_url": "<http>/sts",
            "credential_source": source,
            **more,
        }
    )


AWS = {
    "environment_id": "aws1",
    "region_url": "<http>/aws/zone",
    "url": "<http>/aws/role",
    "regional_cred_verification_url": (
        "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"
    ),
}
AWS2 = {**AWS, "imdsv2_session_token_url": "<http>/aws/token"}
KEYS = {"AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": "s"}
ACTS = {"service_account_impersonation_url": "<http>/v1/sa@x:generateAccessToken"}
ELSEWHERE = {"universe_domain": "apis.example.com"}
FILE = {"file": "<home>/subject"}
PROGRAM = (
    "#!/bin/sh\necho '{\"version\":1,\"success\":true,\"token_type\":"
    "\"urn:ietf:params:oauth:token-type:jwt\",\"id_token\":\"of-program\","
    "\"expiration_time\":4000000000}'\n"
)
RUNS = {"executable": {"command": "<home>/bin/program", "timeout_millis": 5000}}
FILES = {"subject": "of-file", "subject.json": '{"value":"of-json"}', "bin/program": PROGRAM}


def named(text, env=None, **more):
    return {"env": {**NAMED, **(env or {})}, "files": {"key.json": text}, **more}


ROWS = {
    "nothing": {},
    "user": named(user("u")),
    "user-revoked": named(user("revoked")),
    "user-of-gcloud": {"files": {ADC: user("g")}},
    "user-of-other-gcloud": {
        "env": {"CLOUDSDK_CONFIG": "<home>/sdk"},
        "files": {"sdk/application_default_credentials.json": user("g")},
    },
    "named-over-gcloud": {"env": NAMED, "files": {"key.json": user("n"), ADC: user("g")}},
    "named-missing": {"env": {**NAMED, **METADATA}, "files": {ADC: user("g")}},
    "named-broken": {"env": {**NAMED, **METADATA}, "files": {"key.json": "{", ADC: user("g")}},
    "named-empty-name": {"env": {"GOOGLE_APPLICATION_CREDENTIALS": ""}, "files": {ADC: user("g")}},
    "gcloud-broken": {"env": METADATA, "files": {ADC: "{"}},
    "gcloud-over-machine": {"env": METADATA, "files": {ADC: user("g")}},
    "machine": {"env": METADATA},
    "machine-old-name": {"env": {**METADATA, "GCE_METADATA_HOST": None, "GCE_METADATA_ROOT": "<host>"}},
    "machine-not-asked": {"env": {**METADATA, "NO_GCE_CHECK": "true"}},
    "account": named(account("sa")),
    "account-of-google": named(account("sa", "https://oauth2.googleapis.com/token")),
    "account-without-key": named(account("sa").replace("private_key\"", "other\"")),
    "account-elsewhere": named(account("sa", "https://oauth2.googleapis.com/token", **ELSEWHERE)),
    "user-elsewhere": named(user("u", **ELSEWHERE)),
    "quota-of-file": named(user("u", quota_project_id="file")),
    "quota-of-environment": named(
        user("u", quota_project_id="file"), {"GOOGLE_CLOUD_QUOTA_PROJECT": "env"}
    ),
    "quota-of-machine": {"env": {**METADATA, "GOOGLE_CLOUD_QUOTA_PROJECT": "env"}},
    "external-file": named(external(FILE)),
    "external-json": named(
        external(
            {
                "file": "<home>/subject.json",
                "format": {"type": "json", "subject_token_field_name": "value"},
            }
        )
    ),
    "external-url": named(
        external(
            {
                "url": "<http>/subject",
                "headers": {"X-Wanted": "yes"},
                "format": {"type": "json", "subject_token_field_name": "value"},
            }
        )
    ),
    "external-missing-file": named(external({"file": "<home>/none"})),
    "external-acts": named(external(FILE, **ACTS)),
    "external-of-gcloud": {"files": {ADC: external(FILE)}},
    "external-elsewhere": named(external(FILE, **ELSEWHERE)),
    "program-allowed": named(external(RUNS), {"GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1"}),
    "program-not-allowed": named(external(RUNS)),
    "aws-environment": named(external(AWS2), {**KEYS, "AWS_REGION": "eu-west-1"}),
    "aws-environment-token": named(
        external(AWS2), {**KEYS, "AWS_SESSION_TOKEN": "session", "AWS_DEFAULT_REGION": "eu-west-1"}
    ),
    "aws-two-regions": named(
        external(AWS2), {**KEYS, "AWS_REGION": "a-b-1", "AWS_DEFAULT_REGION": "c-d-2"}
    ),
    "aws-instance": named(external(AWS2)),
    "aws-instance-version-1": named(external(AWS)),
    "aws-half-environment": named(
        external(AWS2), {"AWS_ACCESS_KEY_ID": "ENV", "AWS_REGION": "eu-west-1"}
    ),
    "aws-instance-keys-environment-region": named(external(AWS2), {"AWS_REGION": "eu-west-1"}),
    "aws-acts": named(external(AWS2, **ACTS), {**KEYS, "AWS_REGION": "eu-west-1"}),
    "aws-version-2": named(external({**AWS, "environment_id": "aws2"})),
    "aws-without-verification": named(
        external({"environment_id": "aws1", "url": "<http>/aws/role"}), KEYS
    ),
    "impersonated-user": named(
        json.dumps(
            {
                "type": "impersonated_service_account",
                **ACTS,
                "delegates": [],
                "source_credentials": json.loads(user("u")),
            }
        ),
        differs="impersonation-url",
    ),
    "unknown-type": named('{"type":"other"}'),
    "no-type": named("{}"),
}
