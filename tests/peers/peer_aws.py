# SPDX-License-Identifier: Apache-2.0
"""AWS: the stand-ins, and the environments. A key id says how it was come by."""

import hashlib
import json

URI = "s3://bucket/"
ALWAYS = {
    "AWS_ENDPOINT_URL_S3": "<http>",
    "AWS_ENDPOINT_URL_STS": "<http>",
    "AWS_ENDPOINT_URL_SSO": "<http>",
    "AWS_ENDPOINT_URL_SSO_OIDC": "<http>",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT": "<http>",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_MAX_ATTEMPTS": "1",
    "STREAMER_MAX_ATTEMPTS": "1",
}
LATER = "2099-01-01T00:00:00Z"
FILES = {
    "token": "pod-token",
    "other-token": "other-token",
    "bin/keys": "#!/bin/sh\necho '{\"Version\":1,\"AccessKeyId\":\"PROCESS'$1'\","
    "\"SecretAccessKey\":\"s\"}'\n",
}


def answer(world, request):
    path, headers = request.path_only, request.headers
    by = ""
    if "Credential=" in headers.get("Authorization", ""):
        by = headers["Authorization"].split("Credential=")[1].split("/")[0]
    if request.form.get("Action"):
        role = request.form["RoleArn"].rpartition("/")[2]
        keys = f"STS.{role}.by.{by or request.form.get('WebIdentityToken')}"
        result = (
            f"<Credentials><AccessKeyId>{keys}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
            f"<SessionToken>t</SessionToken><Expiration>{LATER}</Expiration></Credentials>"
        )
        action = request.form["Action"]
        return (
            200,
            {},
            (
                f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
                f"<{action}Result>{result}</{action}Result></{action}Response>"
            ),
        )
    if path == "/token" and request.command == "POST":
        spent = json.loads(request.text)["refreshToken"]
        if spent == "spent":
            return 400, {"x-amzn-ErrorType": "InvalidGrantException"}, '{"error":"invalid_grant"}'
        return (
            200,
            {},
            json.dumps(
                {
                    "accessToken": "renewed-by-" + spent,
                    "expiresIn": 28800,
                    "tokenType": "Bearer",
                    "refreshToken": "next",
                }
            ),
        )
    if path == "/federation/credentials":
        token = headers["x-amz-sso_bearer_token"]
        keys = f"SSO.{request.query['account_id']}.{request.query['role_name']}.by.{token}"
        return (
            200,
            {"Content-Type": "application/json"},
            json.dumps(
                {
                    "roleCredentials": {
                        "accessKeyId": keys,
                        "secretAccessKey": "s",
                        "sessionToken": "t",
                        "expiration": 4070919845000,
                    }
                }
            ),
        )
    if path == "/latest/api/token":
        return 200, {}, "session"
    if path == "/latest/meta-data/iam/security-credentials/":
        return 200, {}, "role"
    if path.startswith("/latest/meta-data/iam/security-credentials/"):
        return 200, {}, json_keys("IMDS")
    if path == "/container":
        return 200, {}, json_keys("CONTAINER." + (headers.get("Authorization") or "nobody"))
    if path == "/":
        return 200, {}, ""  # the doctor looks whether somebody is there
    world.seen.append(f"{by} token {headers.get('x-amz-security-token')}" if by else "unsigned")
    return (
        200,
        {},
        (
            '<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>'
            "</ListBucketResult>"
        ),
    )


def json_keys(name):
    return json.dumps(
        {
            "Code": "Success",
            "AccessKeyId": name,
            "SecretAccessKey": "s",
            "Token": "t",
            "Expiration": LATER,
        }
    )


def keys(name, between=" = ", before=""):
    return f"{before}aws_access_key_id{between}{name}\n{before}aws_secret_access_key{between}s\n"


def role(name, more):
    return f"role_arn = arn:aws:iam::123456789012:role/{name}\n{more}\n"


def config(text, credentials=None):
    files = {".aws/config": text}
    if credentials is not None:
        files[".aws/credentials"] = credentials
    return files


def sso_cache(name, until, **more):
    text = {
        "accessToken": "cached",
        "expiresAt": until,
        "startUrl": "https://corp",
        "region": "eu-west-1",
        **more,
    }
    return {f".aws/sso/cache/{hashlib.sha1(name.encode()).hexdigest()}.json": json.dumps(text)}


