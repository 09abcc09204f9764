// Moleculer over NATS as a peer of the benchmarks: a server, or a client that loads it and prints
// what it measured as one JSON line.
//
//   node peer.js server --address nats://127.0.0.1:4222
//   node peer.js client --address ... --case unary --concurrency 64 --seconds 2

"use strict";

const { parseArgs } = require("node:util");
const { ServiceBroker } = require("moleculer");

const WARM_UP = 1.0;

const { positionals, values: options } = parseArgs({
  allowPositionals: true,
  options: {
    address: { type: "string", default: "nats://127.0.0.1:4222" },
    case: { type: "string", default: "unary" },
    concurrency: { type: "string", default: "1" },
    seconds: { type: "string", default: "2" },
    size: { type: "string", default: "100" },
  },
});

const service = {
  name: "bench",
  actions: {
    ask: {
      params: { name: "string", number: "number" },
      handler: ({ params }) => ({ name: params.name, number: params.number + 1 }),
    },
    echo: {
      params: { text: "string" },
      handler: ({ params }) => ({ text: params.text }),
    },
  },
};

function newBroker(role) {
  return new ServiceBroker({
    nodeID: `${role}-${process.pid}`,
    namespace: "bench",
    transporter: options.address,
    requestTimeout: 5000,
    logger: false,
  });
}

async function serve() {
  const broker = newBroker("server");
  broker.createService(service);
  await broker.start();
  console.log(`ready ${options.address}`);
  process.stdin.resume();
  process.stdin.on("end", async () => {
    await broker.stop();
    process.exit(0);
  });
}

async function drive() {
  const broker = newBroker("client");
  await broker.start();
  await broker.waitForServices("bench");
  const text = "x".repeat(Number(options.size));
  const call =
    options.case === "payload"
      ? () => broker.call("bench.echo", { text })
      : () => broker.call("bench.ask", { name: "ann", number: 5 });
  const warm = await repeat(call, WARM_UP);
  const cpu = process.cpuUsage();
  const began = process.hrtime.bigint();
  const latencies = await repeat(call, Number(options.seconds));
  const took = Number(process.hrtime.bigint() - began) / 1e9;
  const used = process.cpuUsage(cpu);
  latencies.sort((a, b) => a - b);
  const count = latencies.length;
  const result = {
    rate: count / took,
    p50: latencies[Math.floor(count * 0.5)],
    p99: latencies[Math.floor(count * 0.99)],
    client_cpu: (used.user + used.system) / count,
    total: warm.length + count,
  };
  console.log(JSON.stringify(result));
  await broker.stop();
  process.exit(0);
}

// Calls for so many seconds; gives the microseconds that each call took.
async function repeat(call, seconds) {
  const now = () => Number(process.hrtime.bigint()) / 1e3;
  const end = now() + seconds * 1e6;
  const latencies = [];
  const work = async () => {
    let began = now();
    while (began < end) {
      await call();
      const ended = now();
      latencies.push(ended - began);
      began = ended;
    }
  };
  await Promise.all(Array.from({ length: Number(options.concurrency) }, work));
  return latencies;
}

(positionals[0] === "server" ? serve() : drive()).catch((error) => {
  console.error(error);
  process.exit(1);
});
