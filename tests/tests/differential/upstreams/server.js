// Node's own HTTPS server. Prints its port, then one line of JSON for each request that it saw.
const fs = require("fs"), https = require("https");
const say = (what) => fs.writeSync(1, JSON.stringify(what) + "\n");
const [, , cert, key] = process.argv;
const options = { cert: fs.readFileSync(cert), key: fs.readFileSync(key), maxHeaderSize: 1 << 20, keepAliveTimeout: 0 };
const server = https.createServer(options, (request, response) => {
  let body = 0;
  request.on("data", (data) => (body += data.length));
  request.on("end", () => {
    say({ method: request.method, target: request.url, host: request.headers.host || "", body });
    response.end(request.url);
  });
});
const strange = (kind) => (request, socket) => {
  say({ error: `${kind}: ${request.method} ${request.url}` });
  socket.destroy();
};
server.on("upgrade", strange("upgrade"));
server.on("connect", strange("connect"));
server.on("clientError", (error, socket) => {
  if (error.rawPacket) say({ error: `${error.code}: ${error.rawPacket.toString("latin1")}` });
  socket.destroy();
});
server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
