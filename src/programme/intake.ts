/** A package on its way in: streamed to disk, bounded, its digest taken on the way; then looked at by a process of its own. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { createWriteStream, mkdtempSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { PACKAGE_BYTES_LIMIT } from "../certification/limits.js";
import { SteadfastError } from "../foundation/errors.js";
import { reportedError, type ReportedFacts } from "../foundation/reported-error.js";
import { INSPECT_BYTES_MAX, INSPECT_LIMIT_MS, UPLOADS_MAX, UPLOADS_OF_TOKEN_MAX } from "./limits.js";
import type { SubmittedChange } from "./queue/submission.js";

/** A program and its first parameters: the command line of Steadfast itself. */
export interface Command {
  readonly program: string;
  readonly parameters: readonly string[];
}

export interface Arrived {
  readonly change: SubmittedChange;
  readonly file: string;
}

const FILE_NAME = "submission.tar";

export class Intake {
  readonly #directory: string;
  readonly #command: Command;
  readonly #arriving: string[] = [];
  /** One package at a time is looked at: it takes several times its size of memory. */
  #inspections: Promise<unknown> = Promise.resolve();

  /** `directory`: for what arrives. */
  constructor(directory: string, command: Command) {
    this.#directory = directory;
    this.#command = command;
  }

  /**
   * `take` gets the package when it is whole and right, and may move its file; whatever is left of it is removed afterwards.
   * `wanted`: the digest that it has to have, if the sender said one.
   * @throws SteadfastError API_CROWDED, CHANGE_TOO_LARGE, SUBMISSION_CUT, SUBMISSION_DIGEST, or what is wrong with the package
   */
  async receive<T>(request: IncomingMessage, submitter: string, wanted: string | null, take: (arrived: Arrived) => T): Promise<T> {
    const announced = Number(request.headers["content-length"] ?? 0);
    if (announced > PACKAGE_BYTES_LIMIT) throw tooLarge();
    this.#enter(submitter);
    const folder = mkdtempSync(join(this.#directory, "package-"));
    try {
      const file = join(folder, FILE_NAME);
      const { digest, bytes } = await streamToDisk(request, file);
      if (wanted !== null && wanted !== digest) throw new SteadfastError("SUBMISSION_DIGEST", { arrived: digest, wanted });
      // Nothing moves on the connection meanwhile, which is no fault of the sender's.
      request.socket.setTimeout(INSPECT_LIMIT_MS * (UPLOADS_MAX + 1));
      const { manifest } = await this.#inspect(folder);
      const { name, description, base } = manifest;
      return take({ file, change: { changeDigest: digest, name, description, baseDigest: base.sha256, bytes, submitter } });
    } finally {
      rmSync(folder, { recursive: true, force: true });
      this.#arriving.splice(this.#arriving.indexOf(submitter), 1);
    }
  }

  #enter(submitter: string): void {
    if (this.#arriving.length >= UPLOADS_MAX)
      throw new SteadfastError("API_CROWDED", { limit: UPLOADS_MAX, what: "packages on their way in" });
    if (this.#arriving.filter((each) => each === submitter).length >= UPLOADS_OF_TOKEN_MAX)
      throw new SteadfastError("API_CROWDED", { limit: UPLOADS_OF_TOKEN_MAX, what: `packages of ${submitter} on their way in` });
    this.#arriving.push(submitter);
  }

  #inspect(folder: string): Promise<Inspected> {
    const inspected = this.#inspections.then(() => inspect(this.#command, folder));
    this.#inspections = inspected.catch(() => undefined);
    return inspected;
  }
}

function tooLarge(): SteadfastError {
  return new SteadfastError("CHANGE_TOO_LARGE", { what: "The package", limit: PACKAGE_BYTES_LIMIT });
}

async function streamToDisk(request: IncomingMessage, path: string): Promise<{ digest: string; bytes: number }> {
  const hash = createHash("sha256");
  let bytes = 0;
  const measure = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      if (bytes > PACKAGE_BYTES_LIMIT) return done(tooLarge());
      hash.update(chunk);
      done(null, chunk);
    },
  });
  try {
    // Not the request itself: what refuses the package must not end the connection, on which the sender is to hear why.
    await pipeline(chunksOf(request), measure, createWriteStream(path, { flags: "wx", mode: 0o600 }));
  } catch (error) {
    if (error instanceof SteadfastError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOSPC" || code === "EDQUOT") throw new SteadfastError("PROGRAMME_STORE", { directory: path, why: code });
    throw new SteadfastError("SUBMISSION_CUT");
  }
  const file = await open(path, "r");
  await file.sync();
  await file.close();
  return { digest: hash.digest("hex"), bytes };
}

async function* chunksOf(request: IncomingMessage): AsyncGenerator<Buffer> {
  for await (const chunk of request.iterator({ destroyOnReturn: false })) yield chunk as Buffer;
  if (!request.complete) throw new SteadfastError("SUBMISSION_CUT");
}

interface Inspected {
  readonly digest: string;
  readonly manifest: { readonly name: string; readonly description: string; readonly base: { readonly sha256: string } };
}

/** What a stranger sent is read by a process that can do no harm by hanging or by running out of memory. */
function inspect({ program, parameters }: Command, folder: string): Promise<Inspected> {
  const all = [...parameters, "change", "inspect", FILE_NAME, "--json"];
  const options = { cwd: folder, timeout: INSPECT_LIMIT_MS, killSignal: "SIGKILL", maxBuffer: INSPECT_BYTES_MAX } as const;
  return new Promise((resolve, reject) => {
    execFile(program, all, options, (error, out) => {
      let said: Partial<Inspected> & { readonly error?: ReportedFacts };
      try {
        said = JSON.parse(out) as typeof said;
      } catch {
        const why = error === null ? "it said nothing about it" : error.message.split("\n")[0];
        return reject(new SteadfastError("SUBMISSION_UNCHECKED", { why: why ?? "" }));
      }
      if (said.error !== undefined) return reject(reportedError(said.error));
      resolve(said as Inspected);
    });
  });
}
