/** Every limit of changes and certificates. */

import { MIB } from "../foundation/bytes.js";

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
/** Of one image on this host, from elsewhere. */
export const CERTIFICATES_LIMIT = 16;
/** Of one image, by as many hosts' or users' keys. */
export const BASE_CERTIFICATES_LIMIT = 8;
export const CERTIFIED_IMAGES_LIMIT = 1024;
/** Characters of what an operator says why a server runs uncertified. */
export const REASON_LENGTH_LIMIT = 200;
export const RESULTS_LIMIT = 10_000;
/** How far the clocks of whoever signs and whoever verifies may differ. */
export const CLOCK_DIFFERENCE_LIMIT_MS = 300_000;
