/** Every bound of a certification programme's server besides those of its queue (`queue/limits.ts`) and of any front. */
import { HOUR_MS } from "../foundation/durations.js";
import type { Level } from "../qualification/grading/checks.js";

/** Packages that arrive at one time, and of one token. */
export const UPLOADS_MAX = 4;
export const UPLOADS_OF_TOKEN_MAX = 2;
/** A package of 256 MiB over a slow line. */
export const UPLOAD_LIMIT_MS = 30 * 60_000;
/** Who follows a submission, all together and of one token. */
export const STREAMS_MAX = 256;
export const STREAMS_OF_TOKEN_MAX = 32;
/** A package is looked at by a process of its own. */
export const INSPECT_LIMIT_MS = 120_000;
/** A manifest as JSON. */
export const INSPECT_BYTES_MAX = 32 * 1024 * 1024;
/** One that takes longer hangs. Building a kernel is part of it. */
export const RUN_LIMIT_MS: Readonly<Record<Level, number>> = { quick: 2 * HOUR_MS, full: 12 * HOUR_MS };
/** From the request to end to SIGKILL: it takes its servers down meanwhile. */
export const STOP_LIMIT_MS = 30_000;
/** Another benchmark or qualification runs on this host. */
export const HOST_BUSY_RETRY_MS = 2000;
/** What a qualification prints: its report, or an error. */
export const REPORT_BYTES_MAX = 64 * 1024 * 1024;
export const PROGRESS_LINE_CHARACTERS_MAX = 1024 * 1024;
/** What is kept of what it says beside its progress, for whoever looks for a cause. */
export const SAID_CHARACTERS_MAX = 4096;
/** A page of a report, read to be served. */
export const PAGE_BYTES_MAX = 64 * 1024 * 1024;
