// Socket.IO 4 with its Redis adapter, as its documentation shows it: `node server.js PORT REDIS_URL`.
// A text goes to everybody else of its room. Nothing is stored; nobody learns whether it arrived.
"use strict";

const { createServer } = require("node:http");
const { createAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");
const { Server } = require("socket.io");

async function main(port, redisUrl) {
  const publisher = createClient({ url: redisUrl });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  const server = createServer();
  const io = new Server(server, { transports: ["websocket"], adapter: createAdapter(publisher, subscriber) });
  io.on("connection", (socket) => {
    socket.on("enter", (room, entered) => {
      socket.join(room);
      entered();
    });
    socket.on("say", (room, text) => socket.to(room).emit("said", text));
  });
  server.listen({ port, host: "127.0.0.1", backlog: 4096 });
}

main(Number(process.argv[2]), process.argv[3]);
