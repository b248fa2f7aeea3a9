/** Every bound of a front. Each front has its own, so that a server as a whole bears as many times that as it has management modules. */
import type { GateRules } from "../access/connection-gate.js";
import { HOUR_MS } from "../foundation/durations.js";
import type { BucketRule } from "../access/token-bucket.js";

/** Requests of one address (of one /64 with IPv6), whoever it is. */
export const ADDRESS_RULE: BucketRule = { perSecond: 20, burst: 200 };
/** Requests with one token. */
export const TOKEN_RULE: BucketRule = { perSecond: 5, burst: 100 };
/** Wrong tokens of one address. */
export const SIGN_IN_RULE: BucketRule = { perSecond: 0.5, burst: 10 };
/** And of all addresses together: whoever guesses may have many. */
export const SIGN_IN_ALL_RULE: BucketRule = { perSecond: 2, burst: 20 };
/** Addresses and tokens that are kept in mind. */
export const BUCKETS_MAX = 10_000;

/** New connections; what is over is closed before its handshake. */
export const GATE_RULES: GateRules = {
  ofAddress: { perSecond: 4, burst: 40 },
  ofKnown: { perSecond: 4, burst: 60 },
  ofStrangers: { perSecond: 2, burst: 40 },
  addressesMax: BUCKETS_MAX,
  knownForMs: 24 * HOUR_MS,
};

export const CONNECTIONS_MAX = 4096;
export const CONSOLES_MAX = 32;
/** A token may have this share of the event streams: one alone cannot keep all others out. */
export const STREAMS_SHARE_OF_TOKEN = 0.5;

/** Between two reports to all who follow the status: so long for each of them. 100 streams get every report, 1000 one in two seconds. */
export const STATUS_PAUSE_OF_STREAM_MS = 2;

export const HEADER_BYTES_MAX = 16 * 1024;
export const HEADERS_MAX = 64;
export const PATH_CHARACTERS_MAX = 2048;
export const HANDSHAKE_LIMIT_MS = 5000;
/** A request's head, and all of it, must be there within. */
export const HEAD_LIMIT_MS = 10_000;
export const REQUEST_LIMIT_MS = 20_000;
/** Of a request that was refused while it still came. */
export const DISCARDED_BYTES_MAX = 1024 * 1024;
export const DISCARD_LIMIT_MS = 5000;
export const LATE_CHECK_EVERY_MS = 1000;
/** A connection on which nothing moves; event streams have their keep-alive. */
export const IDLE_LIMIT_MS = 60_000;
export const KEEP_ALIVE_MS = 15_000;

/** Requests that management answers at one time, and that wait for it. */
export const UPSTREAM_CALLS_MAX = 8;
export const UPSTREAM_WAITING_MAX = 256;
/** While another management module takes the lead. */
export const UPSTREAM_PATIENCE_MS = 15_000;
export const UPSTREAM_RETRY_MS = 50;
/** A recording of a guest's memory takes its time. */
export const UPSTREAM_CHANGE_LIMIT_MS = 300_000;
export const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
/** Answers that slow readers have not taken yet, all together. */
export const UNREAD_BYTES_MAX = 64 * 1024 * 1024;

/** The event log of management has as many. */
export const EVENTS_KEPT_MAX = 2000;

export const CONSOLE_MESSAGE_BYTES_MAX = 64 * 1024;
export const CONSOLE_PING_MS = 20_000;

export const CONSOLE_FILES_MAX = 500;
export const CONSOLE_FILES_BYTES_MAX = 16 * 1024 * 1024;
