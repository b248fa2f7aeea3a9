/** Every size and limit of mirrored disks, by name and with its reason. */

/** What a checksum covers, and the alignment of every request. */
export const BLOCK_BYTES = 4096;
/** The largest request of a guest. */
export const MAX_TRANSFER_BYTES = 128 * 1024;
/**
 * What one bit of the region log stands for, and the unit of background work. Each region that is written to anew costs a sync of the
 * log before the write; smaller ones would cost more of them, larger ones more comparing after a loss. What is copied is found block
 * by block.
 */
export const REGION_BYTES = 1024 * 1024;
export const BLOCKS_PER_REGION = REGION_BYTES / BLOCK_BYTES;
/**
 * The most that one command reads or writes: a region at once when it is copied or compared. Each command costs its way through two
 * processes and their pool threads, whatever it carries; in pieces of 128 KiB that was most of the time of a resync.
 */
export const MAX_COMMAND_BYTES = REGION_BYTES;
/** Sequential writes mark this many further regions with the same sync. */
export const REGIONS_AHEAD = 7;
/** The checksums of a disk are kept in memory: 2 MiB a GiB. */
export const MAX_DISK_BYTES = 64 * 1024 * 1024 * 1024;

/** What a store has not begun with yet; a controller never has so many under way. */
export const MAX_QUEUED_COMMANDS = 4096;
/** Requests of the guest at a time; its device has fewer. */
export const MAX_GUEST_REQUESTS = 256;
/** Regions with a bad block that wait for their repair; what comes on top is found by the scrubber. */
export const MAX_REPAIRS = 1024;

/** Blocks to which a write failed and that were not read or written since; what more there are count as bad. */
export const MAX_UNCERTAIN_BLOCKS = 16_384;
/** What each of them may hold, besides what was to be written last. */
export const MAX_FORMER_CHECKSUMS = 4;

/** A mirror that has not answered for this long, while another one has, is dropped. */
export const MIRROR_LAG_MS = 2000;
/** So soon if its I/O module gives no other sign of life either (lockstep's `IO_SILENCE_MS`): then it is no disk that is slow. */
export const MIRROR_SILENT_MS = 300;
/** An answer that takes longer than this makes its mirror slow, if another one has none so old: healthy disks answer sooner, syncs too. */
export const MIRROR_SLOW_MS = 500;
/** Time that a mirror was slow adds up to the same limit as one late answer, and is forgotten at this share of the time it is not. */
export const SLOWNESS_FORGOTTEN_SHARE = 0.1;
/** Without any mirror in sync at hand a request waits this long before it ends in an I/O error. */
export const MIRROR_WAIT_MS = 30_000;
/** A mirror that failed is tried again after this time. */
export const RESYNC_RETRY_MS = 5000;
/** And one that has come back after this. */
export const RETURNED_RETRY_MS = 200;
/** Between two events more time than this means that we were stopped ourselves: only this much counts as waiting for others. */
export const MOST_CREDITED_MS = 20;
/** How often overdue answers are looked for while something is outstanding. */
export const WATCH_MS = 10;

/** Regions that a resync copies side by side while the guest does not use the disk: one is read while the other is written. */
export const RESYNC_JOBS = 2;
/** After so many copied bytes the target begins to make them durable, so that little is left to do at the end. */
export const RESYNC_FLUSH_BYTES = 8 * 1024 * 1024;
/** The share of time that a resync takes while the guest uses the disk; else all of it. */
export const RESYNC_SHARE = 0.5;
/** A guest that has sent nothing for this long does not use the disk. */
export const GUEST_IDLE_MS = 50;
/** The scrubber reads this much a second from every mirror, */
export const SCRUB_BYTES_PER_SECOND = 4 * 1024 * 1024;
/** and begins again so long after it has been through. */
export const SCRUB_PAUSE_MS = 6 * 60 * 60 * 1000;
/** How often regions that are not written to any more are taken out of the log, each time after a flush of all mirrors. */
export const CLEAR_EVERY_MS = 5000;
