/** The arbiter boundary: atomic create of configuration numbers (DESIGN section 4). */
import type { ConfigurationRecord } from "../wire/messages.js";

export interface Arbiter {
  /** Claims `record.number`. Answers with the record that holds the number: the claimed one, or the winner that came before. */
  claim(record: ConfigurationRecord): Promise<ConfigurationRecord>;
  /** The record of the highest number, or null. */
  highest(): Promise<ConfigurationRecord | null>;
}
