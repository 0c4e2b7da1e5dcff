# SPDX-License-Identifier: Apache-2.0
"""A small S3 client for tests: SigV4 by the standard library alone, so that it shares nothing with
what it helps to test."""
import datetime
import hashlib
import hmac
import http.client
import ssl
import urllib.parse


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class S3Error(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status}: {body[:500]!r}")
        self.status = status
        self.body = body


class Client:
    def __init__(self, url, access_key, secret_key, token=None, region="us-east-1", ca=None):
        self.url = urllib.parse.urlsplit(url)
        self.keys = (access_key, secret_key, token)
        self.region = region
        self.context = ssl.create_default_context(cafile=ca) if self.url.scheme == "https" else None

    def _connect(self):
        if self.context:
            return http.client.HTTPSConnection(self.url.netloc, context=self.context)
        return http.client.HTTPConnection(self.url.netloc)

    def sign(self, method, path, query, body, service, headers):
        access_key, secret_key, token = self.keys
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        payload = hashlib.sha256(body).hexdigest()
        signed = {"host": self.url.netloc, "x-amz-date": now, **headers}
        if service == "s3":
            signed["x-amz-content-sha256"] = payload
        if token:
            signed["x-amz-security-token"] = token
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        canonical = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}"
        scope = f"{now[:8]}/{self.region}/{service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = _hmac(_hmac(_hmac(_hmac(("AWS4" + secret_key).encode(), now[:8]), self.region),
                          service), "aws4_request")
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        signed["Authorization"] = (f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, "
                                   f"SignedHeaders={names}, Signature={signature}")
        return signed

    def request(self, method, path, parameters=(), body=b"", service="s3", headers=None):
        """path is percent-encoded. Returns (status, headers, body); raises S3Error from 300 on."""
        quote = lambda text: urllib.parse.quote(text, safe="-_.~")
        query = "&".join(sorted(f"{quote(name)}={quote(value)}" for name, value in parameters))
        signed = self.sign(method, path, query, body, service, headers or {})
        connection = self._connect()
        try:
            connection.request(method, path + ("?" + query if query else ""), body, signed)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status >= 300:
                raise S3Error(answer.status, content)
            return answer.status, dict(answer.getheaders()), content
        finally:
            connection.close()

    def make_bucket(self, bucket):
        self.request("PUT", "/" + bucket)

    def put(self, bucket, key, body):
        quoted = urllib.parse.quote(key, safe="-_.~/")
        return self.request("PUT", f"/{bucket}/{quoted}", body=body)

    def form(self, parameters, path="/", service="sts"):
        """A form post, as IAM and STS take it. %20, not +: radosgw does not decode the latter."""
        quote = lambda text: urllib.parse.quote(text, safe="-_.~")
        body = "&".join(f"{quote(name)}={quote(value)}" for name, value in parameters.items())
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return self.request("POST", path, body=body.encode(), service=service, headers=headers)[2]