ENV = {"AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": "s"}
POD = {
    "AWS_WEB_IDENTITY_TOKEN_FILE": "<home>/token",
    "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/pod",
}
ECS = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "<http>/container"}
IMDS = {"AWS_EC2_METADATA_DISABLED": None}
BASE = "[profile base]\n" + keys("BASE")
BY_BASE = BASE + "[default]\n" + role("d", "source_profile = base")
RENEWABLE = {"refreshToken": "r", "clientId": "c", "clientSecret": "s", "registrationExpiresAt": LATER}
SSO = "[default]\nsso_session = corp\nsso_account_id = 1\nsso_role_name = admin\n"
SESSION = "[sso-session corp]\nsso_start_url = https://corp\nsso_region = eu-west-1\n"
OLD_SSO = (
    "[default]\nsso_start_url = https://corp\nsso_region = eu-west-1\nsso_account_id = 1\n"
    "sso_role_name = admin\n"
)
PROCESS = "[default]\ncredential_process = <home>/bin/keys\n"
# In code for us; what AWS_PROFILE says is not, for either.
TEAM = {"AWS_PROFILE": "team"}
REAL_STS = {"AWS_ENDPOINT_URL_STS": None, **POD}


def sts(region, *variants, more=None):
    env = {**REAL_STS, "AWS_DEFAULT_REGION": region, **(more or {})}
    for variant in variants:
        env[f"AWS_USE_{variant}_ENDPOINT"] = "true"
    return {"env": env}


def s3(region, *variants, text=""):
    env = {**ENV, "AWS_ENDPOINT_URL_S3": None, "AWS_DEFAULT_REGION": region}
    for variant in variants:
        env[f"AWS_USE_{variant}_ENDPOINT"] = "true"
    return {"env": env, "files": config("[default]\n" + text)}


def sso_host(region, *variants):
    return {
        "env": {
            "AWS_ENDPOINT_URL_SSO": None,
            **{f"AWS_USE_{variant}_ENDPOINT": "true" for variant in variants},
        },
        "files": {**config(OLD_SSO.replace("eu-west-1", region)), **sso_cache("https://corp", LATER)},
    }


def oidc_host(region, *variants):
    return {
        "env": {
            "AWS_ENDPOINT_URL_SSO_OIDC": None,
            "AWS_ENDPOINT_URL_SSO": None,
            **{f"AWS_USE_{variant}_ENDPOINT": "true" for variant in variants},
        },
        "files": {
            **config(SSO + SESSION.replace("eu-west-1", region)),
            **sso_cache("corp", "2001-01-01T00:00:00Z", **RENEWABLE),
        },
    }


