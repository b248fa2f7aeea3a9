/**
 * What floods of the control API cost the guest's users: the payment workload's p99 without and with an attack, turn by turn. The attacker
 * has the same processors, at the lowest weight that there is; what it takes from the payments is counted against the server.
 */
import { frontPids } from "../modules/management-front.js";
import { serverPaths } from "../modules/management-paths.js";
import { freePort, LOOPBACK, newToken } from "./api-seat.js";
import { ApiAttacker } from "./api-attacker.js";
import { STREAMS_ASKED, type AttackName, type AttackReport } from "./api-attack/attacks.js";
import type { Aim } from "./api-attack/connection.js";
import type { BenchContext } from "./bench-context.js";
import type { BenchServer } from "./bench-server.js";
import { REDIS_PORT } from "./connection.js";
import { SteadfastError } from "../foundation/errors.js";
import { median, pairedRatio } from "../foundation/statistics.js";
import { NO_FAULTS, pause } from "./faults.js";
import { judge, type Figure } from "./figures.js";
import { cpuSeconds } from "./host.js";
import { runPayments } from "./payments.js";
import { formatMs } from "./plot.js";

const P99_RATIO_MOST = 1.1;
const CLIENTS = 16;
const ACCOUNTS = 100;
const SLICE_SECONDS = 10;
/** After an attack, until its connections are gone; before a measurement under one, until it is at its height. */
const SETTLE_MS = 2000;

interface Slice {
  readonly p99Ms: number;
  readonly perSecond: number;
}

interface UnderAttack extends Slice {
  readonly attack: AttackReport;
  /** Of a core, the fronts together and the generator. */
  readonly frontShare: number;
  readonly ownShare: number;
}

class ApiBench {
  readonly #context: BenchContext;
  readonly #server: BenchServer;
  readonly #attacker: ApiAttacker;
  readonly #aim: Aim;

  constructor(context: BenchContext, server: BenchServer, attacker: ApiAttacker, aim: Aim) {
    this.#context = context;
    this.#server = server;
    this.#attacker = attacker;
    this.#aim = aim;
  }

