/** The leading management module's view of the stand-bys: which of them could take its place. */

/** Without an answer for so many turns a stand-by does not count as ready; the supervisor ends one that stays silent. */
const SILENT_TURNS_LIMIT = 10;

export class StandbyView {
  readonly #silentTurns = new Map<string, number>();

  heard(name: string): void {
    this.#silentTurns.set(name, 0);
  }

  gone(name: string): void {
    this.#silentTurns.delete(name);
  }

  /** Called whenever they were told that we lead, so that they have something to answer. */
  turn(): void {
    for (const [name, turns] of this.#silentTurns) this.#silentTurns.set(name, turns + 1);
  }

  get ready(): string[] {
    return [...this.#silentTurns].flatMap(([name, turns]) => (turns <= SILENT_TURNS_LIMIT ? [name] : []));
  }
}
