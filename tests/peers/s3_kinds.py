#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where directory buckets and access points are asked, and how: ours against botocore's.

By hand, not in CI: pip install -r requirements.txt, then s3_kinds.py STREAMER
No request leaves this machine: theirs are caught before they are sent, ours end at a proxy.
"""

import os
import re
import subprocess
import sys
import tempfile

import boto3
import botocore.config
from botocore.awsrequest import AWSResponse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "servers"))
STREAMER = os.path.abspath(sys.argv[1])

import fake_aws  # noqa: E402

SESSION = b"""<CreateSessionResult><Credentials><SessionToken>T</SessionToken>
<SecretAccessKey>S</SecretAccessKey><AccessKeyId>A</AccessKeyId>
<Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></CreateSessionResult>"""
ACCOUNT = "123456789012"
BUCKETS = [
    ("data--use1-az4--x-s3", "us-east-1"),
    ("data--usw2-lax1-az1--x-s3", "us-west-2"),
    ("point--use1-az4--xa-s3", "us-east-1"),
    (f"arn:aws:s3:eu-west-1:{ACCOUNT}:accesspoint/reader", "us-east-1"),
    (f"arn:aws:s3:eu-west-1:{ACCOUNT}:accesspoint:reader", "eu-west-1"),
    (f"arn:aws-cn:s3:cn-north-1:{ACCOUNT}:accesspoint/reader", "cn-north-1"),
    (f"arn:aws-us-gov:s3:us-gov-west-1:{ACCOUNT}:accesspoint/reader", "us-gov-west-1"),
]
VARIANTS = [
    {},
    {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
    {"AWS_USE_FIPS_ENDPOINT": "true"},
    {"AWS_S3_DISABLE_EXPRESS_SESSION_AUTH": "true"},
]


class Body:
    def __init__(self, content):
        self.content = content

    def stream(self, **_):
        yield self.content


def theirs(bucket, region, variables):
    """The host that the last request goes to."""
    seen = []

    def catch(request, **_):
        seen.append(request)
        is_session = "session" in request.url
        return AWSResponse(request.url, 200 if is_session else 404, {},
                           Body(SESSION if is_session else b"<Error><Code>NoSuchKey</Code></Error>"))

    os.environ.update(variables)
    try:
        client = boto3.client("s3", region_name=region, aws_access_key_id="K",
                              aws_secret_access_key="S", config=botocore.config.Config())
        client.meta.events.register("before-send.s3", catch)
        try:
            client.get_object(Bucket=bucket, Key="key")
        except Exception as refused:  # noqa: BLE001: a reason to refuse is an answer, too
            if not seen:
                return "refused: " + str(refused)
        last = seen[-1]
        return re.match(r"https://([^/]+)/", last.url)[1]
    finally:
        for name in variables:
            del os.environ[name]


def ours(bucket, region, variables):
    with tempfile.TemporaryDirectory() as home:
        proxy = fake_aws.ConnectProxy(1, refuse=403)
        done = subprocess.run(
            [STREAMER, "doctor", f"s3://{bucket}/key"], capture_output=True, text=True, check=False,
            env={"PATH": os.environ["PATH"], "HOME": home, "AWS_REGION": region,
                 "AWS_ACCESS_KEY_ID": "K", "AWS_SECRET_ACCESS_KEY": "S", "HTTPS_PROXY": proxy.url,
                 "AWS_EC2_METADATA_DISABLED": "true", **variables})
        proxy.stop()
        if not proxy.hosts:
            return "refused: " + done.stdout + done.stderr
        return proxy.hosts[0].rpartition(":")[0]


def main():
    differ = 0
    for bucket, region in BUCKETS:
        for variables in VARIANTS:
            their, our = theirs(bucket, region, variables), ours(bucket, region, variables)
            is_same = our == their or our[:7] == their[:7] == "refused"
            differ += not is_same
            print("same  " if is_same else "DIFFER", bucket, *variables, "|", our.strip()[-200:],
                  "" if is_same else f"| theirs: {their}")
    sys.exit(differ != 0)


if __name__ == "__main__":
    main()
