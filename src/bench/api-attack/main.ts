/** Entry point of the load generator. Each line of its standard input is an order, each line that it prints the answer to one. */
import { createServer, type AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { Attack, type AttackName } from "./attacks.js";
import { clientHello, type Aim } from "./connection.js";

/** `opened`: wait until no more streams are let in, within a limit. */
export type Order =
  { readonly order: "begin"; readonly attack: AttackName; readonly aim: Aim } | { readonly order: "report" | "opened" | "stop" };

const POLL_MS = 100;
const OPENED_LIMIT_MS = 90_000;
let attack: Attack | null = null;

/** Closes whatever comes, at once. */
const sink = createServer((socket) => socket.on("error", () => undefined).resetAndDestroy());
await new Promise<void>((resolve) => sink.listen(0, "127.0.0.1", resolve));
const hello = await clientHello();

async function carryOut(order: Order): Promise<unknown> {
  switch (order.order) {
    case "begin": {
      const port = order.attack === "sink" ? (sink.address() as AddressInfo).port : order.aim.port;
      attack?.stop();
      attack = new Attack(order.attack, { ...order.aim, port }, hello);
      return {};
    }
    case "opened": {
      const giveUpAt = performance.now() + OPENED_LIMIT_MS;
      while (attack?.isOpen === false && performance.now() < giveUpAt) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      return {};
    }
    case "report":
      return attack?.report() ?? {};
    case "stop":
      attack?.stop();
      attack = null;
      return {};
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await carryOut(JSON.parse(line) as Order))}\n`);
}
// Whoever gave the orders is gone.
process.exit(0);
