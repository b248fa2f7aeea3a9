/**
 * Which mirrors count. A configuration counts once it was seen to win; until the arbiter has decided what was asked of it, whatever is
 * acknowledged must be on every mirror that any possible outcome names.
 */
import { LOCAL_FIRST, type DiskContext } from "./context.js";
import { RESYNC_RETRY_MS } from "./limits.js";
import type { MirrorRow, MirrorRows } from "./mirror-rows.js";

export class MirrorSet {
  readonly #context: DiskContext;
  readonly #mirrors: MirrorRows;
  #inForce: readonly string[] = [];
  /** The last list asked for, as long as no configuration had it; null: nothing is open. */
  #wanted: readonly string[] | null = null;
  #possible: ReadonlySet<string> = new Set();
  /** Equal to those in sync, and asked to count. */
  #joining: string | null = null;

  constructor(context: DiskContext, mirrors: MirrorRows) {
    this.#context = context;
    this.#mirrors = mirrors;
  }

  get inForce(): readonly string[] {
    return this.#inForce;
  }

  /** Those that an acknowledged write must be on. */
  get required(): ReadonlySet<string> {
    return this.#possible;
  }

  get joining(): string | null {
    return this.#joining;
  }

  get isDecided(): boolean {
    return this.#wanted === null;
  }

  /** Of the configuration in force, and nothing known against them. */
  get standing(): MirrorRow[] {
    return this.#inForce.map((name) => this.#mirrors.get(name)).filter((row) => !row.isFailed);
  }

  /** Those that can answer now, this module's own first. Empty unless all that stand are ready. */
  get ready(): MirrorRow[] {
    const standing = this.standing;
    for (const row of standing) if (!row.isUp || !row.isReady) return [];
    return standing.length > 1 ? standing.sort(LOCAL_FIRST(this.#context.options.local)) : standing;
  }

  /** All in sync that there could be, and each has written it down. */
  get isComplete(): boolean {
    const { mirrors } = this.#context.options;
    const { number } = this.#mirrors;
    return (
      this.isDecided &&
      this.#inForce.length >= mirrors.length &&
      mirrors.every((name) => this.#mirrors.get(name).confirmed === number) &&
      this.ready.length === mirrors.length
    );
  }

  get #retryMs(): number {
    return this.#context.options.retryMs ?? RESYNC_RETRY_MS;
  }

  /** The first configuration that this controller sees. */
  begin(mirrors: readonly string[]): void {
    this.#inForce = [...mirrors];
    this.#mirrors.changed();
    this.#possible = new Set(mirrors);
    this.#wanted = null;
  }

  /** A later one. */
  conclude(mirrors: readonly string[]): void {
    const former = this.#inForce;
    this.#inForce = [...mirrors];
    this.#mirrors.changed();
    if (this.#wanted !== null && isSame(this.#wanted, mirrors)) this.#wanted = null;
    this.#possible = new Set([...mirrors, ...(this.#wanted ?? [])]);
    for (const name of mirrors) {
      const row = this.#mirrors.get(name);
      if (name === this.#joining) {
        this.#joining = null;
        row.isReady = true;
        this.#context.event("info", "MIRROR_IN_SYNC", `${name} is in sync`, name);
      } else if (!former.includes(name)) {
        // It was to join and failed before it did.
        row.isFailed = true;
      }
    }
    for (const name of former) if (!mirrors.includes(name)) this.#dropped(this.#mirrors.get(name));
    for (const row of this.#mirrors.rows.values()) if (!mirrors.includes(row.name)) row.isFailed = false;
    if (this.#wanted === null && !isSame(this.#desired, mirrors)) this.want("a mirror failed meanwhile");
  }

  #dropped(row: MirrorRow): void {
    row.isReady = false;
    this.#context.event("warning", "MIRROR_DROPPED", `${row.name} is not in sync any more`, row.name);
  }

  get #desired(): string[] {
    const names = this.standing.map((row) => row.name);
    return this.#joining === null || names.includes(this.#joining) ? names : [...names, this.#joining];
  }

  /** Asks for what should count now. */
  want(why: string, mirrors: readonly string[] = this.#desired): void {
    this.#wanted = mirrors;
    this.#mirrors.changed();
    this.#possible = new Set([...this.#possible, ...mirrors]);
    this.#context.emit({ kind: "wantMirrors", mirrors, why });
  }

  join(name: string): void {
    this.#joining = name;
    this.want(`${name} was brought in sync`);
  }

  /** It is not to join after all. */
  unjoin(why: string): void {
    if (this.#joining === null) return;
    const row = this.#mirrors.get(this.#joining);
    this.#joining = null;
    // The question is open all the same: until it is decided nothing is acknowledged that this one may lack.
    row.isFailed = true;
    row.faults += 1;
    row.retryAtMs = this.#context.atMs + (row.isUp ? this.#retryMs : 0);
    this.#context.event("warning", "RESYNC_STOPPED", `${row.name} is not to join: ${why}`, row.name);
    this.want(why);
  }

  /** A mirror in sync does not do what it should. False: it is the last one, nothing can go on without it. */
  fail(row: MirrorRow, why: string): boolean {
    const others = this.standing.filter((each) => each !== row && each.isUp);
    if (others.length === 0) return false;
    row.isFailed = true;
    row.faults += 1;
    row.retryAtMs = this.#context.atMs + (row.isUp ? this.#retryMs : 0);
    this.#context.event("warning", "MIRROR_FAILED", `${row.name} is to be dropped: ${why}`, row.name);
    this.want(`${row.name}: ${why}`);
    return true;
  }
}

function isSame(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((name) => right.includes(name));
}