  async payments(): Promise<Slice> {
    this.#context.options.signal.throwIfAborted();
    const { report } = await runPayments({
      address: { host: this.#server.host, port: REDIS_PORT },
      clients: CLIENTS,
      accounts: ACCOUNTS,
      seed: this.#context.options.seed,
      seconds: SLICE_SECONDS,
      untilFaultsDone: false,
      faults: NO_FAULTS,
      source: this.#server.source,
      keep: false,
      onProgress: () => undefined,
    });
    if (report.broken.length > 0) throw new SteadfastError("BENCH_FAILED", { what: "the payment workload", why: report.broken.join("; ") });
    return { p99Ms: report.load.latency.p99Ms, perSecond: report.load.perSecond };
  }

  async begin(attack: AttackName): Promise<void> {
    await this.#attacker.begin(attack, this.#aim);
    if (attack === "streams") await this.#attacker.opened();
    await pause(SETTLE_MS);
  }

  async end(): Promise<void> {
    await this.#attacker.stop();
    await pause(SETTLE_MS);
  }

  /** Payments while the attack goes on, and what it did meanwhile. */
  async paymentsUnder(): Promise<UnderAttack> {
    await this.#attacker.report();
    const [startMs, fronts, own] = [performance.now(), this.#frontSeconds(), cpuSeconds(this.#attacker.pid)];
    const slice = await this.payments();
    const seconds = (performance.now() - startMs) / 1000;
    const frontShare = (this.#frontSeconds() - fronts) / seconds;
    const ownShare = (cpuSeconds(this.#attacker.pid) - own) / seconds;
    return { ...slice, attack: await this.#attacker.report(), frontShare, ownShare };
  }

  #frontSeconds(): number {
    return frontPids(serverPaths(this.#server.options.name), ["mgmt0", "mgmt1"]).reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  }
}

const TITLES: Readonly<Record<AttackName, string>> = {
  flood: "a flood (handshakes, valid and wrong tokens, oversized bodies, slow clients)",
  sink: "the same flood against a listener that closes at once",
  streams: `${STREAMS_ASKED} event streams asked for and kept`,
};

function attackText({ attack, frontShare, ownShare }: UnderAttack): string {
  const kinds = Object.entries(attack.kinds).map(([name, { begun, leftOut, outcomes }]) => {
    const ends = Object.entries(outcomes).map(([outcome, count]) => `${outcome} ${count}`);
    return `${name}: ${(begun / attack.seconds).toFixed(0)}/s${leftOut > 0 ? ` (${leftOut} not begun)` : ""} → ${ends.join(", ")}`;
  });
  const share = `fronts ${(frontShare * 100).toFixed(0)} % of a core, generator ${(ownShare * 100).toFixed(0)} %`;
  return `${kinds.join("; ")}; ${attack.held} held; ${share}`;
}

/** Runs with a listening server and an attacker, which end with it. */
async function withBench(context: BenchContext, measure: (bench: ApiBench) => Promise<Turn[]>): Promise<Turn[]> {
  const port = await freePort();
  const server = await context.listening(`${LOOPBACK}:${port}`);
  const attacker = new ApiAttacker();
  try {
    const bench = new ApiBench(context, server, attacker, { host: LOOPBACK, port, token: newToken(server, "attacker", "operate") });
    await bench.payments();
    return await measure(bench);
  } finally {
    attacker.end();
    await context.stopAll();
  }
}

/** Quiet, the flood without a front, the flood, quiet, … */
export async function measureApi(context: BenchContext): Promise<Figure[]> {
  const { rounds, onProgress } = context.options;
  const turns = await withBench(context, async (bench) => {
    const done: Turn[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const quiet = await bench.payments();
      for (const attack of ["sink", "flood"] as const) {
        await bench.begin(attack);
        const turn = { attack, quiet, loaded: await bench.paymentsUnder() };
        await bench.end();
        done.push(turn);
        onProgress(turnText(turn));
      }
    }
    return done;
  });
  const p99s = (attack: AttackName): number[] => turns.filter((turn) => turn.attack === attack).map(({ loaded }) => loaded.p99Ms);
  const share = pairedRatio(p99s("flood"), p99s("sink"));
  return [
    {
      name: `payments' p99 under ${TITLES.flood}, against ${TITLES.sink}`,
      target: `<= ${P99_RATIO_MOST}`,
      measured: `${share.toFixed(3)} (${formatMs(median(p99s("flood")))} / ${formatMs(median(p99s("sink")))})`,
      value: share,
      verdict: judge(share, { atMost: P99_RATIO_MOST }),
      command: "steadfast bench api",
      note: "the generator runs on the server's own processors: what it takes itself shows against the listener that closes at once",
    },
    ratioFigure(turns, "flood", "api"),
    ratioFigure(turns, "sink", "api"),
  ];
}

/** It takes a minute until so many streams are there, so that all quiet turns come before and all others after that. */
export async function measureStreams(context: BenchContext): Promise<Figure[]> {
  const { rounds, onProgress } = context.options;
  const turns = await withBench(context, async (bench) => {
    const quiet: Slice[] = [];
    for (let round = 0; round < rounds; round += 1) quiet.push(await bench.payments());
    await bench.begin("streams");
    const done: Turn[] = [];
    for (const each of quiet) {
      const turn = { attack: "streams" as const, quiet: each, loaded: await bench.paymentsUnder() };
      done.push(turn);
      onProgress(turnText(turn));
    }
    await bench.end();
    return done;
  });
  return [ratioFigure(turns, "streams", "streams")];
}

interface Turn {
  readonly attack: AttackName;
  readonly quiet: Slice;
  readonly loaded: UnderAttack;
}

function turnText({ attack, quiet, loaded }: Turn): string {
  const [before, under] = [quiet, loaded].map(({ p99Ms, perSecond }) => `${formatMs(p99Ms)} (${perSecond.toFixed(0)}/s)`);
  return `${attack}: p99 ${before} quiet, ${under} under it; ${attackText(loaded)}`;
}

function ratioFigure(turns: readonly Turn[], attack: AttackName, command: string): Figure {
  const own = turns.filter((turn) => turn.attack === attack);
  const [loaded, quiet] = [own.map((turn) => turn.loaded.p99Ms), own.map((turn) => turn.quiet.p99Ms)] as const;
  const ratio = pairedRatio(loaded, quiet);
  const isJudged = attack === "streams";
  return {
    name: `payments' p99 under ${TITLES[attack]}, against none`,
    target: isJudged ? `<= ${P99_RATIO_MOST}` : "-",
    measured: `${ratio.toFixed(3)} (${formatMs(median(loaded))} / ${formatMs(median(quiet))})`,
    value: ratio,
    verdict: isJudged ? judge(ratio, { atMost: P99_RATIO_MOST }) : "info",
    command: `steadfast bench ${command}`,
  };
}
