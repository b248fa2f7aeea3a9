/** What the parts of the lockstep server share. */
import type { CpuRow, Membership } from "./membership.js";
import type { Sequencer } from "./sequencer.js";
import type { Severity } from "../wire/control.js";
import type { EventCode, ServerEffect, ServerOptions } from "./server-types.js";
import type { Voter } from "./voter.js";

/** What an operator is told. */
export type Happening = readonly [
  severity: Severity,
  code: EventCode,
  text: string,
  module?: string,
  data?: Readonly<Record<string, unknown>>,
];

export function eventOf(...[severity, code, text, module, data]: Happening): ServerEffect {
  return { kind: "event", severity, code, text, ...(module !== undefined && { module }), ...(data !== undefined && { data }) };
}

export interface ServerContext {
  readonly options: ServerOptions;
  readonly membership: Membership;
  readonly voter: Voter;
  readonly sequencer: Sequencer;
  emit(effect: ServerEffect): void;
  /** Tells the operator. */
  event(...happening: Happening): void;
  /** Time of the event being handled. */
  readonly atMs: number;
  /** A clock that counts waiting for others: it stands still while this module itself was stopped. */
  readonly waitedMs: number;
  /** Isolates a module until a newer incarnation of it connects. */
  shoot(row: CpuRow, why: string, miscompared: boolean): void;
  /** The member that sends complete outputs. */
  readonly fullOutputs: string | null;
}
