/** Every limit of the lockstep core, by name and with its reason. */

/**
 * Ticks in flight while the guest is busy: one runs, one waits beside it, which covers the round trip. A third only makes inputs
 * wait longer behind empty ticks: measured with redis-benchmark, 3 was slower than 2 by some 5% in duplex, and not faster in simplex.
 */
export const WINDOW_TICKS = 2;
/** Ticks that the guest may run ahead of its releases, as while a configuration is being claimed. */
export const MAX_UNRELEASED_TICKS = 64;
/** Real time that a quantum should take. */
export const QUANTUM_MICROS = 1000;
/**
 * And while the guest only computes: after this many ticks without an input or an output, longer quanta leave more of the host's
 * processors to the guest (each tick costs a wake-up of every module). Not longer still: guest timers fire late by up to a quantum.
 */
export const LONG_QUANTUM_MICROS = 4000;
export const QUIET_TICKS = 50;
/**
 * Guest time goes forward by this much in one tick at most. After a host was suspended, or all modules were stopped, the guest sees
 * many quick ticks instead of one leap, so that its own watchdogs (60 s in the hardened kernel) are fed in between.
 */
export const MOST_TIME_STEP_NS = 10_000_000_000n;
/** A busy guest may count a little more time than passes; more than this means that the host's clock was set back. */
export const MOST_LEAD_NS = 20_000_000n;
export const FIRST_BUDGET = 100_000;
export const LEAST_BUDGET = 10_000;
export const MOST_BUDGET = 4_000_000;
/** Quanta shorter than this say little about the guest's speed. */
export const LEAST_MEASURED_MICROS = 200;

/** Inputs in one tick, so that a quantum's input work and a tick's frame stay bounded. */
export const MAX_INPUTS_PER_TICK = 128;
export const MAX_INPUT_BYTES_PER_TICK = 256 * 1024;
/** Frames waiting for a tick; more are dropped, as a network may. */
export const MAX_QUEUED_FRAMES = 1024;
/** Console bytes waiting for a tick; more are dropped. */
export const MAX_QUEUED_CONSOLE_BYTES = 64 * 1024;
/** Bytes for the guest's agent waiting for a tick; more are dropped, and whoever sent them gets no answer. */
export const MAX_QUEUED_AGENT_BYTES = 128 * 1024;
/** The most entropy that one request of a guest gets. */
export const MAX_ENTROPY_BYTES = 4096;
export const POWER_ON_ENTROPY_BYTES = 64;

/** At first start: how long to wait for the other CPU modules before starting with those that are there. */
export const START_WAIT_MS = 3000;
/** A starting I/O module that finds CPU modules in the middle of things waits this long for more of them. */
export const RESUME_WAIT_MS = 500;
/** No member answers for this long: an honest outage. */
export const STALL_LIMIT_MS = 5000;
/**
 * An expected module that does not connect for this long is killed, so that its next incarnation may. Far more than a start takes: killed
 * sooner, none would ever arrive on a host so busy that Node needs ten seconds.
 */
export const ABSENT_LIMIT_MS = 20_000;
/** Computing a digest of all RAM may delay all results by this much. */
export const VERIFY_ALLOWANCE_MS = 15_000;
/** And one module's beyond another's by this much and this many times what the other took. */
export const VERIFY_LAG_MS = 2000;
export const VERIFY_LAG_FACTOR = 3;
/** Between two events more time than this means that we were stopped ourselves: only this much counts as waiting for others. */
export const MOST_CREDITED_MS = 20;
/** How often overdue results are looked for while something is outstanding. */
export const WATCH_MS = 10;
export const CLAIM_RETRY_MS = 200;

/** Between two heartbeats of an I/O module to the others; not more than what is credited as waiting, or silence would count too little. */
export const HEARTBEAT_MS = 20;
/** An active I/O module that is silent for this long has its place taken. */
export const IO_SILENCE_MS = 300;
/** At a takeover, mirrors of the guest's disk that should be in sync are waited for this long. */
export const TAKEOVER_MIRROR_WAIT_MS = 200;
/** Frames that a standby keeps, in case that it has to take over. */
export const MAX_BACKLOG_FRAMES = 512;

