/** The version of this package: of the code that runs, also when another one was installed over it meanwhile. */
import { readFileSync } from "node:fs";

const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };

export const PACKAGE_VERSION = manifest.version;
