/**
 * What a programme keeps on disk, in one directory that only one programme uses at a time: a record for each submission, packages by their
 * digest, reports and certificates by submission. Every file is whole or absent.
 */
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { DIGEST_PATTERN } from "../certification/digest.js";
import { SteadfastError } from "../foundation/errors.js";
import { replaceDurably } from "../image/files.js";
import { tryLock } from "../image/lock.js";
import type { ProcessRecord } from "../modules/management-process.js";
import { SUBMISSION_STATES, type Submission } from "./queue/submission.js";

const PRIVATE_DIRECTORY_MODE = 0o700;
const digest = z.string().regex(DIGEST_PATTERN);

const findingSchema = z.strictObject({
  verdict: z.enum(["PASSED", "FAILED"]),
  imageDigest: digest,
  policyDigest: digest,
  level: z.string(),
  checks: z.array(z.string()),
  seed: z.number(),
  failedChecks: z.array(z.string()),
  expiresAt: z.nullable(z.string()),
});
const submissionSchema = z.strictObject({
  id: z.int().min(1),
  changeDigest: digest,
  name: z.string(),
  description: z.string(),
  baseDigest: digest,
  bytes: z.number(),
  submitter: z.string(),
  state: z.enum(SUBMISSION_STATES),
  submittedAtMs: z.number(),
  startedAtMs: z.nullable(z.number()),
  endedAtMs: z.nullable(z.number()),
  attempts: z.number(),
  isCancelling: z.boolean(),
  why: z.nullable(z.string()),
  finding: z.nullable(findingSchema),
});
const processSchema = z.strictObject({ name: z.string(), pid: z.int().min(2), startTicks: z.number() });

export class ProgrammeStore {
  readonly tokensFile: string;
  readonly auditFile: string;
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly incoming: string;
  readonly #lock: number;

  /** @throws SteadfastError PROGRAMME_BUSY, PROGRAMME_STORE */
  constructor(readonly directory: string) {
    this.tokensFile = join(directory, "tokens.json");
    this.auditFile = join(directory, "audit.jsonl");
    this.certificateFile = join(directory, "tls", "certificate.pem");
    this.keyFile = join(directory, "tls", "key.pem");
    this.incoming = join(directory, "incoming");
    this.#lock = this.#explaining(() => {
      for (const each of [directory, ...["submissions", "changes", "reports", "certificates"].map((name) => join(directory, name))])
        mkdirSync(each, { recursive: true, mode: PRIVATE_DIRECTORY_MODE });
      return openSync(join(directory, "lock"), "a+", 0o600);
    });
    if (!tryLock(this.#lock)) throw new SteadfastError("PROGRAMME_BUSY", { directory });
    this.#explaining(() => {
      // What was arriving when a former one ended came to nobody's knowledge.
      rmSync(this.incoming, { recursive: true, force: true });
      mkdirSync(this.incoming, { mode: PRIVATE_DIRECTORY_MODE });
    });
  }

  close(): void {
    closeSync(this.#lock);
  }

  /** @throws SteadfastError PROGRAMME_STORE: a record is not what was written; nothing is thrown away by guess. */
  load(): Submission[] {
    return this.#explaining(() =>
      readdirSync(join(this.directory, "submissions"))
        .filter((name) => name.endsWith(".json"))
        .map((name) => {
          try {
            return submissionSchema.parse(JSON.parse(readFileSync(join(this.directory, "submissions", name), "utf8")));
          } catch {
            throw new SteadfastError("PROGRAMME_STORE", { directory: this.directory, why: `submissions/${name} is damaged` });
          }
        }),
    );
  }

  save(submission: Submission): void {
    this.#explaining(() => replaceDurably(this.#recordFile(submission.id), `${JSON.stringify(submission, null, 1)}\n`));
  }

  /** What no submission needs: a crash may have come between a record and its package. */
  removeStrayPackages(needed: ReadonlySet<string>): void {
    for (const name of readdirSync(join(this.directory, "changes")))
      if (!needed.has(name.replace(/\.tar$/, ""))) rmSync(join(this.directory, "changes", name), { force: true });
  }

  packageFile(changeDigest: string): string {
    return join(this.directory, "changes", `${changeDigest}.tar`);
  }

  /** Takes a package that has arrived; the caller has written it durably. */
  takePackage(arrived: string, changeDigest: string): void {
    this.#explaining(() => renameSync(arrived, this.packageFile(changeDigest)));
  }

  removePackage(changeDigest: string): void {
    rmSync(this.packageFile(changeDigest), { force: true });
  }

  reportFile(id: number, kind: "json" | "html"): string {
    return join(this.directory, "reports", `${id}.${kind}`);
  }

  certificateOf(id: number): string {
    return join(this.directory, "certificates", `${id}.cert`);
  }

  saveCertificate(id: number, envelope: Uint8Array): void {
    this.#explaining(() => replaceDurably(this.certificateOf(id), envelope));
  }

  forget(id: number): void {
    for (const path of [this.#recordFile(id), this.reportFile(id, "json"), this.reportFile(id, "html"), this.certificateOf(id)])
      rmSync(path, { force: true });
  }

  /** The process that qualifies, so that the next programme can end one that outlived this one. */
  noteProcess(record: ProcessRecord): void {
    this.#explaining(() => replaceDurably(this.#processFile, `${JSON.stringify(record)}\n`));
  }

  clearProcess(): void {
    rmSync(this.#processFile, { force: true });
  }

  notedProcess(): ProcessRecord | null {
    if (!existsSync(this.#processFile)) return null;
    try {
      return processSchema.parse(JSON.parse(readFileSync(this.#processFile, "utf8")));
    } catch {
      throw new SteadfastError("PROGRAMME_STORE", { directory: this.directory, why: "running.json is damaged" });
    }
  }

  get #processFile(): string {
    return join(this.directory, "running.json");
  }

  #recordFile(id: number): string {
    return join(this.directory, "submissions", `${id}.json`);
  }

  #explaining<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (error instanceof SteadfastError) throw error;
      const { code } = error as NodeJS.ErrnoException;
      if (code === undefined) throw error;
      throw new SteadfastError("PROGRAMME_STORE", { directory: this.directory, why: code });
    }
  }
}
