/**
 * The qualification on real servers: a good change passes the checks and gets a certificate that verifies; bad ones fail by the check that
 * should catch them. The long checks are run by hand (`steadfast change certify`), not here. Needs the hardened image.
 */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { addSignature, decodeEnvelope, encodeEnvelope, envelopeOf } from "../dist/certification/dsse.js";
import { KeyStore } from "../dist/certification/keys.js";
import { decodeStatement } from "../dist/certification/statement.js";
import { verifyCertificate } from "../dist/certification/verify.js";
import { findImage } from "../dist/image/index.js";
import { knownServers } from "../dist/modules/management-paths.js";
import type { QualificationReport } from "../dist/qualification/grading/report.js";
import { statementOf } from "../dist/qualification/statement.js";
import { runProgram, steadfast } from "./support/real-server.js";
import { makeTestBuild, type PlantedFault } from "./support/test-build.js";

const folder = mkdtempSync(join(tmpdir(), "steadfast-qualification-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const base = findImage({ kernel: "hardened" });
const options = { skip: base === undefined && process.env["STEADFAST_REQUIRE_IMAGES"] === undefined ? "no hardened image" : false };
const RUN_LIMIT_MS = 300_000;

async function makeChange(name: string, yaml: string, files: Readonly<Record<string, string>> = {}): Promise<string> {
  const directory = join(folder, name);
  mkdirSync(directory);
  writeFileSync(join(directory, "change.yaml"), `name: ${name}\n${yaml}`);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, "files", path)), { recursive: true });
    writeFileSync(join(directory, "files", path), content);
  }
  const out = join(folder, `${name}.tar`);
  const made = await steadfast(["change", "create", directory, "--base", base?.digest ?? "", "--out", out]);
  assert.equal(made.code, 0, made.error);
  return out;
}

async function certify(
  change: string,
  checks: readonly string[],
  extra: readonly string[] = [],
): Promise<{ code: number | null; report: QualificationReport }> {
  const chosen = checks.flatMap((check) => ["--check", check]);
  const { code, out, error } = await steadfast(["change", "certify", change, ...chosen, ...extra, "--json"], "", RUN_LIMIT_MS);
  assert.ok(out.startsWith("{"), out + error);
  return { code, report: JSON.parse(out) as QualificationReport };
}

const verdicts = (report: QualificationReport): Record<string, string> =>
  Object.fromEntries(report.rows.map((row) => [row.id, row.verdict]));

test("a good change passes, its statement is the same each time but for the times, and its certificate verifies", options, async () => {
  const change = await makeChange("greeting", 'checks:\n  - { name: motd, command: "grep -q hello /etc/motd", timeoutSeconds: 10 }\n', {
    "etc/motd": "hello\n",
  });
  const checks = ["hardening", "start", "own:motd", "services"];
  const page = join(folder, "report.html");
  const first = await certify(change, checks, ["--html", page]);
  assert.equal(first.code, 0, JSON.stringify(first.report.rows.map((row) => [row.id, row.verdict, row.detail])));
  assert.deepEqual(verdicts(first.report), { hardening: "PASSED", start: "PASSED", "own:motd": "PASSED", services: "PASSED" });
  assert.match(readFileSync(page, "utf8"), /Qualification of greeting: <span class="verdict PASSED">/);
  assert.deepEqual(
    knownServers().filter((name) => name.startsWith("certify-")),
    [],
  );
  const statement = statementOf(first.report, 1, Date.now());
  const { privateKey, trusted } = keyOf("vendor");
  const envelope = decodeEnvelope(encodeEnvelope(addSignature(envelopeOf(statement), privateKey)));
  const { imageDigest, changeDigest, baseDigest, policyDigest } = first.report;
  const verification = {
    ...{ envelope, trustedKeys: trusted, threshold: 1, revocations: new Set<string>(), nowMs: Date.now() },
    expected: { imageDigest, changeDigest, base: baseDigest, policyDigest },
  };
  const refused = verifyCertificate(verification);
  assert.ok(!refused.ok && refused.reason.code === "CERTIFICATE_PARTIAL", "of some checks only");
  const outcome = verifyCertificate({ ...verification, acceptsPartial: true });
  assert.ok(outcome.ok);
  assert.equal(decodeStatement(envelope.payload).predicate.seeds[0], first.report.seed);
});

function keyOf(name: string) {
  const store = new KeyStore(join(folder, "keys"));
  store.trust(store.create(name).publicFile);
  return { privateKey: store.privateKey(name), trusted: store.trusted() };
}

