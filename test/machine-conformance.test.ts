/** Every engine against the conformance suite. */
import { createToyMachine } from "../dist/machine/toy.js";
import { createGuest, frame } from "./support/board-guest.js";
import { machineConformance } from "./support/machine-conformance.js";

machineConformance("toy", () =>
  createToyMachine({ ramBytes: 64 * 4096, commandLine: "timer=10 work=5000", epochNs: 7n, imageDigest: "ab" }),
);

machineConformance("toy with a disk", () =>
  createToyMachine({ ramBytes: 64 * 4096, commandLine: "timer=2 work=5000 disk=5", epochNs: 7n, imageDigest: "ab" }),
);

machineConformance("rv64", () => createGuest(), {
  ticks: 120,
  budget: 100_000,
  bootTicks: 5,
  work: (index) => (index % 2 === 0 ? frame(index % 250, 60 + index) : { kind: "console", bytes: Uint8Array.of(97 + (index % 26), 10) }),
});
