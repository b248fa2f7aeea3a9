/**
 * Where tests of changes on real servers make them: keys, servers, images and certificates of their own, in directories of their own; what
 * images are made of is this host's. One for each process, since the directories are the process's.
 */
import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { cachePaths } from "../../dist/image/paths.js";
import { sha256 } from "../../dist/image/store.js";
import type { ChangeView } from "../../dist/modules/management-changes.js";
import { steadfast, type Outcome, type RealServer } from "./real-server.js";
import { sampleStatement } from "./sample-statement.js";

const LIFETIME = { issuedAt: "2020-01-01T00:00:00.000Z", expiresAt: "2999-01-01T00:00:00.000Z" };
const SIGNER = "vendor";

export interface MadeChange {
  readonly file: string;
  readonly certificate: string;
}

export class ChangeWorkshop {
  readonly base: string;
  readonly #limitMs: number;

  /** `limitMs`: of each command. */
  constructor(prefix: string, limitMs: number) {
    this.base = mkdtempSync(join(tmpdir(), prefix));
    this.#limitMs = limitMs;
    const shared = cachePaths();
    const own = cachePaths(join(this.base, "cache"));
    mkdirSync(own.root);
    for (const part of ["packages", "kernels"] as const) symlinkSync(shared[part], own[part]);
    cpSync(shared.apt, own.apt, { recursive: true });
    process.env["STEADFAST_CACHE"] = own.root;
    process.env["STEADFAST_STATE"] = join(this.base, "state");
    process.env["STEADFAST_RUN"] = join(this.base, "run");
  }

  remove(): void {
    rmSync(this.base, { recursive: true, force: true });
  }

  async facts<T>(...words: readonly string[]): Promise<T> {
    const { code, out, error } = await steadfast([...words, "--json"], "", this.#limitMs);
    assert.equal(code, 0, `${words.join(" ")}: ${out}${error}`);
    return JSON.parse(out) as T;
  }

  /** The key that certificates are signed with, which is trusted here. */
  async makeKey(): Promise<void> {
    const { publicFile } = await this.facts<{ publicFile: string }>("keys", "create", SIGNER);
    await this.facts("keys", "trust", publicFile);
  }

  /** A change for the image that the server runs, with a certificate. */
  async make(server: RealServer, name: string, yaml: string, files: Readonly<Record<string, string>> = {}): Promise<MadeChange> {
    const directory = join(this.base, name);
    mkdirSync(directory);
    writeFileSync(join(directory, "change.yaml"), `name: ${name}\n${yaml}`);
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(dirname(join(directory, "files", path)), { recursive: true });
      writeFileSync(join(directory, "files", path), content);
    }
    const { running } = await server.facts<ChangeView>(["change", "status"]);
    const [file, certificate] = [`${directory}.tar`, `${directory}.cert`];
    const { digest: change } = await this.facts<{ digest: string }>("change", "create", directory, "--base", running, "--out", file);
    const { digest: image } = await this.facts<{ digest: string }>("change", "build", file);
    const statement = sampleStatement({ image, change, base: running, policy: sha256("p") }, LIFETIME);
    writeFileSync(`${directory}.json`, JSON.stringify(statement));
    await this.facts("certificate", "sign", `${directory}.json`, "--key", SIGNER, "--out", certificate);
    return { file, certificate };
  }
}

export function refused(outcome: Outcome, code: string): void {
  assert.notEqual(outcome.code, 0, outcome.out);
  assert.match(outcome.error, new RegExp(code));
}
