/** Debian's Prometheus, which scrapes one server's control API over TLS, and is asked what it knows. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../dist/bench/api-seat.js";

const START_LIMIT_MS = 30_000;
const STEP_SECONDS = 1;

export interface ScrapeTarget {
  /** ADDRESS:PORT */
  readonly address: string;
  readonly token: string;
  readonly certificateFile: string;
}

export class Prometheus {
  readonly #directory = mkdtempSync(join(tmpdir(), "steadfast-prometheus-"));
  readonly #startedAtSeconds = Date.now() / 1000;
  #child: ChildProcess | null = null;
  #said = "";
  #port = 0;

  async start({ address, token, certificateFile }: ScrapeTarget): Promise<void> {
    const [config, tokenFile] = [join(this.#directory, "prometheus.yml"), join(this.#directory, "token")];
    writeFileSync(tokenFile, token, { mode: 0o600 });
    writeFileSync(
      config,
      `global: { scrape_interval: 1s, scrape_timeout: 1s }
scrape_configs:
  - job_name: steadfast
    scheme: https
    authorization: { credentials_file: ${tokenFile} }
    tls_config: { ca_file: ${certificateFile} }
    static_configs: [{ targets: ["${address}"] }]
`,
    );
    this.#port = await freePort();
    const parameters = [`--config.file=${config}`, `--storage.tsdb.path=${join(this.#directory, "data")}`];
    this.#child = spawn("prometheus", [...parameters, `--web.listen-address=127.0.0.1:${this.#port}`], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream?.on("data", (bytes: Buffer) => (this.#said += bytes.toString()));
    const giveUpAt = Date.now() + START_LIMIT_MS;
    while ((await this.query("up == 1").catch(() => [])).length === 0) {
      assert.ok(Date.now() < giveUpAt && this.#child.exitCode === null, `Prometheus scrapes nothing: ${this.#said.slice(-2000)}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  /** The series of an expression since it was started. */
  async query(
    expression: string,
  ): Promise<readonly { readonly metric: Record<string, string>; readonly values: readonly [number, string][] }[]> {
    const range = { start: String(this.#startedAtSeconds), end: String(Date.now() / 1000), step: String(STEP_SECONDS) };
    const response = await fetch(
      `http://127.0.0.1:${this.#port}/api/v1/query_range?${new URLSearchParams({ query: expression, ...range })}`,
    );
    const { status, data, error } = (await response.json()) as { status: string; data?: { result: [] }; error?: string };
    assert.equal(status, "success", `${expression}: ${error ?? ""}`);
    return data?.result ?? [];
  }

  stop(): void {
    this.#child?.kill("SIGKILL");
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
