/** `steadfast certify …`: hands changes in to a certification programme, and gets what it has certified. */
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { readLimited, readPackage } from "../certification/change-package.js";
import { parseDigest } from "../certification/digest.js";
import { printable } from "../certification/manifest.js";
import { SteadfastError } from "../foundation/errors.js";
import { sha256 } from "../image/store.js";
import type { CatalogueAnswer, SubmissionAnswer } from "../programme/answers.js";
import { writeOutput } from "./certificate.js";
import { addServeCommand } from "./certify-serve.js";
import { paint, printJson, printLines, table } from "./output.js";
import { ProgrammeClient } from "./programme-client.js";

const TOKEN_FILE_BYTES_MAX = 4096;
const EXIT_FAILED = 1;
const EXIT_NO_FINDING = 4;
const SHORT_DIGEST_CHARACTERS = 12;

interface ProgrammeFlags {
  readonly to: string;
  readonly tokenFile: string;
  readonly fingerprint?: string;
  readonly json?: boolean;
}

function clientOf({ to, tokenFile, fingerprint }: ProgrammeFlags): ProgrammeClient {
  const url = URL.canParse(to) ? new URL(to) : null;
  if (url?.protocol !== "https:" || url.pathname !== "/" || url.search !== "") throw new SteadfastError("PROGRAMME_ADDRESS", { url: to });
  const token = Buffer.from(readLimited(tokenFile, TOKEN_FILE_BYTES_MAX)).toString("utf8").trim();
  if (!/^\S{1,256}$/.test(token)) throw new SteadfastError("USAGE", { what: `${tokenFile} holds no token: one line is expected.` });
  return new ProgrammeClient({ url: to, token, ...(fingerprint !== undefined && { fingerprint }) });
}

async function submit(file: string, flags: ProgrammeFlags & { readonly follow?: boolean }): Promise<void> {
  const client = clientOf(flags);
  // What is damaged need not travel.
  const { digest } = readPackage(file);
  const made = await client.submit(file, statSync(file).size, digest);
  if (flags.follow !== true) {
    if (flags.json === true) return printJson(made);
    return printLines([`submission ${made.id} (${printable(made.name)}): ${standing(made)}`]);
  }
  await followed(client, made.id, flags);
}

async function status(id: number | undefined, flags: ProgrammeFlags & { readonly follow?: boolean }): Promise<void> {
  const client = clientOf(flags);
  if (id === undefined) {
    if (flags.follow === true) throw new SteadfastError("USAGE", { what: "--follow needs the number of a submission." });
    const all = await client.submissions();
    return flags.json === true ? printJson(all) : printLines(submissionTable(all));
  }
  if (flags.follow === true) return followed(client, id, flags);
  const found = await client.submission(id);
  if (flags.json === true) printJson(found);
  else printLines(submissionLines(found));
}

/** The lines on standard error, the end on standard output. */
async function followed(client: ProgrammeClient, id: number, flags: ProgrammeFlags): Promise<void> {
  let last = "";
  const ended = await client.follow(id, (submission) => {
    const line = standing(submission);
    if (line === last) return;
    last = line;
    process.stderr.write(`submission ${id}: ${line}\n`);
  });
  if (flags.json === true) printJson(ended);
  else printLines(submissionLines(ended));
  if (ended.state !== "passed") process.exitCode = ended.state === "failed" ? EXIT_FAILED : EXIT_NO_FINDING;
}

function standing({ state, position, progress, cancelling }: SubmissionAnswer): string {
  if (cancelling) return "being cancelled";
  if (position !== null) return `queued, number ${position} in the queue`;
  return progress === null ? state : `${state}, ${progress.position + 1} of ${progress.count}: ${printable(progress.name)}`;
}

function submissionTable(all: readonly SubmissionAnswer[]): string[] {
  if (all.length === 0) return ["Nothing was handed in yet."];
  const head = ["ID", "STATE", "CHANGE", "NAME", "SUBMITTER", "SUBMITTED"].map((cell) => paint(cell, "dim"));
  const rows = all.map((each) => [
    ...[String(each.id), coloured(each.state), short(each.change), printable(each.name), each.submitter, each.submittedAt],
  ]);
  return table([head, ...rows]);
}

function coloured(state: SubmissionAnswer["state"]): string {
  if (state === "passed") return paint(state, "green");
  return state === "failed" || state === "error" ? paint(state, "red") : state;
}

const short = (digest: string): string => digest.slice(0, SHORT_DIGEST_CHARACTERS);

function submissionLines(submission: SubmissionAnswer): string[] {
  const { id, name, change, base, submitter, why, finding, attempts } = submission;
  const rows = [
    ["submission", `${id}, ${standing(submission)}`],
    ["change", `${printable(name)}, ${change}`],
    ["base", base],
    ["submitter", submitter],
    ["attempts", String(attempts)],
  ];
  if (why !== null) rows.push(["why", printable(why)]);
  if (finding !== null) {
    rows.push(["image", finding.image], ["policy", finding.policy], ["level", `${finding.level}, seed ${finding.seed}`]);
    if (finding.failedChecks.length > 0) rows.push(["failed", finding.failedChecks.join(", ")]);
    if (finding.expiresAt !== null) rows.push(["certified until", finding.expiresAt]);
  }
  return table(rows);
}

async function cancel(id: number, flags: ProgrammeFlags): Promise<void> {
  const cancelled = await clientOf(flags).cancel(id);
  if (flags.json === true) printJson(cancelled);
  else printLines([`submission ${id}: ${standing(cancelled)}`]);
}