ROWS = {
    # ---- The order ----
    "nothing": {},
    "environment": {"env": ENV},
    "environment-token": {"env": {**ENV, "AWS_SESSION_TOKEN": "now"}},
    "environment-old-token": {"env": {**ENV, "AWS_SECURITY_TOKEN": "old", "AWS_SESSION_TOKEN": "now"}},
    "environment-half": {
        "env": {"AWS_ACCESS_KEY_ID": "ENV"},
        "files": config("[default]\n" + keys("C")),
    },
    "environment-other-half": {
        "env": {"AWS_SECRET_ACCESS_KEY": "s"},
        "files": config("[default]\n" + keys("C")),
    },
    "environment-over-all": {
        "env": {**ENV, **POD, **ECS, **IMDS, **TEAM},
        "files": config(BY_BASE + "[profile team]\n" + keys("TEAM")),
    },
    "web-identity": {"env": POD},
    "web-identity-without-role": {"env": {"AWS_WEB_IDENTITY_TOKEN_FILE": "<home>/token"}},
    "web-identity-missing-file": {"env": {**POD, "AWS_WEB_IDENTITY_TOKEN_FILE": "<home>/none"}},
    "web-identity-over-container": {"env": {**POD, **ECS, **IMDS}},
    "web-identity-over-keys": {"env": POD, "files": config("", "[default]\n" + keys("F"))},
    "web-identity-over-sso": {
        "env": POD,
        "files": {**config(OLD_SSO), **sso_cache("https://corp", LATER)},
    },
    "role-over-web-identity": {"env": POD, "files": config(BY_BASE)},
    "named-role-over-web-identity": {
        "env": {**POD, **TEAM},
        "files": config(BASE + "[profile team]\n" + role("t", "source_profile = base")),
    },
    "web-identity-over-named-keys": {
        "env": {**POD, **TEAM},
        "files": config("[profile team]\n" + keys("TEAM")),
    },
    "container": {"env": ECS},
    "container-token": {"env": {**ECS, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "secret"}},
    "container-token-file": {
        "env": {
            **ECS,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "<home>/token",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "secret",
        }
    },
    "container-over-instance": {"env": {**ECS, **IMDS}},
    "keys-over-container": {"env": ECS, "files": config("[default]\n" + keys("C"))},
    "instance": {"env": IMDS},
    "instance-disabled": {"env": {"AWS_EC2_METADATA_DISABLED": "TRUE"}},
    # ---- Profiles ----
    "config-keys": {"files": config("[default]\n" + keys("C"))},
    "credentials-keys": {"files": config("", "[default]\n" + keys("F"))},
    "credentials-over-config": {"files": config("[default]\n" + keys("C"), "[default]\n" + keys("F"))},
    "token-of-the-other-file": {
        "files": config(
            "[default]\n" + keys("C") + "aws_session_token = c\n", "[default]\n" + keys("F")
        )
    },
    "token-of-the-file": {"files": config("", "[default]\n" + keys("F") + "aws_session_token = f\n")},
    "old-token-of-the-file": {
        "files": config(
            "", "[default]\n" + keys("F") + "aws_security_token = o\n" "aws_session_token = f\n"
        )
    },
    "half-a-profile": {"env": IMDS, "files": config("", "[default]\naws_access_key_id = F\n")},
    "other-half-of-a-profile": {
        "env": IMDS,
        "files": config("", "[default]\naws_secret_access_key = F\n"),
    },
    "halves-in-two-files": {
        "files": config("[default]\naws_access_key_id = C\n", "[default]\naws_secret_access_key = F\n"),
        "differs": "halves-of-keys",
    },
    "named": {"env": TEAM, "files": config("[profile team]\n" + keys("TEAM"))},
    "named-in-credentials": {"env": TEAM, "files": config("", "[team]\n" + keys("TEAM"))},
    "named-not-there": {"env": {**TEAM, **IMDS}, "files": config("[default]\n" + keys("C"))},
    "two-names": {
        "env": {"AWS_PROFILE": "a", "AWS_DEFAULT_PROFILE": "b"},
        "files": config("[profile a]\n" + keys("A") + "[profile b]\n" + keys("B")),
    },
    "quoted-name": {"env": {"AWS_PROFILE": "a b"}, "files": config('[profile "a b"]\n' + keys("AB"))},
    "empty-profile-goes-on": {"env": IMDS, "files": config("[default]\nregion = eu-west-1\n")},
    "other-files": {
        "env": {"AWS_CONFIG_FILE": "<home>/c", "AWS_SHARED_CREDENTIALS_FILE": "<home>/f"},
        "files": {"c": "[default]\n" + keys("C"), "f": "[default]\n" + keys("F")},
    },
    "tilde": {"env": {"AWS_SHARED_CREDENTIALS_FILE": "~/f"}, "files": {"f": "[default]\n" + keys("F")}},
    # ---- Spelling ----
    "indented": {"files": config("", "[default]\n" + keys("F", before="  "))},
    "indented-all": {"files": config("", "  [default]\n" + keys("F", before="    "))},
    "colons": {"files": config("", "[default]\n" + keys("F", ": "))},
    "tabs": {"files": config("", "[default]\n" + keys("F", "\t=\t", "\t"))},
    "capitals": {"files": config("", "[default]\n" + keys("F").replace("aws_", "AWS_"))},
    "crlf": {"files": config("", ("[default]\n" + keys("F")).replace("\n", "\r\n"))},
    "blank-lines-and-comments": {
        "files": config("", "# a\n\n[default]\n; b\n\n  # c\n" + keys("F", before=" ") + "\n\n")
    },
    "key-below-a-key": {
        "files": config("", "[default]\naws_access_key_id = F\n  aws_secret_access_key = s\n")
    },
    "nested-between": {
        "files": config(
            "[default]\naws_access_key_id = C\ns3 =\n  addressing_style = path\n"
            "aws_secret_access_key = s\n"
        )
    },
    "section-below-a-key": {
        "files": config("[default]\n" + keys("C") + "  [other]\n" + keys("O")),
        "differs": "repetitions",
    },
    "no-section": {"env": IMDS, "files": config("", keys("F"))},
    "a-line-of-nothing": {"env": IMDS, "files": config("", "[default]\n" + keys("F") + "what\n")},
    "byte-order-mark": {
        "files": config("", "\ufeff[default]\n" + keys("F")),
        "differs": "byte-order-mark",
    },
    "a-section-twice": {
        "files": config("", "[default]\n" + keys("F") + "[default]\nregion = x\n"),
        "differs": "repetitions",
    },
    "comment-behind-a-value": {
        "files": config("", "[default]\naws_access_key_id = F # mine\n" "aws_secret_access_key = s\n"),
        "differs": "comments-behind-values",
    },
    # ---- Roles ----
    "role": {"files": config(BY_BASE)},
    "role-chain": {
        "files": config(
            BY_BASE.replace("[default]", "[profile m]")
            + "[default]\n"
            + role("top", "source_profile = m")
        )
    },
    "role-loop": {
        "files": config(
            "[default]\n"
            + role("a", "source_profile = b")
            + "[profile b]\n"
            + role("b", "source_profile = default")
        )
    },
    "role-of-itself": {
        "files": config("[default]\n" + role("a", "source_profile = default") + keys("SELF"))
    },
    "source-with-keys-and-role": {
        "files": config(
            "[default]\n"
            + role("a", "source_profile = b")
            + "[profile b]\n"
            + role("b", "source_profile = default")
            + keys("B")
        )
    },
    "source-in-credentials": {
        "files": config("[default]\n" + role("a", "source_profile = b"), "[b]\n" + keys("B"))
    },
    "source-missing": {"files": config("[default]\n" + role("a", "source_profile = none"))},
    "source-with-web-identity": {
        "env": {"AWS_WEB_IDENTITY_TOKEN_FILE": "<home>/other-token"},
        "files": config(
            "[default]\n"
            + role("a", "source_profile = b")
            + "[profile b]\n"
            + role("b", "web_identity_token_file = <home>/token")
        ),
    },
    "source-with-process": {
        "files": config(
            "[default]\n"
            + role("a", "source_profile = b")
            + PROCESS.replace("[default]", "[profile b]")
        )
    },
    "source-with-sso": {
        "files": {
            **config(
                "[default]\n"
                + role("a", "source_profile = b")
                + OLD_SSO.replace("[default]", "[profile b]")
            ),
            **sso_cache("https://corp", LATER),
        }
    },
    "role-without-source": {"files": config("[default]\n" + role("a", ""))},
    "role-with-both": {
        "files": config(
            BASE
            + "[default]\n"
            + role("a", "source_profile = base\n" "credential_source = Environment")
        )
    },
    "role-by-environment": {
        "env": {"AWS_PROFILE": None, **ECS},
        "files": config("[default]\n" + role("a", "credential_source = EcsContainer")),
    },
    "role-by-instance": {
        "env": IMDS,
        "files": config("[default]\n" + role("a", "credential_source = Ec2InstanceMetadata")),
    },
    "role-by-nobody": {"files": config("[default]\n" + role("a", "credential_source = Nobody"))},
    "role-over-keys": {"files": config(BY_BASE + keys("C"))},
    "web-identity-of-profile": {
        "files": config("[default]\n" + role("p", "web_identity_token_file = <home>/token") + keys("C"))
    },
    "web-identity-of-both": {
        "env": {"AWS_ROLE_ARN": POD["AWS_ROLE_ARN"]},
        "files": config("[default]\n" + role("p", "web_identity_token_file = <home>/token")),
    },
    # ---- SSO and programs ----
    "sso-old": {"files": {**config(OLD_SSO), **sso_cache("https://corp", LATER)}},
    "sso-old-expired": {
        "env": IMDS,
        "files": {**config(OLD_SSO), **sso_cache("https://corp", "2001-01-01T00:00:00Z", **RENEWABLE)},
    },
    "sso": {"files": {**config(SSO + SESSION), **sso_cache("corp", LATER)}},
    "sso-renewed": {
        "files": {**config(SSO + SESSION), **sso_cache("corp", "2001-01-01T00:00:00Z", **RENEWABLE)}
    },
    "sso-cannot-renew": {
        "files": {**config(SSO + SESSION), **sso_cache("corp", "2001-01-01T00:00:00Z")}
    },
    "sso-may-not-renew": {
        "files": {
            **config(SSO + SESSION),
            **sso_cache("corp", "2001-01-01T00:00:00Z", **{**RENEWABLE, "refreshToken": "spent"}),
        }
    },
    "sso-not-logged-in": {"env": IMDS, "files": config(SSO + SESSION)},
    "sso-without-session": {"files": config(SSO)},
    "sso-without-role": {"files": config(SSO.replace("sso_role_name = admin\n", "") + SESSION)},
    "sso-session-alone": {"env": IMDS, "files": config("[default]\nsso_session = corp\n" + SESSION)},
    "sso-session-differs": {
        "files": {**config(SSO + "sso_region = us-east-1\n" + SESSION), **sso_cache("corp", LATER)}
    },
    "sso-over-keys": {
        "files": {
            **config(SSO + keys("C") + SESSION, "[default]\n" + keys("F")),
            **sso_cache("corp", LATER),
        }
    },
    "process": {"files": config(PROCESS)},
    "process-over-config-keys": {"files": config(PROCESS + keys("C"))},
    "credentials-over-process": {"files": config(PROCESS, "[default]\n" + keys("F"))},
    "process-fails": {"env": IMDS, "files": config(PROCESS.replace("bin/keys", "bin/none"))},
    "process-with-words": {"files": config(PROCESS.rstrip() + " '.a b'\n")},
    # ---- Hosts ----
    **{
        f"sts-{region}": sts(region)
        for region in (
            "us-east-1",
            "cn-north-1",
            "us-gov-west-1",
            "us-iso-east-1",
            "us-isob-east-1",
            "eu-isoe-west-1",
            "us-isof-south-1",
            "eusc-de-east-1",
            "aws-global",
            "ap-southeast-5",
        )
    },
    "sts-fips": sts("eu-west-1", "FIPS"),
    "sts-fips-gov": sts("us-gov-west-1", "FIPS"),
    "sts-dual": sts("eu-west-1", "DUALSTACK"),
    "sts-fips-dual-cn": sts("cn-north-1", "FIPS", "DUALSTACK"),
    "sts-dual-isoe": sts("eu-isoe-west-1", "DUALSTACK"),
    "sts-legacy": sts("eu-west-1", more={"AWS_STS_REGIONAL_ENDPOINTS": "legacy"}),
    "sts-legacy-cn": sts("cn-north-1", more={"AWS_STS_REGIONAL_ENDPOINTS": "legacy"}),
    "sts-pseudo-region": sts("fips-us-west-2"),
    "sts-global-fips": {**sts("aws-global", "FIPS"), "differs": "global-region-variants"},
    "sts-of-profile": {
        "env": {**REAL_STS, "AWS_DEFAULT_REGION": None, "AWS_ENDPOINT_URL_S3": "<http>"},
        "files": config("[default]\nregion = us-isob-east-1\nuse_fips_endpoint = true\n"),
    },
    "sts-of-services": {
        "env": {**REAL_STS},
        "files": config(
            "[default]\nservices = s\n[services s]\nsts =\n  endpoint_url = https://sts.example.com\n"
        ),
    },
    "sts-ignores": {
        "env": {
            **POD,
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
            **ENV,
            "AWS_ENDPOINT_URL": "https://x.example.com",
        }
    },
    **{
        f"s3-{region}": s3(region)
        for region in (
            "eu-west-1",
            "cn-north-1",
            "us-gov-west-1",
            "us-iso-east-1",
            "eu-isoe-west-1",
            "eusc-de-east-1",
            "aws-global",
        )
    },
    "s3-us-east-1": {**s3("us-east-1"), "differs": "regional-s3"},
    "s3-fips": s3("us-west-2", "FIPS"),
    "s3-fips-global": s3("aws-global", "FIPS"),
    "s3-fips-cn": s3("cn-north-1", "FIPS"),
    "s3-dual": s3("eu-west-1", "DUALSTACK"),
    "s3-dual-isof": s3("us-isof-south-1", "DUALSTACK"),
    "s3-fips-dual": s3("eu-west-1", "FIPS", "DUALSTACK"),
    "s3-dual-nested": s3("eu-west-1", text="s3 =\n  use_dualstack_endpoint = true\n"),
    "s3-path-nested": s3("eu-west-1", text="s3 =\n  addressing_style = path\n"),
    "s3-fast-nested": s3("eu-west-1", text="s3 =\n  use_accelerate_endpoint = true\n"),
    "s3-fast-dual": s3("eu-west-1", "DUALSTACK", text="s3 =\n  use_accelerate_endpoint = true\n"),
    "s3-fast-fips": s3("eu-west-1", "FIPS", text="s3 =\n  use_accelerate_endpoint = true\n"),
    "s3-fast-cn": s3("cn-north-1", text="s3 =\n  use_accelerate_endpoint = true\n"),
    "s3-endpoint-fips": {"env": {**ENV, "AWS_USE_FIPS_ENDPOINT": "true"}},
    "sso-host-cn": sso_host("cn-north-1"),
    "sso-host-gov-fips": sso_host("us-gov-west-1", "FIPS"),
    "sso-host-fips-dual": sso_host("eu-west-1", "FIPS", "DUALSTACK"),
    "oidc-host-eusc": oidc_host("eusc-de-east-1"),
    "oidc-host-fips": oidc_host("eu-west-1", "FIPS"),
}