test("a command line that breaks the policy is refused twice alike, before any server stands", options, async () => {
  const change = await makeChange(
    "panic",
    'commandLine: "console=ttyS0 loglevel=4 panic=0 oops=panic softlockup_panic=1 hung_task_panic=1 watchdog_thresh=30"\n',
  );
  const runs = [await certify(change, ["hardening"]), await certify(change, ["hardening"])];
  for (const { code, report } of runs) {
    assert.equal(code, 1);
    const [hardening] = report.rows;
    assert.equal(hardening?.verdict, "FAILED");
    assert.match(hardening?.detail ?? "", /command-line.required: panic=-1/);
    assert.match(
      hardening?.reproduce ?? "",
      new RegExp(`change certify .*panic.tar --level quick --check hardening --seed ${report.seed}`),
    );
  }
  assert.deepEqual([runs[0]?.report.seed, runs[0]?.report.imageDigest], [runs[1]?.report.seed, runs[1]?.report.imageDigest]);
  assert.equal(runs[0]?.report.rows[0]?.detail, runs[1]?.report.rows[0]?.detail);
});

/** Ends when time jumps, as a service does that takes a short silence of its partner for an end. */
const BRITTLE = `#!/bin/sh
look() { read -r uptime _ < /proc/uptime; now="\${uptime%.*}\${uptime#*.}"; }
look
while :; do
  before=$now
  usleep 50000
  look
  [ $((now - before)) -lt 25 ] || exit 1
done
`;

test("an unexpected port, a service that ends when it is held up, and an own check that fails are found", options, async () => {
  const change = await makeChange(
    "brittle",
    'services:\n  - { name: listener, command: "/usr/bin/redis-server --port 4444" }\n  - { name: brittle, command: "/bin/sh /usr/bin/brittle" }\n' +
      'checks:\n  - { name: slow, command: "sleep 60", timeoutSeconds: 1 }\n',
    { "usr/bin/brittle": BRITTLE },
  );
  const { code, report } = await certify(change, ["hardening", "own:slow", "computing-errors", "services"]);
  assert.equal(code, 1);
  const detailOf = (id: string): string => report.rows.find((row) => row.id === id)?.detail ?? "";
  assert.deepEqual(
    verdicts(report),
    { hardening: "FAILED", "own:slow": "FAILED", "computing-errors": "PASSED", services: "FAILED" },
    JSON.stringify(report.rows.map((row) => [row.id, row.detail])),
  );
  assert.match(detailOf("hardening"), /port.undeclared: 4444 \(running guest\)/);
  assert.match(detailOf("services"), /service brittle ended by itself/);
});

test(
  "planted in a build of Steadfast: a machine that follows its process, a voter that compares nothing, a scrub of memory and one of disks " +
    "that look at nothing are found",
  options,
  async () => {
    const digest = base?.digest ?? "";
    const run = async (faults: readonly PlantedFault[], check: string): Promise<QualificationReport> => {
      const program = join(makeTestBuild(folder, faults), "bin/steadfast");
      const parameters = [program, "change", "certify", "--image", digest, "--base", digest, "--check", check, "--seed", "7", "--json"];
      const { code, out, error } = await runProgram(process.execPath, parameters, "", RUN_LIMIT_MS);
      assert.equal(code, 1, out + error);
      return JSON.parse(out) as QualificationReport;
    };
    const entropy = {
      find: "this.powerOn(input.entropy, ",
      replace: "this.powerOn(input.entropy.map((byte) => byte ^ (process.pid & 255)), ",
    };
    const parted = await run([{ file: "machine/engines/rv64/rv64.js", ...entropy }], "boot-determinism");
    assert.deepEqual(verdicts(parted), { "boot-determinism": "FAILED" });
    assert.match(parted.rows[0]?.detail ?? "", /differ from tick \d+ on .*page 0x/);
    const compare = { find: "return (left.digest === right.digest &&", replace: "return (true ||" };
    const blind = await run([{ file: "lockstep/voter.js", ...compare }], "computing-errors");
    assert.deepEqual(verdicts(blind), { "computing-errors": "FAILED" });
    const looked = { find: "if (!isAsWritten)", replace: "if (false)" };
    const unscrubbed = await run([{ file: "machine/engines/rv64/checkpointer.js", ...looked }], "workload-determinism");
    assert.deepEqual(verdicts(unscrubbed), { "workload-determinism": "FAILED" }, unscrubbed.rows[0]?.detail);
    const walked = { find: "this.#region ??= 0;", replace: 'return this.#context.event("info", "SCRUB_DONE", "not at all");' };
    const unread = await run([{ file: "storage/scrubber.js", ...walked }], "disk-faults");
    assert.deepEqual(verdicts(unread), { "disk-faults": "FAILED" }, unread.rows[0]?.detail);
  },
);
