/** What the control API says of itself without a server: schemas, OpenAPI document, metrics, and that the documents agree with them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { errorSchema, statusSchema } from "../dist/api/answers.js";
import { checkBody, diskBodySchema, downSchema, emptySchema, faultSchema, pullSchema } from "../dist/api/bodies.js";
import { readyAnswer } from "../dist/api/health.js";
import { METRICS, renderMetrics } from "../dist/api/metrics.js";
import { openApiDocument } from "../dist/api/openapi.js";
import { SteadfastError } from "../dist/foundation/errors.js";
import { SAMPLE_REPORT } from "./support/sample-report.js";

const root = fileURLToPath(new URL("../", import.meta.url));
const document = openApiDocument("1.2.3");

function page(path: string): string {
  return readFileSync(`${root}docs/${path}`, "utf8");
}

describe("bodies of requests", () => {
  test("that are right pass", () => {
    assert.deepEqual(checkBody(pullSchema, { force: true }, "/p"), { force: true });
    assert.deepEqual(checkBody(faultSchema, { kind: "flip", module: "cpu0", random: true }, "/faults").random, true);
    assert.deepEqual(checkBody(emptySchema, {}, "/verify"), {});
  });

  test("that are wrong are refused in one sentence that names the field", () => {
    const wrong = [
      () => checkBody(pullSchema, { force: "yes" }, "/modules/cpu0/pull"),
      () => checkBody(pullSchema, { forse: true }, "/modules/cpu0/pull"),
      () => checkBody(faultSchema, { kind: "kill" }, "/faults"),
      () => checkBody(downSchema, { graceMs: -1 }, "/down"),
      () => checkBody(diskBodySchema, { action: "grow", sizeBytes: 1.5 }, "/disk"),
      () => checkBody(emptySchema, JSON.parse('{"__proto__":1}') as Record<string, unknown>, "/verify"),
    ];
    const fields = ["force", "forse", "module", "graceMs", "sizeBytes", "__proto__"];
    for (const [index, attempt] of wrong.entries())
      assert.throws(attempt, (error: SteadfastError) => {
        assert.equal(error.code, "API_FIELD");
        assert.match(error.message, new RegExp(`^The field ${fields[index]} in the body of POST /\\S+ is wrong \\([^()]+\\); `));
        return true;
      });
  });

  test("are refused by a field's own error where it has one", () => {
    const refuse = (kind: string): SteadfastError => new SteadfastError("FAULT_UNKNOWN", { kind });
    for (const [kind, said] of [
      ["burn", "burn"],
      [undefined, "(none)"],
      [7, "7"],
    ] as const)
      assert.throws(() => checkBody(faultSchema, { kind, module: "cpu0" }, "/faults", { kind: refuse }), {
        code: "FAULT_UNKNOWN",
        message: `There is no fault ${said}; \`steadfast fault --help\` lists the drills.`,
      });
  });
});

test("a report is what the schema of the status says", () => {
  assert.deepEqual(statusSchema.parse(SAMPLE_REPORT), SAMPLE_REPORT);
  assert.equal(statusSchema.safeParse({ ...SAMPLE_REPORT, redundancy: "QUADRUPLEX" }).success, false);
  assert.equal(errorSchema.safeParse({ error: { code: "X" } }).success, false);
});

test("ready is a guest that answers and runs somewhere", () => {
  const ready = (changes: Partial<typeof SAMPLE_REPORT>): boolean => readyAnswer({ ...SAMPLE_REPORT, ...changes }).ready;
  assert.deepEqual([ready({}), ready({ guest: "reachable" }), ready({ guest: "hung" })], [true, true, false]);
  assert.deepEqual([ready({ guest: "booting" }), ready({ redundancy: "OUTAGE" })], [false, false]);
});

describe("the OpenAPI document", () => {
  test("refers to nothing that it does not have, and names nothing that is not used", () => {
    const text = JSON.stringify(document);
    const { schemas } = document["components"] as { schemas: Record<string, unknown> };
    const used = new Set([...text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name));
    assert.deepEqual([...used].sort(), Object.keys(schemas).sort());
    assert.doesNotMatch(text, /\$schema|\$id/);
    assert.equal(document["openapi"], "3.1.0");
  });

  test("makes the types of the client that are there", () => {
    const made = spawnSync(process.execPath, [`${root}scripts/api-types.mjs`], { encoding: "utf8" });
    assert.equal(made.status, 0, made.stderr);
    const types = readFileSync(`${root}src/client/api-types.ts`, "utf8");
    assert.match(types, /"\/modules\/\{name\}\/pull": \{/);
    assert.match(types, /redundancy: "OUTAGE" \| "SIMPLEX"/);
  });

  test("has the paths that the reference has", () => {
    const paths = document["paths"] as Record<string, Record<string, unknown>>;
    const served = Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods).map((each) => `${each.toUpperCase()} ${path}`));
    const told = [...page("reference/api.md").matchAll(/^- `((?:GET|POST) \S+)`:/gm)].map(([, path]) => path);
    assert.deepEqual(told.sort(), served.sort());
  });
});

describe("metrics", () => {
  test("are accepted by Prometheus' own check, each of them, odd names included", async () => {
    const { text } = await renderMetrics(SAMPLE_REPORT, "1.2.3");
    const checked = spawnSync("promtool", ["check", "metrics"], { input: text, encoding: "utf8" });
    assert.equal(checked.status, 0, checked.stdout + checked.stderr);
    assert.equal(checked.stderr + checked.stdout, "");
    for (const { name, type, help } of METRICS) {
      assert.ok(text.includes(`# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name}{`), name);
    }
    assert.match(text, /^steadfast_redundancy\{redundancy="SIMPLEX",server="sample"\} 1$/m);
    assert.match(text, /^steadfast_redundancy\{redundancy="DUPLEX",server="sample"\} 0$/m);
    assert.match(text, /^steadfast_last_hold_seconds\{server="sample"\} 0\.007$/m);
    assert.match(text, /^steadfast_disk_mirror_state\{module="io1",state="resync",server="sample"\} 1$/m);
    assert.match(
      text,
      /^steadfast_module_state\{module="cpu1",kind="cpu",enclosure="enclosure0",state="INITIALIZING",server="sample"\} 1$/m,
    );
  });

  test("of a disk are missing without one", async () => {
    const { text } = await renderMetrics({ ...SAMPLE_REPORT, disk: null }, "1.2.3");
    assert.doesNotMatch(text, /steadfast_disk/);
  });

  test("are in the reference, with type, labels and meaning, and no others", () => {
    const rows = page("reference/metrics.md")
      .split("\n")
      .filter((line) => line.startsWith("| `steadfast_"))
      .map((line) => line.split("|").map((cell) => cell.trim()));
    const told = rows.map(([, name, type, labels, help]) => [name, type, labels, help]);
    const known = METRICS.map(({ name, type, labels, help }) => [
      `\`${name}\``,
      type,
      labels.map((label) => `\`${label}\``).join(", "),
      help,
    ]);
    assert.deepEqual(told, known);
  });

  test("are all that the Grafana dashboard asks for, with their labels", () => {
    const text = page("grafana/steadfast.json");
    const dashboard = JSON.parse(text) as { panels: { title: string; targets: { expr: string; legendFormat: string }[] }[] };
    assert.ok(dashboard.panels.length > 10);
    const known = new Map(METRICS.map((metric) => [metric.name, metric]));
    for (const [name] of text.matchAll(/\bsteadfast_\w+/g)) assert.ok(known.has(name), name);
    for (const { title, targets } of dashboard.panels)
      for (const { expr, legendFormat } of targets) {
        const [name = ""] = /\bsteadfast_\w+/.exec(expr) ?? [];
        const labels = ["server", ...(known.get(name)?.labels ?? [])];
        for (const [, label = ""] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) assert.ok(labels.includes(label), `${title}: ${label}`);
      }
  });
});
