/** Every limit of changes and certificates. */

export const MIB = 1024 * 1024;
export const PACKAGE_BYTES_LIMIT = 256 * MIB;
/** One file or one Debian package of a change. */
export const MEMBER_BYTES_LIMIT = 128 * MIB;
export const MANIFEST_BYTES_LIMIT = 4 * MIB;
export const CHANGE_FILE_BYTES_LIMIT = MIB;
export const FILES_LIMIT = 10_000;
export const PACKAGES_LIMIT = 1000;
export const CHECKS_LIMIT = 100;
export const PATH_BYTES_LIMIT = 1024;
export const TREE_DEPTH_LIMIT = 64;
export const ENVELOPE_BYTES_LIMIT = 4 * MIB;
export const SIGNATURES_LIMIT = 32;
export const RESULTS_LIMIT = 10_000;
/** How far the clocks of whoever signs and whoever verifies may differ. */
export const CLOCK_DIFFERENCE_LIMIT_MS = 300_000;
