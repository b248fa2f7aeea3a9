/** `steadfast change certify`: qualifies a change, or an image, and signs a certificate of what passes. */
import { Option, type Command } from "commander";
import { PACKAGE_VERSION } from "../api/version.js";
import { hostLine } from "../bench/host.js";
import { lockBenchmarks } from "../bench/lock.js";
import { buildChangedImage } from "../certification/build-changed.js";
import { readPackage } from "../certification/change-package.js";
import { addSignature, encodeEnvelope, envelopeOf } from "../certification/dsse.js";
import { KeyStore } from "../certification/keys.js";
import { loadPolicy, policyDigest } from "../certification/policy.js";
import { SteadfastError } from "../foundation/errors.js";
import { findImage, type ImageRecord } from "../image/index.js";
import { readSource } from "../image/source.js";
import { behaviourOf } from "../modules/machine-loader.js";
import { keysDirectory } from "../modules/management-paths.js";
import { LEVELS, type Level } from "../qualification/grading/checks.js";
import { reportPage } from "../qualification/grading/page.js";
import { seedOf, type QualificationReport } from "../qualification/grading/report.js";
import { gradeHardening } from "../qualification/hardening.js";
import { statementOf } from "../qualification/statement.js";
import { runSuite, type SuiteOptions } from "../qualification/suite.js";
import type { Subject } from "../qualification/suite-servers.js";
import { writeOutput } from "./certificate.js";
import { PROGRESS_KINDS, progressOf, verdictLines, type ProgressKind } from "./certify-view.js";
import { withProgress } from "./image.js";
import { printJson, printLines } from "./output.js";
import { CertifyServers } from "./suite-servers.js";
import { wholeNumber } from "./whole-number.js";

/** Raised with every change of the suite after which the same image could get another verdict. */
const SUITE_VERSION = 2;
export const VALID_DAYS_DEFAULT = 365;
export const VALID_DAYS_MAX = 3650;
const SEED_MAX = 0x7fff_ffff;
/** What shells give a program that SIGINT ended. */
const EXIT_INTERRUPTED = 130;
const EXIT_FAILED = 1;

interface CertifyFlags {
  readonly image?: string;
  readonly base?: string;
  readonly policy?: string;
  readonly level: Level;
  readonly seed?: number;
  readonly check: string[];
  readonly node: string[];
  readonly key?: string;
  readonly out?: string;
  readonly validDays: number;
  readonly signFailed?: boolean;
  readonly html?: string;
  readonly report?: string;
  readonly json?: boolean;
  readonly progress: ProgressKind;
}

function imageFlag(name: "image" | "base", value: string | undefined): ImageRecord {
  const found = value === undefined || value === "" ? undefined : findImage({ digest: value });
  if (found !== undefined) return found;
  const what = value === undefined ? `Give --${name} DIGEST` : `--${name} ${value}: there is no such image here`;
  throw new SteadfastError("USAGE", { what: `${what}; \`steadfast image ls\` shows the digests.` });
}

/** What is asked for and cannot be done is told before minutes are spent. */
function checkFlags(flags: CertifyFlags): void {
  if (flags.out !== undefined && flags.key === undefined)
    throw new SteadfastError("USAGE", { what: "--out is for a signed certificate: name the key that signs by --key." });
  if (flags.key !== undefined && flags.out === undefined)
    throw new SteadfastError("USAGE", { what: "--key signs a certificate: say by --out which file it goes to." });
  if (flags.out !== undefined && flags.check.length > 0)
    throw new SteadfastError("USAGE", { what: "Only all checks of a level together certify: leave --check or --out away." });
  if (flags.key !== undefined) new KeyStore(keysDirectory()).privateKey(flags.key);
}

/** True: a certificate was written. */
function certify(report: QualificationReport, flags: CertifyFlags): boolean {
  const { key, out } = flags;
  if (key === undefined || out === undefined || (report.verdict === "FAILED" && flags.signFailed !== true)) return false;
  const envelope = envelopeOf(statementOf(report, flags.validDays, Date.now()));
  writeOutput(out, encodeEnvelope(addSignature(envelope, new KeyStore(keysDirectory()).privateKey(key))));
  return true;
}

function tell(report: QualificationReport, flags: CertifyFlags): void {
  if (flags.report !== undefined) writeOutput(flags.report, Buffer.from(`${JSON.stringify(report, null, 2)}\n`));
  if (flags.html !== undefined) writeOutput(flags.html, Buffer.from(reportPage(report)));
  const isCertified = certify(report, flags);
  if (flags.json === true) return printJson({ ...report, certificate: isCertified ? flags.out : null });
  printLines(verdictLines(report));
  if (isCertified) printLines([`certificate: ${flags.out ?? ""}`]);
}

type Qualified = Pick<
  SuiteOptions,
  "name" | "changed" | "base" | "changeDigest" | "policyDigest" | "hardening" | "ownChecks" | "parameters"
>;

