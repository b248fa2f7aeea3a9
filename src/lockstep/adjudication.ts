/**
 * What follows when modules disagree. A majority judges by itself; for two, nobody can say yet who is right (re-execution from a
 * verified checkpoint comes with a later issue): the better record decides, and the event says that nothing more was known.
 */
import type { ServerContext } from "./context.js";
import type { Reintegration } from "./reintegration.js";
import { quorum } from "./voter.js";

export class Adjudication {
  readonly #context: ServerContext;
  readonly #reintegration: Reintegration;
  miscompares = 0;

  constructor(context: ServerContext, reintegration: Reintegration) {
    this.#context = context;
    this.#reintegration = reintegration;
  }

  /** A module contradicts what the others agreed on. */
  wrong(name: string, seq: number): void {
    const row = this.#context.membership.row(name);
    if (row.role === "shot" || row.role === "absent") return;
    if (row.role !== "member") {
      // A newcomer that computes something else was not restored exactly; that is a defect, and must be seen.
      this.#reintegration.fail(`its result for tick ${seq} differs from the members'`);
      return;
    }
    this.miscompares += 1;
    const text = `${name} computed something else than the majority at tick ${seq}; it is isolated`;
    this.#context.event("error", "MISCOMPARE", text, name, { seq });
    this.#context.shoot(row, `miscompare at tick ${seq}`, true);
  }

  /** No majority: all of these groups contradict each other. `what` says in what. */
  tied(groups: readonly (readonly string[])[], seq: number, what: string): void {
    const { membership, voter } = this.#context;
    this.miscompares += 1;
    const everyone = groups.flat();
    const living = everyone.filter((name) => membership.row(name).role === "member");
    for (const name of everyone) if (!living.includes(name)) voter.discardModule(name);
    if (living.length === 0) return;
    const trusted = membership.betterRecord(living);
    const kept = groups.find((group) => group.includes(trusted)) ?? [trusted];
    for (const name of living) {
      if (kept.includes(name)) continue;
      const text = `${kept.join(" and ")} and ${name} disagree at tick ${seq} (${what}) and nothing tells who is right: ${name}, with the worse record, is isolated`;
      this.#context.event("error", "MISCOMPARE_UNADJUDICATED", text, name, { seq, trusted, what });
      this.#context.shoot(membership.row(name), `miscompare at tick ${seq}`, true);
    }
  }

  /** Full digests at one tick, by module. */
  digests(digests: Readonly<Record<string, string>>, seq: number): void {
    const groups = new Map<string, string[]>();
    for (const [name, digest] of Object.entries(digests)) groups.set(digest, [...(groups.get(digest) ?? []), name]);
    if (groups.size < 2) return;
    const all = [...groups.values()];
    const majority = all.find((group) => group.length >= quorum(Object.keys(digests).length));
    if (majority === undefined) return this.tied(all, seq, "full digests");
    for (const group of all) if (group !== majority) for (const name of group) this.wrong(name, seq);
  }
}
