// Answers every request with the name of its runtime, and finishes what it has when it is told to end.
const http = require("node:http");

const server = http.createServer((request, response) => {
  response.end(`served by Node ${process.version}\n`);
});
server.listen(Number(process.argv[2]), "127.0.0.1");
process.on("SIGTERM", () => server.close());
