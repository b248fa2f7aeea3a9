/**
 * The recording that ships: whoever changes what the engine computes, or how results are digested, finds out here. If the change is
 * wanted, raise RV64_BEHAVIOUR (then old images and recordings are refused instead of misread) and make the recording anew:
 * `node dist-test/support/make-recording.js`.
 */
import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { RV64_BEHAVIOUR } from "../dist/machine/engines/rv64/index.js";
import type { Machine } from "../dist/machine/machine.js";
import { loadMachine } from "../dist/modules/machine-loader.js";
import { replayFile } from "../dist/recording/files.js";
import type { RecordingHeader } from "../dist/recording/format.js";

const shipped = fileURLToPath(new URL("../test/recordings/board-guest.steadfast", import.meta.url));
const TICKS = 400;
const folder = mkdtempSync(join(tmpdir(), "steadfast-recording-"));
after(() => rmSync(folder, { recursive: true }));

function makeMachine({ machine }: RecordingHeader): Promise<Machine> {
  assert.equal(machine.behaviour, RV64_BEHAVIOUR, "the behaviour number was raised: make the recording anew");
  return loadMachine({ machine, network: { macAddress: machine.macAddress }, epochNs: machine.epochNs });
}

/** The shipped recording with something done to it. */
function changed(name: string, change: (plain: Buffer) => Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, gzipSync(change(gunzipSync(readFileSync(shipped)))));
  return path;
}

test("the shipped recording computes what it computed when it was made", async () => {
  const { outcome } = await replayFile(shipped, makeMachine);
  assert.equal(outcome.difference, null, "the engine computes something else: a defect, or a change that raises RV64_BEHAVIOUR");
  assert.equal(outcome.ticks, TICKS);
  assert.ok(outcome.instructions > 100_000);
});

test("a machine that computes otherwise is found at the first tick that differs", async () => {
  const wrongAt = 200;
  const { header, outcome } = await replayFile(shipped, async (header) => {
    const machine = await makeMachine(header);
    let runs = 0;
    const run = machine.run.bind(machine);
    machine.run = (tick) => run(++runs === wrongAt ? { ...tick, nowNs: tick.nowNs + 10_000_000n } : tick);
    return machine;
  });
  assert.equal(outcome.difference?.seq, header.seq + wrongAt);
  assert.ok(outcome.difference.fields.includes("timeNs"));
});

test("a recording that is cut, garbled or none at all is refused with a sentence", async () => {
  const cut = changed("cut", (plain) => plain.subarray(0, plain.length - 400));
  const garbled = changed("garbled", (plain) => {
    plain.writeUInt32LE(0xffff_fff0, 0);
    return plain;
  });
  const half = join(folder, "half");
  copyFileSync(shipped, half);
  writeFileSync(half, readFileSync(shipped).subarray(0, 2000));
  const other = join(folder, "other");
  writeFileSync(other, "not a recording");
  for (const path of [cut, garbled, half, other, join(folder, "missing")]) {
    await assert.rejects(replayFile(path, makeMachine), (error: { code?: string; message: string }) => {
      assert.equal(error.code, "RECORDING_UNREADABLE", `${path}: ${error.message}`);
      assert.match(error.message, /cannot be replayed: .+/);
      return true;
    });
  }
});
