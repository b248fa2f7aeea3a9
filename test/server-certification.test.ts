/** A real server at the gate: refused, run without a certificate for a reason, certified while it runs, its image altered and mended. */
import assert from "node:assert/strict";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { sha256 } from "../dist/image/store.js";
import { findImage } from "../dist/image/index.js";
import type { LoggedEvent } from "../dist/modules/management-events.js";
import type { ServerReport } from "../dist/modules/management-status.js";
import { runProgram, type Outcome } from "./support/real-server.js";
import { sampleStatement } from "./support/sample-statement.js";

const STEADFAST = fileURLToPath(new URL("../bin/steadfast", import.meta.url));
const LIMIT_MS = 60_000;
const REASON = "trying this kernel out";
const image = findImage({ kernel: "hardened" }) ?? findImage({ kernel: "stock" });

/** Flips one bit in the middle of a file; done twice, it is as it was. */
function flipBit(path: string): void {
  const file = openSync(path, "r+");
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, 100_000);
  writeSync(file, Buffer.from([(byte[0] as number) ^ 4]), 0, 1, 100_000);
}

describe("a server at the gate", { skip: image === undefined && "no image here: steadfast image build" }, () => {
  const base = mkdtempSync(join(tmpdir(), "steadfast-certified-"));
  const places = { STEADFAST_RUN: join(base, "run"), STEADFAST_STATE: join(base, "state"), STEADFAST_CACHE: join(base, "cache") };
  const own = ["--kernel", join(base, "kernel"), "--initrd", join(base, "initrd")];
  const settings = ["up", "-d", "--name", "gate", ...own, "--network", "none", "--redundancy", "simplex"];

  function steadfast(...words: string[]): Promise<Outcome> {
    return runProgram(process.execPath, [STEADFAST, ...words], "", LIMIT_MS, { ...process.env, ...places, NO_COLOR: "1" });
  }
  async function must(...words: string[]): Promise<string> {
    const { code, out, error } = await steadfast(...words);
    assert.equal(code, 0, `${words.join(" ")}: ${out}${error}`);
    return out;
  }
  async function facts<T>(...words: string[]): Promise<T> {
    return JSON.parse(await must(...words, "--json")) as T;
  }
  const status = (): Promise<ServerReport> => facts<ServerReport>("status", "--server", "gate");

  async function until(state: string): Promise<NonNullable<ServerReport["certification"]>> {
    const giveUpAt = Date.now() + LIMIT_MS;
    for (;;) {
      const { certification } = await status();
      if (certification?.state === state) return certification;
      assert.ok(Date.now() < giveUpAt, `never ${state}: ${JSON.stringify(certification)}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
  function events(): LoggedEvent[] {
    const lines = readFileSync(join(places.STEADFAST_STATE, "gate", "events.jsonl"), "utf8")
      .trim()
      .split("\n");
    return lines.map((line) => JSON.parse(line) as LoggedEvent);
  }
  async function refused(code: string, exit: number, ...more: string[]): Promise<void> {
    const outcome = await steadfast(...settings, ...more);
    assert.equal(outcome.code, exit, outcome.out + outcome.error);
    assert.match(outcome.error, new RegExp(code));
    assert.ok(!existsSync(join(places.STEADFAST_RUN, "gate")), "nothing is left of it");
  }

  before(() => {
    copyFileSync((image as NonNullable<typeof image>).kernelPath, join(base, "kernel"));
    copyFileSync((image as NonNullable<typeof image>).initrdPath, join(base, "initrd"));
    mkdirSync(places.STEADFAST_CACHE);
  });
  after(async () => {
    await steadfast("down", "--now", "--server", "gate");
    rmSync(base, { recursive: true, force: true });
  });

  test("is refused without a certificate, and without a reason for having none", async () => {
    await refused("CERTIFICATE_MISSING", 5);
    assert.equal(events().at(-1)?.code, "IMAGE_REFUSED");
    await refused("UNCERTIFIED_REASON", 2, "--uncertified", "  ");
    await refused("UNCERTIFIED_REASON", 2, "--uncertified", "x".repeat(201));
  });

  test("runs uncertified for a reason, which is shown, until its image is certified", async () => {
    const report = await facts<ServerReport>(...settings, "--uncertified", REASON);
    assert.deepEqual([report.certification?.state, report.certification?.reason], ["uncertified", REASON]);
    assert.match(await must("status", "--server", "gate"), new RegExp(`UNCERTIFIED since .*${REASON}`));
    assert.equal(events().filter(({ code }) => code === "UNCERTIFIED").length, 1);

    const { digest } = report.image;
    const lifetime = { issuedAt: "2020-01-01T00:00:00.000Z", expiresAt: "2999-01-01T00:00:00.000Z" };
    const statement = sampleStatement({ image: digest, change: sha256("c"), base: sha256("b"), policy: sha256("p") }, lifetime);
    writeFileSync(join(base, "statement.json"), JSON.stringify(statement));
    const { publicFile } = await facts<{ publicFile: string }>("keys", "create", "vendor");
    await must("certificate", "sign", join(base, "statement.json"), "--key", "vendor", "--out", join(base, "image.cert"));
    assert.equal((await steadfast("certificate", "install", join(base, "image.cert"))).code, 5, "nobody trusts its key yet");
    await must("keys", "trust", publicFile);
    await must("certificate", "install", join(base, "image.cert"));
    const certified = await until("certified");
    assert.deepEqual([certified.level, certified.expiresAt, certified.image], ["quick", lifetime.expiresAt, digest]);
    assert.equal(events().at(-1)?.code, "CERTIFIED_AGAIN");
    const [listed] = await facts<{ image: string; holds: boolean }[]>("certificate", "list");
    assert.deepEqual([listed?.image, listed?.holds], [digest, true]);
  });

  test("finds that its image was altered, and that it was mended", async () => {
    const found = await facts<{ directory: string }[]>("image", "ls");
    const initrd = join(found[0]?.directory ?? "", "initrd");
    flipBit(initrd);
    assert.match((await until("altered")).reason ?? "", /altered/);
    assert.equal(events().at(-1)?.code, "IMAGE_ALTERED");
    await must("down", "--now", "--server", "gate");
    await refused("IMAGE_ALTERED", 5);
    await refused("IMAGE_ALTERED", 5, "--uncertified", REASON);
    flipBit(initrd);
    const report = await facts<ServerReport>(...settings);
    assert.equal(report.certification?.state, "certified");
    assert.ok(
      events()
        .slice(-20)
        .some(({ code }) => code === "CERTIFIED_AGAIN"),
    );
  });
});
