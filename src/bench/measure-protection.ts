/** Figures of what finding wrong computing costs: checkpoints, the rotating window of the digest, the memory check. */
import { DAMAGE_EVERY_MS, DAMAGE_LOOKS } from "../lockstep/limits.js";
import { SCRUB_INSTRUCTIONS } from "../machine/engines/rv64/quantum-digest.js";
import { loadMachine } from "../modules/machine-loader.js";
import type { BenchContext } from "./bench-context.js";
import { judge, type Figure } from "./figures.js";
import { redisRates } from "./measure-speed.js";
import { formatMs } from "./plot.js";
import { median, pairedRatio } from "../foundation/statistics.js";

const CHECKPOINT_RATIO = 0.95;
const SCRUB_SHARE_LIMIT = 0.03;
const SCRUB_PERIOD_LIMIT_S = 5;
const RAM_BYTES = 256 * 1024 * 1024;
const PAGE_BYTES = 4096;
const COMMAND = "steadfast bench protection";

function medianMs(rounds: number, work: () => unknown): number {
  const times = Array.from({ length: rounds }, () => {
    const startMs = performance.now();
    work();
    return performance.now() - startMs;
  });
  return median(times);
}

/** Time to go once over 256 MiB in which every page holds something, for the digest and for the memory check. */
async function passTimes(rounds: number): Promise<{ digestMs: number; checkMs: number }> {
  const machine = await loadMachine({
    machine: { engine: "rv64", kernelPath: "", initrdPath: "", commandLine: "", ramBytes: RAM_BYTES, harts: 1, imageDigest: "" },
    network: { macAddress: "" },
    epochNs: "0",
  });
  const pages = RAM_BYTES / PAGE_BYTES;
  const page = new Uint8Array(PAGE_BYTES);
  for (let number = 0; number < pages; number++) {
    page.fill((number % 255) + 1);
    machine.restore({ page: number, bytes: page });
  }
  const digestMs = medianMs(rounds + 1, () => machine.fullDigest());
  const checkpointer = machine.checkpointer();
  checkpointer.mark();
  const checkMs = medianMs(rounds + 1, () => checkpointer.findDamage(pages));
  checkpointer.stop();
  return { digestMs, checkMs };
}

/** `mips`: the guest's speed, which says how often the digest's window goes round. */
async function scrubFigures(rounds: number, mips: number): Promise<Figure[]> {
  const { digestMs, checkMs } = await passTimes(rounds);
  const windowPeriodS = SCRUB_INSTRUCTIONS / (mips * 1e6);
  const checkPeriodS = (DAMAGE_EVERY_MS * DAMAGE_LOOKS) / 1000;
  const share = digestMs / 1000 / windowPeriodS + checkMs / 1000 / checkPeriodS;
  const info = (name: string, measured: string, value: number): Figure => ({
    ...{ name, target: "-", measured, value, verdict: "info", command: COMMAND },
  });
  return [
    info("digest of 256 MiB, once", formatMs(digestMs), digestMs),
    info("memory check of 256 MiB, once", formatMs(checkMs), checkMs),
    {
      name: "the digest's window has seen all RAM within (guest run time)",
      target: `<= ${SCRUB_PERIOD_LIMIT_S} s`,
      measured: `${windowPeriodS.toFixed(1)} s`,
      value: windowPeriodS,
      verdict: judge(windowPeriodS, { atMost: SCRUB_PERIOD_LIMIT_S }),
      command: COMMAND,
    },
    {
      name: "the memory check has seen all RAM within",
      target: `<= ${SCRUB_PERIOD_LIMIT_S} s`,
      measured: `${checkPeriodS.toFixed(1)} s`,
      value: checkPeriodS,
      verdict: judge(checkPeriodS, { atMost: SCRUB_PERIOD_LIMIT_S }),
      command: COMMAND,
    },
    {
      name: "scrub: share of a module's processor time, both together",
      target: `<= ${SCRUB_SHARE_LIMIT * 100}%`,
      measured: `${(share * 100).toFixed(2)}%`,
      value: share,
      verdict: judge(share, { atMost: SCRUB_SHARE_LIMIT }),
      command: COMMAND,
    },
  ];
}

export async function measureProtection(context: BenchContext): Promise<Figure[]> {
  const [checked, unchecked] = [await context.duplex(), await context.unchecked()];
  const { set, get, mips } = await redisRates(context, [
    { label: "duplex", host: checked.host },
    { label: "unchecked", host: unchecked.host },
  ]);
  await context.stopAll();
  const ratios = [
    ["SET", set],
    ["GET", get],
  ] as const;
  return [
    ...ratios.map(([name, rates]): Figure => {
      const ratio = pairedRatio(rates.duplex, rates.unchecked);
      return {
        name: `redis ${name}, with / without checkpoints and memory check`,
        target: `>= ${CHECKPOINT_RATIO}`,
        measured: ratio.toFixed(3),
        value: ratio,
        verdict: judge(ratio, { atLeast: CHECKPOINT_RATIO }),
        command: COMMAND,
      };
    }),
    ...(await scrubFigures(context.options.rounds, median(mips.duplex))),
  ];
}