/** Runs the suite on servers of its own and removes them, also when it fails or is interrupted. */
async function qualify(subject: Qualified, flags: CertifyFlags): Promise<QualificationReport> {
  const unlock = await lockBenchmarks();
  const servers = new CertifyServers();
  const progress = progressOf(flags.progress, process.stderr);
  const abort = new AbortController();
  let cleaning: Promise<void> | undefined;
  const interrupted = (): void => {
    abort.abort();
    progress.end();
    cleaning ??= servers.close().finally(() => process.exit(EXIT_INTERRUPTED));
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, interrupted);
  try {
    return await runSuite({
      ...subject,
      ...{ level: flags.level, seed: flags.seed ?? seedOf(subject.changeDigest), only: flags.check, nodes: flags.node, servers },
      versions: { engine: `rv64 behaviour ${await behaviourOf("rv64")}, ${PACKAGE_VERSION}`, suite: String(SUITE_VERSION) },
      ...{ host: hostLine(), signal: abort.signal, onProgress: (step) => progress.show(step) },
    });
  } finally {
    progress.end();
    // After an interruption the suite fails of itself; what it says then does not matter, but the clean-up must end.
    await (cleaning ?? servers.close());
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.removeListener(signal, interrupted);
    unlock();
  }
}

/** An image by itself, without a change. */
function imageSubject(flags: CertifyFlags): Parts {
  const image = imageFlag("image", flags.image);
  const base = imageFlag("base", flags.base);
  const parameters = ["--image", image.digest, "--base", base.digest];
  return { name: image.name, image, base, changeDigest: image.digest, ownChecks: [], parameters };
}

/** A change, built upon its base. */
async function changeSubject(file: string, flags: CertifyFlags): Promise<Parts> {
  const change = readPackage(file);
  const { manifest, digest } = change;
  if (flags.image !== undefined) throw new SteadfastError("USAGE", { what: "Give a change or --image, not both." });
  const wanted = flags.base === undefined ? manifest.base.sha256 : imageFlag("base", flags.base).digest;
  if (wanted !== manifest.base.sha256)
    throw new SteadfastError("CHANGE_NOT_FOR_IMAGE", { file, named: manifest.base.sha256, given: wanted });
  const image = await withProgress((hooks) => buildChangedImage(change, hooks));
  const base = findImage({ digest: manifest.base.sha256 });
  if (base === undefined) throw new SteadfastError("CHANGE_BASE_UNKNOWN", { base: manifest.base.sha256 });
  return { name: manifest.name, image, base, changeDigest: digest, ownChecks: manifest.checks, parameters: [file] };
}

interface Parts extends Pick<Qualified, "name" | "changeDigest" | "ownChecks" | "parameters"> {
  readonly image: ImageRecord;
  readonly base: ImageRecord;
}

/** What an image serves, by the record of what it was made of. */
function subjectOf(image: ImageRecord): Subject {
  const source = readSource(image.directory);
  if (source === undefined) throw new SteadfastError("CHANGE_BASE_OPAQUE", { base: image.digest });
  return { image, services: source.recipe.services.map(({ name, ports }) => ({ name, ports })) };
}

async function run(file: string | undefined, flags: CertifyFlags): Promise<void> {
  checkFlags(flags);
  const policy = loadPolicy(flags.policy);
  const { image, base, parameters, ...parts } = file === undefined ? imageSubject(flags) : await changeSubject(file, flags);
  const report = await qualify(
    {
      ...{ ...parts, changed: subjectOf(image), base: subjectOf(base), policyDigest: policyDigest(policy) },
      hardening: (start) => gradeHardening(policy, image, start),
      parameters: flags.policy === undefined ? parameters : [...parameters, "--policy", flags.policy],
    },
    flags,
  );
  tell(report, flags);
  if (report.verdict !== "PASSED") process.exitCode = EXIT_FAILED;
}

const EXAMPLES = `
Examples:
  steadfast change certify mychange.tar
  steadfast change certify mychange.tar --level full --key vendor --out mychange.cert --html report.html
  steadfast change certify mychange.tar --check faults --seed 1237156839     # one check again, as a report says
  steadfast change certify --image DIGEST --base DIGEST                      # an image, against another one or itself
`;

export const several = (text: string, before: readonly string[]): string[] => [...before, text];

export function addCertifyCommand(change: Command): void {
  change
    .command("certify")
    .argument("[file]", "a change package")
    .description("qualify a change on servers of its own, and sign a certificate if it passes")
    .option("--image <digest>", "instead of a change: the image that is qualified")
    .option("--base <digest>", "with --image: the image that it is held against")
    .option("--policy <file>", "another hardening policy than the one that comes with Steadfast")
    .addOption(new Option("--level <level>", "how much is tried").choices([...LEVELS]).default("quick"))
    .option("--seed <number>", "of everything that is left to chance (default: from the digest of the change)", wholeNumber(0, SEED_MAX))
    .option("--check <id>", "only this check; may be given several times, and certifies nothing", several, [])
    .option("--node <path>", "a further Node program that machines are run on; may be given several times", several, [])
    .option("--key <name>", "own key that signs the certificate")
    .option("--out <file>", "where the certificate goes")
    .option("--valid-days <days>", "how long the certificate holds", wholeNumber(1, VALID_DAYS_MAX), VALID_DAYS_DEFAULT)
    .option("--sign-failed", "sign a statement of a failed qualification too, which says FAILED")
    .option("--html <file>", "write the report as one page, with plots")
    .option("--report <file>", "write the report as JSON")
    .option("--json", "print the report and errors as JSON")
    .addOption(
      new Option("--progress <how>", "how it is told on standard error; json: an object a line").choices(PROGRESS_KINDS).default("text"),
    )
    .addHelpText("after", EXAMPLES)
    .action(run);
}
