# SPDX-License-Identifier: Apache-2.0
"""A small client of Azure Blob Storage for tests: SharedKey and SAS by the standard library alone,
so that it shares nothing with what it helps to test."""
import base64
import datetime
import hashlib
import hmac
import http.client
import urllib.parse

VERSION = "2021-12-02"


def _quote(text):
    return urllib.parse.quote(text, safe="-_.~")


class Client:
    def __init__(self, url, account, key):
        """url: with the account's name as path."""
        self.url = urllib.parse.urlsplit(url)
        self.account, self.key = account, base64.b64decode(key)
        self.connect = http.client.HTTPConnection

    def _sign(self, text):
        return base64.b64encode(hmac.new(self.key, text.encode(), hashlib.sha256).digest()).decode()

    def request(self, method, path, parameters=(), body=b"", headers=None):
        """path is percent-encoded, without the account."""
        path = f"/{self.account}{path}"
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
        sent = {"x-ms-version": VERSION, "x-ms-date": now, **(headers or {})}
        lines = "".join(f"{name}:{sent[name]}\n" for name in sorted(sent) if name.startswith("x-ms-"))
        text = f"{method}\n\n\n{len(body) or ''}\n" + "\n" * 8 + lines + f"/{self.account}{path}"
        text += "".join(f"\n{name}:{value}" for name, value in sorted(parameters))
        sent["Authorization"] = f"SharedKey {self.account}:{self._sign(text)}"
        query = "&".join(f"{_quote(name)}={_quote(value)}" for name, value in parameters)
        connection = self.connect(self.url.netloc)
        try:
            connection.request(method, path + ("?" + query if query else ""), body, sent)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status >= 300:
                raise RuntimeError(f"{answer.status}: {content[:500]!r}")
            return content
        finally:
            connection.close()

    def make_container(self, name):
        self.request("PUT", "/" + name, [("restype", "container")])

    def put(self, container, name, body):
        quoted = urllib.parse.quote(name, safe="-_.~/")
        self.request("PUT", f"/{container}/{quoted}", body=body,
                     headers={"x-ms-blob-type": "BlockBlob"})

    def sas(self, container, minutes=60, permissions="rl"):
        """A query that opens a container for reading."""
        until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
        expiry = until.strftime("%Y-%m-%dT%H:%M:%SZ")
        fields = [permissions, "", expiry, f"/blob/{self.account}/{container}", "", "", "", VERSION,
                  "c", "", "", "", "", "", "", ""]
        signature = self._sign("\n".join(fields))
        return (f"sv={VERSION}&sr=c&sp={permissions}&se={_quote(expiry)}&sig={_quote(signature)}")
