# SPDX-License-Identifier: Apache-2.0
"""A real S3 store for tests: Ceph's monitor, one OSD that keeps objects in memory, and two gateways.

The first gateway answers with S3's own error codes, over http and https; the second has STS, which
makes errors of permanent keys less clear. All of it on loopback, on free ports, and ended by pid."""
import os
import signal
import subprocess
import time

from ports import free_ports, wait_for

ACCESS_KEY = "TESTACCESSKEY0000001"
# With the characters that encoders get wrong.
SECRET_KEY = "testSecretKey/with+slash/and+plus00000001"

CONF = """[global]
fsid = 11111111-2222-3333-4444-555555555555
mon host = [v2:127.0.0.1:{mon2},v1:127.0.0.1:{mon1}]
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = false
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
pid file = {folder}/run/$name.pid
log file = {folder}/$name.log
keyring = {folder}/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 2000
mon data avail crit = 1
mon data avail warn = 2
ms mon client mode = crc secure
ms cluster mode = crc
ms service mode = crc
ms client mode = crc
[client]
rgw dns name = s3.localhost
rgw thread pool size = 64
rgw enable usage log = false
rgw enable gc threads = false
rgw enable lc threads = false
[mon.a]
mon data = {folder}/mon
host = localhost
[osd]
osd objectstore = memstore
memstore device bytes = 2147483648
osd max object name len = 2048
osd op num shards = 2
osd op num threads per shard = 2
[osd.0]
osd data = {folder}/osd0
host = localhost
[client.rgw.a]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{http} {tls}
[client.rgw.b]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{sts}
rgw s3 auth use sts = true
rgw sts key = 0123456789abcdef
rgw sts min session duration = 900
"""


class Radosgw:
    def __init__(self, folder, authority):
        self.folder = folder
        self.processes = []
        mon1, mon2, self.http, self.https, self.sts = free_ports(5)
        crt, key = authority.issue(
            "gateway", "DNS:localhost,DNS:s3.localhost,DNS:*.s3.localhost,IP:127.0.0.1")
        for name in ("mon", "osd0", "run", "rgw"):
            os.makedirs(os.path.join(folder, name))
        tls = (f"ssl_endpoint=127.0.0.1:{self.https} ssl_certificate={crt} "
               f"ssl_private_key={key}")
        self.conf = os.path.join(folder, "ceph.conf")
        with open(self.conf, "w", encoding="ascii") as file:
            file.write(CONF.format(folder=folder, mon1=mon1, mon2=mon2, http=self.http,
                                   sts=self.sts, tls=tls))
        self.mon1, self.mon2 = mon1, mon2

    def url(self, gateway="http"):
        return {"http": f"http://127.0.0.1:{self.http}", "https": f"https://127.0.0.1:{self.https}",
                "sts": f"http://127.0.0.1:{self.sts}"}[gateway]

    def run(self, *arguments):
        return subprocess.run(arguments, check=True, capture_output=True, text=True,
                              env={**os.environ, "CEPH_CONF": self.conf}, timeout=60)

    def spawn(self, *arguments):
        log = open(os.path.join(self.folder, os.path.basename(arguments[0]) + ".out"), "ab")
        process = subprocess.Popen(arguments, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                   env={**os.environ, "CEPH_CONF": self.conf})
        log.close()
        self.processes.append(process)
        return process

    def start(self):
        monmap = os.path.join(self.folder, "monmap")
        self.run("monmaptool", "--create", "--clobber", "--fsid",
                 "11111111-2222-3333-4444-555555555555", "--addv", "a",
                 f"[v2:127.0.0.1:{self.mon2},v1:127.0.0.1:{self.mon1}]", monmap)
        self.run("ceph-mon", "-c", self.conf, "--mkfs", "-i", "a", "--monmap", monmap)
        monitor = self.spawn("ceph-mon", "-c", self.conf, "-f", "-i", "a")
        wait_for(self.mon2, monitor, 60)
        uuid = "22222222-2222-3333-4444-555555555555"
        self.run("ceph", "-c", self.conf, "osd", "new", uuid)
        self.run("ceph-osd", "-c", self.conf, "-i", "0", "--mkfs", "--osd-uuid", uuid)
        self.spawn("ceph-osd", "-c", self.conf, "-f", "-i", "0")
        deadline = time.monotonic() + 60
        while "1 up" not in self.run("ceph", "-c", self.conf, "osd", "stat").stdout:
            if time.monotonic() > deadline:
                raise RuntimeError("the OSD does not come up")
            time.sleep(0.2)
        gateway = self.spawn("radosgw", "-c", self.conf, "-f", "-n", "client.rgw.a")
        wait_for(self.http, gateway, 120)
        self.run("radosgw-admin", "-c", self.conf, "user", "create", "--uid=tester",
                 "--display-name=tester", "--access-key=" + ACCESS_KEY,
                 "--secret-key=" + SECRET_KEY,
                 "--caps=roles=*;user-policy=*;oidc-provider=*")
        gateway = self.spawn("radosgw", "-c", self.conf, "-f", "-n", "client.rgw.b")
        wait_for(self.sts, gateway, 120)

    def stop(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
