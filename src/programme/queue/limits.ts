/** Every bound of a certification programme's queue. */

/** Submissions that wait for their turn. */
export const QUEUE_MAX = 100;
/** Of one submitter: nobody alone can keep all others out. */
export const QUEUE_SHARE_MAX = 20;
/** How often a qualification is begun that a crash of the programme or of its host cut short. */
export const ATTEMPTS_MAX = 3;
/** Submissions that ended without a certificate: the oldest beyond these are forgotten, with their reports. */
export const HISTORY_MAX = 500;
/** Certified changes: beyond these nothing is accepted until some are removed, since what was published must not vanish by itself. */
export const CERTIFIED_MAX = 1000;
/** All packages that are kept, together. */
export const PACKAGES_BYTES_MAX = 16 * 1024 * 1024 * 1024;