async function catalogue(flags: ProgrammeFlags & { readonly base?: string }): Promise<void> {
  const base = flags.base === undefined ? undefined : parseDigest(flags.base);
  if (flags.base !== undefined && base === undefined)
    throw new SteadfastError("USAGE", { what: `--base ${flags.base} is no SHA-256 digest; give 64 hexadecimal digits.` });
  const found = await clientOf(flags).catalogue(base);
  if (flags.json === true) printJson(found);
  else printLines(catalogueTable(found));
}

function catalogueTable({ changes }: CatalogueAnswer): string[] {
  if (changes.length === 0) return ["Nothing is certified here at this time."];
  const head = ["NAME", "LEVEL", "UNTIL", "BASE", "CHANGE"].map((cell) => paint(cell, "dim"));
  return table([
    head,
    ...changes.map((each) => [printable(each.name), each.level, each.expiresAt.slice(0, 10), short(each.base), each.change]),
  ]);
}

interface FetchFlags extends ProgrammeFlags {
  readonly out: string;
}

/** `what`: the digest of a certified change, or the number of a submission, of which there may be reports only. */
async function fetchWhat(what: string, flags: FetchFlags): Promise<void> {
  const client = clientOf(flags);
  const digest = parseDigest(what);
  if (digest === undefined && !/^\d{1,15}$/.test(what))
    throw new SteadfastError("USAGE", { what: `${what} is neither the digest of a change nor the number of a submission.` });
  const certified = digest === undefined ? undefined : (await client.catalogue()).changes.find((each) => each.change === digest);
  if (digest !== undefined && certified === undefined) throw new SteadfastError("PROGRAMME_NOTHING", { what: "such certified change" });
  const id = certified?.submission ?? Number(what);
  const submission = await client.submission(id);
  const parts: (readonly [string, string])[] = [
    ["report.json", `/submissions/${id}/report.json`],
    ["report.html", `/submissions/${id}/report.html`],
  ];
  if (submission.state === "passed" && submission.finding !== null)
    parts.push(["tar", `/changes/${submission.change}`], ["cert", `/certificates/${submission.finding.image}`]);
  const written: string[] = [];
  mkdirSync(flags.out, { recursive: true });
  for (const [ending, path] of parts) {
    const bytes = await client.bytesOf(path);
    if (bytes === null) continue;
    if (ending === "tar") checkDigest(bytes, submission.change);
    const file = join(flags.out, `${submission.change}.${ending}`);
    writeOutput(file, bytes);
    written.push(file);
  }
  if (flags.json === true) return printJson({ files: written, submission });
  printLines([...written, ...verifyingCommand(flags.out, submission)]);
}

function checkDigest(bytes: Buffer, wanted: string): void {
  const arrived = sha256(bytes);
  if (arrived !== wanted) throw new SteadfastError("SUBMISSION_DIGEST", { arrived, wanted });
}

function verifyingCommand(out: string, { state, change, base, finding }: SubmissionAnswer): string[] {
  if (state !== "passed" || finding === null) return [];
  const digests = `--image ${finding.image} --change ${change} --base ${base} --policy ${finding.policy}`;
  return [`To verify it: steadfast certificate verify ${join(out, `${change}.cert`)} ${digests}`];
}

function withProgrammeOptions(command: Command): Command {
  return command
    .requiredOption("--to <url>", "of the programme: https://HOST:PORT")
    .requiredOption("--token-file <file>", "a file with the token, in one line")
    .option("--fingerprint <digest>", "SHA-256 of its TLS certificate, of a self-signed one: no other is spoken to")
    .option("--json", "print facts and errors as JSON");
}

function submissionNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new SteadfastError("SUBMISSION_UNKNOWN", { id: text });
  return Number(text);
}

const SUBMIT_EXAMPLES = `
Examples:
  steadfast certify submit mychange.tar --to https://vendor.example:8444 --token-file token --follow
  steadfast certify submit mychange.tar --to https://192.0.2.1:8444 --token-file token --fingerprint AB:CD:...
With --follow the exit code is 0 if it passed, 1 if it failed, 4 if it ended without a finding.
`;

export function addCertifyProgrammeCommand(program: Command): void {
  const certify = program.command("certify").description("a certification programme: run one, hand changes in, get what is certified");
  addServeCommand(certify);
  withProgrammeOptions(certify.command("submit"))
    .argument("<file>", "a change package")
    .option("-f, --follow", "show its progress until it has ended")
    .description("hand a change in")
    .addHelpText("after", SUBMIT_EXAMPLES)
    .action(submit);
  withProgrammeOptions(certify.command("status"))
    .argument("[id]", "number of a submission", submissionNumber)
    .option("-f, --follow", "show its progress until it has ended")
    .description("show all submissions, or one")
    .action(status);
  withProgrammeOptions(certify.command("cancel"))
    .argument("<id>", "number of a submission", submissionNumber)
    .description("cancel a submission of one's own that waits or runs")
    .action(cancel);
  withProgrammeOptions(certify.command("catalogue"))
    .option("--base <digest>", "only changes of the image with this digest")
    .description("show the certified changes whose certificates hold")
    .action(catalogue);
  withProgrammeOptions(certify.command("fetch"))
    .argument("<what>", "digest of a certified change, or number of a submission")
    .option("--out <directory>", "where the files go", ".")
    .description("get package, certificate and reports")
    .action(fetchWhat);
}
