# SPDX-License-Identifier: Apache-2.0
"""Servers on loopback that stand in for AWS: a TLS store that is reached through a CONNECT proxy,
so that the client may use AWS' own host names."""
import http.server
import select
import socket
import socketserver
import ssl
import threading


class _Threads:
    def start(self, server):
        self.server = server
        self.port = server.server_address[1]
        self.thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # clients that go away are what many tests are about


class Store(_Threads):
    """answer(handler) -> (status, headers, body); with a certificate and a key it speaks TLS."""

    def __init__(self, answer, certificate=None, configure=None):
        store = self
        self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                store.requests.append((self.headers.get("Host"), self.path, dict(self.headers)))
                status, headers, body = answer(self)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        server = Server(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            if configure:
                configure(context)
            server.socket = context.wrap_socket(server.socket, server_side=True,
                                                do_handshake_on_connect=False)
        self.start(server)


class ConnectProxy(_Threads):
    """Leads every host to one port on loopback. refuse: a status to answer CONNECT with; cut_after:
    bytes towards the client after which connections are cut, for the first `cuts` of them."""

    def __init__(self, port, refuse=None, cut_after=None, cuts=0):
        proxy = self
        self.hosts = []
        self.cuts = cuts
        self.lock = threading.Lock()

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                first = self.rfile.readline().decode()
                headers = []
                while (line := self.rfile.readline().strip()):
                    headers.append(line.decode())
                proxy.hosts.append(first.split()[1])
                if refuse:
                    self.wfile.write(f"HTTP/1.1 {refuse} No\r\nContent-Length: 0\r\n\r\n".encode())
                    return
                with proxy.lock:
                    limit = cut_after if proxy.cuts > 0 else None
                    proxy.cuts -= 1
                upstream = socket.create_connection(("127.0.0.1", port))
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                self.relay(upstream, limit)
                upstream.close()

            def relay(self, upstream, limit):
                sent = 0
                while True:
                    ready, _, _ = select.select([self.connection, upstream], [], [])
                    for one in ready:
                        data = one.recv(65536)
                        if not data:
                            return
                        other = upstream if one is self.connection else self.connection
                        other.sendall(data)
                        if one is upstream:
                            sent += len(data)
                            if limit and sent > limit:
                                return

        class Proxy(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request, client_address):
                pass

        self.start(Proxy(("127.0.0.1", 0), Handler))

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"
