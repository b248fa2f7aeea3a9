/** The arbiter of a simulated server: atomic, but at times slow or silent; and what it knew last may be lost with the power. */
import type { ConfigurationRecord } from "../wire/messages.js";

export class SimulatedArbiter {
  readonly records: Map<number, ConfigurationRecord>;
  delayMs = 1;
  /** It answers nobody. */
  isDown = false;

  constructor(records: Map<number, ConfigurationRecord> = new Map()) {
    this.records = records;
  }

  get highest(): ConfigurationRecord | null {
    return this.records.get(Math.max(0, ...this.records.keys())) ?? null;
  }

  /** Who has this number now. */
  claim(record: ConfigurationRecord): ConfigurationRecord {
    const winner = this.records.get(record.number) ?? record;
    this.records.set(record.number, winner);
    return winner;
  }

  /** The last record was not on the disk yet. */
  forgetLast(): void {
    this.records.delete(Math.max(0, ...this.records.keys()));
  }
}
