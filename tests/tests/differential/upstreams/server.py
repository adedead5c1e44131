# Python's own HTTP server. Prints its port, then one line of JSON for each request that it saw.
import http.server, json, ssl, sys, threading

lock = threading.Lock()


def say(what):
    with lock:
        print(json.dumps(what), flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return len(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        total = 0
        while size := int(self.rfile.readline(), 16):
            total += len(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return total

    def answer(self):
        target = self.requestline.split(" ")[1]
        hosts = ",".join(self.headers.get_all("Host") or [])
        say({"method": self.command, "target": target, "host": hosts, "body": self.body()})
        answer = target.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    def log_message(self, *_):
        pass

    def send_error(self, code, *rest, **more):
        say({"error": f"{code}: {self.raw_requestline!r}"})
        super().send_error(code, *rest, **more)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
# A body that breaks off is no fault of ours.
server.handle_error = lambda *_: None
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
say({"port": server.server_address[1]})
server.serve_forever()
