/**
 * A digest of a tick's outputs alone. The voted digest of a result is made inside of the machine; what then travels as outputs could
 * still be damaged on its way through a module's process. So the outputs get a digest of their own, which is voted too, and whoever
 * releases them checks that they are what the vote was about.
 */
import { Hash } from "../foundation/hash.js";
import type { DiskOperation, MachineOutput } from "../machine/machine.js";

const CODES: Readonly<Record<MachineOutput["kind"], number>> = {
  frame: 1,
  console: 2,
  entropyRequest: 3,
  reset: 4,
  powerOff: 5,
  disk: 6,
  agent: 7,
};
const DISK_CODES: Readonly<Record<DiskOperation, number>> = { read: 1, write: 2, flush: 3 };

/** 64 bits; 0 for none. */
export function outputsDigest(outputs: readonly MachineOutput[]): bigint {
  if (outputs.length === 0) return 0n;
  const hash = new Hash();
  for (const output of outputs) {
    hash.number(CODES[output.kind]);
    switch (output.kind) {
      case "frame":
        hash.number(output.port).bytes(output.bytes);
        break;
      case "console":
      case "agent":
        hash.bytes(output.bytes);
        break;
      case "entropyRequest":
        hash.number(output.lengthBytes);
        break;
      case "disk":
        hash.number(output.id).number(DISK_CODES[output.operation]).number(output.offset).number(output.lengthBytes).bulk(output.bytes);
        break;
      case "reset":
      case "powerOff":
        hash.number(output.failure ? 1 : 0);
    }
  }
  return hash.value64();
}
