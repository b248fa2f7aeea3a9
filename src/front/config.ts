/** What a front is told by the management module that starts it: a JSON file, read once. */
import type { ListenAddress } from "../ports/shared-listener.js";

export interface FrontConfig {
  readonly server: string;
  /** Of this front, such as front-mgmt0. */
  readonly name: string;
  readonly listen: ListenAddress;
  readonly certificateFile: string;
  readonly keyFile: string;
  /** Of the leading management module. */
  readonly controlSocket: string;
  readonly tokensFile: string;
  readonly eventStreamsMax: number;
}

/** The descriptor by which front and management know of each other: a byte for each heartbeat, and its end is the other's end. */
export const LIFELINE_DESCRIPTOR = 3;
export const HEARTBEAT_EVERY_MS = 500;
