# SPDX-License-Identifier: Apache-2.0
"""Asks for a bucket's listing with the token and the quota project that google-auth finds."""

import os

import google.auth
import requests
from google.auth.transport.requests import Request

credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/devstorage.read_only"])
asked = os.environ["STREAMER_GCS_ENDPOINT"] + "/token"
for one in (credentials, getattr(credentials, "_source_credentials", None)):
    # Of users' files token_uri is not read; Google's own is not to be asked from here.
    if hasattr(one, "_refresh_token"):
        one._token_uri = asked
if hasattr(credentials, "with_always_use_jwt_access") and "googleapis.com" in credentials._token_uri:
    # What it would sign stands for what it would get.
    credentials = credentials.with_always_use_jwt_access(True)
    credentials._create_self_signed_jwt(None)
credentials.refresh(Request())
project = credentials.quota_project_id
requests.get(
    os.environ["STREAMER_GCS_ENDPOINT"] + "/bucket",
    params={"userProject": project} if project else {},
    headers={"Authorization": "Bearer " + credentials.token},
    timeout=10,
)
