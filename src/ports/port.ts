/**
 * The network-port boundary: Ethernet frames between the I/O module and the world. A port is stateless towards the guest; frames
 * that it drops are lost as on any wire.
 */
import type { NetworkEventCode } from "../wire/event-codes.js";

/** What became of the port, for the event log. */
export interface PortNotice {
  readonly severity: "info" | "warning";
  readonly code: NetworkEventCode;
  readonly text: string;
}

export interface NetworkPort {
  /** Begins delivery. `onFrames` gets one batch per wake-up; the arrays belong to the receiver. */
  start(onFrames: (frames: Uint8Array[]) => void, onNotice?: (notice: PortNotice) => void): Promise<void> | void;
  /** Sends at once or drops; never blocks, never throws for a full queue. */
  send(frame: Uint8Array): void;
  /** Whether this I/O module's configuration is in force: for ports that only one module at a time can have. Not called means: it is not. */
  setActive?(isActive: boolean): void;
  close(): void;
}
