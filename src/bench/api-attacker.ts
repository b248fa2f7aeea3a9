/** The load generator against a front, as a process of its own. It weighs as any other program of the host. */
import { spawn, type ChildProcessByStdio } from "node:child_process";
import { createInterface, type Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { SteadfastError } from "../foundation/errors.js";
import type { AttackName, AttackReport } from "./api-attack/attacks.js";
import type { Aim } from "./api-attack/connection.js";
import type { Order } from "./api-attack/main.js";

const MAIN_PATH = fileURLToPath(new URL("./api-attack/main.js", import.meta.url));

export class ApiAttacker {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  constructor() {
    // A session of its own, so that Linux weighs it apart from the payment clients here.
    this.#child = spawn(process.execPath, [MAIN_PATH], { detached: true, stdio: ["pipe", "pipe", "inherit"] });
    this.#child.stdin.on("error", () => undefined);
    const lines: Interface = createInterface({ input: this.#child.stdout });
    this.#lines = lines[Symbol.asyncIterator]();
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async begin(attack: AttackName, aim: Aim): Promise<void> {
    await this.#order({ order: "begin", attack, aim });
  }

  /** What was done since the last report. */
  async report(): Promise<AttackReport> {
    return (await this.#order({ order: "report" })) as AttackReport;
  }

  /** All streams were asked for, and no more of them are let in. */
  async opened(): Promise<void> {
    await this.#order({ order: "opened" });
  }

  async stop(): Promise<void> {
    await this.#order({ order: "stop" });
  }

  end(): void {
    this.#child.kill("SIGKILL");
  }

  async #order(order: Order): Promise<unknown> {
    this.#child.stdin.write(`${JSON.stringify(order)}\n`);
    const { value, done } = await this.#lines.next();
    if (done === true) throw new SteadfastError("BENCH_FAILED", { what: "the load generator", why: "it has ended" });
    return JSON.parse(value) as unknown;
  }
}
