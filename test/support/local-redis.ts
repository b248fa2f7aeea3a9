/** A real Redis server on loopback for tests, run from Debian's `redis-tools` package, whose redis-check-rdb is the server binary under another name. */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import type { Address } from "../../dist/bench/connection.js";
import { freePort } from "./free-port.js";

const BINARIES = ["/usr/bin/redis-server", "/usr/bin/redis-check-rdb"];

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

export interface LocalRedis {
  readonly address: Address;
  stop(): Promise<void>;
}

/** Fails, naming the package, when there is no server binary: a test that needs one must not pass without it. */
export async function startLocalRedis(): Promise<LocalRedis> {
  const binary = BINARIES.find((path) => existsSync(path));
  if (binary === undefined) throw new Error("this test needs a Redis server: apt-get install redis-tools");
  const port = await freePort();
  const options = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  const child: ChildProcess = spawn(binary, options, { argv0: "redis-server", stdio: "ignore" });
  const ended = new Promise<void>((resolve) => child.on("exit", () => resolve()));
  for (let attempt = 0; attempt < 200 && !(await answers(port)); attempt++) await new Promise((resolve) => setTimeout(resolve, 25));
  return {
    address: { host: "127.0.0.1", port },
    stop: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