/** A clone without progress for this long is given up. */
export const CLONE_STALL_MS = 3000;
/** A newcomer this close to the last tick is asked to join. */
export const JOIN_LAG_TICKS = 4;
/** Ticks kept for a newcomer that catches up. */
export const MAX_KEPT_TICKS = 16_384;
export const MAX_KEPT_INPUT_BYTES = 64 * 1024 * 1024;
/** The share of its full speed at which a busy guest runs while a newcomer catches up. */
export const CATCH_UP_SHARE = 0.7;
/** Pauses of that pacing are saved up to this length. */
export const LEAST_PAUSE_MICROS = 1200;

/** Donor: finish the image when this many pages (2 MiB) or fewer are left to send. */
export const FINISH_PAGES = 512;
/** Donor: finish anyway after having sent this many times the RAM: the guest writes faster than we copy. */
export const MOST_COPY_ROUNDS = 4;
/** Donor: pages in one slice between quanta. */
export const PAGES_PER_SLICE = 64;
/** Pages in one frame of the final part. */
export const PAGES_PER_FRAME = 256;
/** Donor: real time for sending, as a share of the guest's own running time, while ticks wait. */
export const COPY_SHARE = 0.5;
/** Donor: no further slice while this much waits in the socket. */
export const MAX_CLONE_BUFFER_BYTES = 1024 * 1024;
export const PROGRESS_EVERY_PAGES = 4096;

/** CPU module: ticks and results kept for other I/O modules beyond what is already settled everywhere. */
export const MAX_MEMBER_KEPT_TICKS = 2048;
/** CPU module: ticks waiting to be run. */
export const MAX_QUEUED_TICKS = 2 * MAX_KEPT_TICKS;

/** A new checkpoint after so much running time of the guest: what adjudication has to run again at most. */
export const CHECKPOINT_BUSY_MICROS = 1_000_000;
/** Or after so many ticks, or so many bytes of inputs: they are kept until the next one. */
export const CHECKPOINT_MOST_TICKS = 4096;
export const CHECKPOINT_MOST_INPUT_BYTES = 16 * 1024 * 1024;
/**
 * While members come and go no new one is made, and the last one stays good with the ticks since: up to this much running time, which
 * adjudication would have to run again, and this many times the limits above. Less than what is kept for a newcomer (MAX_KEPT_...).
 */
export const CHECKPOINT_STALE_BUSY_MICROS = 5_000_000;
export const CHECKPOINT_STALE_FACTOR = 3;
/**
 * At this many times the limits it is marked whether members are ready or not: a mark that is longer is better than no proof, which is
 * what a guest that reads its disk faster than pages are taken would be left with.
 */
export const CHECKPOINT_PRESSING_FACTOR = 2.5;
/**
 * Not sooner after members came together, or another sequencer took over: a new keeper takes all of RAM, and first of all the guest makes
 * up for what its clients waited for.
 */
export const CHECKPOINT_SETTLE_MS = 500;
/** Never sooner after the last one: a guest that is mostly idle gains nothing from more. */
export const CHECKPOINT_LEAST_MS = 250;
/** CPU module: ready for the mark when this many pages or fewer are left to take. */
export const CHECKPOINT_FINISH_PAGES = 384;
/** CPU module: ready anyway when for this much time there were not fewer left than ever before: the guest writes faster than we take. */
export const CHECKPOINT_PREPARE_MS = 1500;
/**
 * And after this much in any case. A newcomer has all of RAM to take; on a busy host that takes seconds, and a mark that had to take the
 * rest would hold the guest for longer than a module may be late.
 */
export const CHECKPOINT_PREPARE_LIMIT_MS = 20_000;
/** CPU module: real time for taking pages, as a share of the guest's own running time, while ticks wait. */
export const CHECKPOINT_SHARE = 0.15;
export const CHECKPOINT_PAGES_PER_SLICE = 128;
/** CPU module: how often it looks for damage, and in how many such looks it goes through all of RAM (4 s together). */
export const DAMAGE_EVERY_MS = 20;
export const DAMAGE_LOOKS = 200;

/** Adjudication: the judge must be there, have restored the checkpoint and have run the ticks within this time. */
export const JUDGE_LIMIT_MS = 12_000;

/** A recording ends by itself then: hours of an idle guest, some twenty minutes of a busy one. */
export const RECORDING_MOST_TICKS = 1_000_000;
