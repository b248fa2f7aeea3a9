/** Keys and certificates: what counts, every reason why one does not, flipped bits, and OpenSSL as a judge of the encoding. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { addSignature, decodeEnvelope, encodeEnvelope, envelopeOf, type Envelope } from "../dist/certification/dsse.js";
import { keyId, KeyStore } from "../dist/certification/keys.js";
import { checkStatement, type Statement } from "../dist/certification/statement.js";
import { verifyCertificate, type Verification } from "../dist/certification/verify.js";
import { SteadfastError } from "../dist/foundation/errors.js";
import { sha256 } from "../dist/image/store.js";
import { sampleStatement } from "./support/sample-statement.js";

const STEADFAST = fileURLToPath(new URL("../bin/steadfast", import.meta.url));
const NOW_MS = Date.parse("2026-06-01T00:00:00.000Z");
const EXPECTED = {
  imageDigest: sha256("image"),
  changeDigest: sha256("change"),
  base: sha256("base"),
  policyDigest: sha256("policy"),
};

type Predicate = Statement["predicate"];

function statement(changed: Partial<Predicate> = {}): Statement {
  const { imageDigest: image, changeDigest: change, base, policyDigest: policy } = EXPECTED;
  return sampleStatement({ image, change, base, policy }, changed);
}

interface Pair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}
const VENDOR: Pair = generateKeyPairSync("ed25519");
const CUSTOMER: Pair = generateKeyPairSync("ed25519");
const STRANGER: Pair = generateKeyPairSync("ed25519");

function trust(...pairs: Pair[]): Map<string, KeyObject> {
  return new Map(pairs.map((pair) => [keyId(pair.publicKey), pair.publicKey]));
}

function signed(what: Statement, ...pairs: Pair[]): Envelope {
  return pairs.reduce((envelope, pair) => addSignature(envelope, pair.privateKey), envelopeOf(what));
}

function verdict(envelope: Envelope, changed: Partial<Verification> = {}): string {
  const outcome = verifyCertificate({
    envelope,
    trustedKeys: trust(VENDOR, CUSTOMER),
    threshold: 1,
    revocations: new Set(),
    nowMs: NOW_MS,
    expected: EXPECTED,
    ...changed,
  });
  return outcome.ok ? "ok" : outcome.reason.code;
}

function temporary(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "steadfast-certificate-"));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function refused(code: string, work: () => unknown): void {
  assert.throws(work, (error) => error instanceof SteadfastError && error.code === code && !/[{}\n]/.test(error.message));
}

test("a certificate counts with enough signatures of trusted keys", () => {
  const both = signed(statement(), VENDOR, CUSTOMER);
  assert.equal(verdict(both, { threshold: 2 }), "ok");
  assert.equal(verdict(signed(statement(), VENDOR)), "ok");
  assert.equal(verdict(decodeEnvelope(encodeEnvelope(both)), { threshold: 2 }), "ok");
  assert.equal(verdict(signed(statement(), STRANGER, VENDOR)), "ok", "a signature of nobody we know takes nothing away");
});

test("every reason why a certificate does not count has its code", () => {
  const good = signed(statement(), VENDOR);
  const other = sha256("other");
  const expecting = (changed: Partial<typeof EXPECTED>) => verdict(good, { expected: { ...EXPECTED, ...changed } });
  assert.equal(expecting({ imageDigest: other }), "CERTIFICATE_OTHER_IMAGE");
  assert.equal(expecting({ changeDigest: other }), "CERTIFICATE_OTHER_CHANGE");
  assert.equal(expecting({ base: other }), "CERTIFICATE_OTHER_BASE");
  assert.equal(expecting({ policyDigest: other }), "CERTIFICATE_OTHER_POLICY");
  assert.equal(verdict(good, { nowMs: Date.parse("2026-12-31T23:59:59.999Z") }), "ok");
  assert.equal(verdict(good, { nowMs: Date.parse("2027-01-01T00:00:00.000Z") }), "CERTIFICATE_EXPIRED");
  assert.equal(verdict(good, { nowMs: Date.parse("2025-12-31T23:00:00.000Z") }), "CERTIFICATE_EARLY");
  const failed = statement({ verificationResult: "FAILED", results: [{ check: "faults", verdict: "FAILED", detail: "" }] });
  assert.equal(verdict(signed(failed, VENDOR)), "CERTIFICATE_FAILED_VERDICT");
  assert.equal(verdict(envelopeOf(statement())), "CERTIFICATE_BELOW_THRESHOLD");
  assert.equal(verdict(signed(statement(), STRANGER)), "CERTIFICATE_BELOW_THRESHOLD");
  assert.equal(verdict(good, { threshold: 2 }), "CERTIFICATE_BELOW_THRESHOLD");
  for (const threshold of [0, -1, 1.5, Number.NaN]) assert.equal(verdict(good, { threshold }), "CERTIFICATE_THRESHOLD");
});

test("one key counts once, and a revoked one not at all", () => {
  const good = signed(statement(), VENDOR);
  const twice = { ...good, signatures: [...good.signatures, ...good.signatures] };
  assert.equal(verdict(twice, { threshold: 2 }), "CERTIFICATE_BELOW_THRESHOLD");
  assert.equal(addSignature(good, VENDOR.privateKey).signatures.length, 1);
  const revocations = new Set([keyId(VENDOR.publicKey)]);
  assert.equal(verdict(good, { revocations }), "CERTIFICATE_REVOKED");
  const both = signed(statement(), VENDOR, CUSTOMER);
  assert.equal(verdict(both, { revocations }), "ok");
  assert.equal(verdict(both, { revocations, threshold: 2 }), "CERTIFICATE_REVOKED");
});

test("forged: another payload, a signature moved, a key id borrowed", () => {
  const good = signed(statement(), VENDOR);
  const later = envelopeOf(statement({ expiresAt: "2099-01-01T00:00:00.000Z" }));
  assert.equal(verdict({ ...later, signatures: good.signatures }), "CERTIFICATE_FORGED");
  const byStranger = signed(statement(), STRANGER);
  const borrowed = byStranger.signatures.map(({ sig }) => ({ keyid: keyId(VENDOR.publicKey), sig }));
  assert.equal(verdict({ ...byStranger, signatures: borrowed }), "CERTIFICATE_FORGED");
  const cut = good.signatures.map(({ keyid, sig }) => ({ keyid, sig: sig.subarray(0, 63) }));
  assert.equal(verdict({ ...good, signatures: cut }), "CERTIFICATE_FORGED");
  assert.equal(verdict({ ...good, payloadType: "text/plain" }), "CERTIFICATE_FORGED");
});

test("every bit of an envelope counts when all its signatures are needed", () => {
  const bytes = encodeEnvelope(signed(statement(), VENDOR, CUSTOMER));
  const seen = new Set<string>();
  for (let at = 0; at < bytes.length; at += 1) {
    const flipped = Uint8Array.from(bytes);
    flipped[at] = (flipped[at] ?? 0) ^ (1 << ((at * 5) % 8));
    let outcome: string;
    try {
      outcome = verdict(decodeEnvelope(flipped), { threshold: 2 });
    } catch (error) {
      assert.ok(error instanceof SteadfastError, String(error));
      outcome = error.code;
    }
    assert.notEqual(outcome, "ok", `bit of byte ${at}`);
    seen.add(outcome);
  }
  assert.deepEqual([...seen].sort(), ["CERTIFICATE_BELOW_THRESHOLD", "CERTIFICATE_FORGED", "CERTIFICATE_WRONG"]);
});

test("cut envelopes, garbage and statements that contradict themselves are refused", () => {
  const bytes = encodeEnvelope(signed(statement(), VENDOR));
  // The last byte is the end of the line: without it the envelope is whole.
  for (let length = 0; length < bytes.length - 1; length += 7)
    refused("CERTIFICATE_WRONG", () => decodeEnvelope(bytes.subarray(0, length)));
  for (const text of ["", "null", "[]", "{}", '{"payloadType":1}', "\xff\xfe", "[".repeat(100_000)])
    refused("CERTIFICATE_WRONG", () => decodeEnvelope(Buffer.from(text, "latin1")));
  refused("CERTIFICATE_WRONG", () => decodeEnvelope(Buffer.alloc(5 * 1024 * 1024, 0x20)));
  const good = statement();
  refused("CERTIFICATE_WRONG", () => checkStatement({ ...good, surprise: 1 }));
  refused("CERTIFICATE_WRONG", () => checkStatement({ ...good, predicateType: "https://slsa.dev/verification_summary/v1" }));
  refused("CERTIFICATE_WRONG", () => checkStatement({ ...good, subject: [...good.subject].reverse() }));
  refused("CERTIFICATE_WRONG", () => checkStatement(statement({ results: [] })));
  refused("CERTIFICATE_WRONG", () => checkStatement(statement({ results: [{ check: "a", verdict: "FAILED", detail: "" }] })));
  refused("CERTIFICATE_WRONG", () => checkStatement(statement({ expiresAt: "2026-01-01T00:00:00.000Z" })));
  refused("CERTIFICATE_WRONG", () => checkStatement(statement({ expiresAt: "next year" })));
  const unread = { ...envelopeOf(good), payload: Buffer.from('{"_type":"other"}') };
  assert.equal(verdict(addSignature(unread, VENDOR.privateKey)), "CERTIFICATE_WRONG");
});

test("keys: private ones for their owner only, trusted ones, and revoked ones for good", (context) => {
  const store = new KeyStore(join(temporary(context), "keys"));
  assert.deepEqual(store.list(), []);
  const made = store.create("vendor");
  const privateFile = join(store.directory, "vendor.key.pem");
  assert.equal(statSync(privateFile).mode & 0o777, 0o600);
  assert.equal(statSync(store.directory).mode & 0o777, 0o700);
  assert.match(readFileSync(privateFile, "utf8"), /^-----BEGIN PRIVATE KEY-----/);
  assert.equal(sha256(createPublicKey(readFileSync(made.publicFile)).export({ type: "spki", format: "der" })), made.keyId);
  refused("KEY_EXISTS", () => store.create("vendor"));
  for (const name of ["", "../up", "A", "a/b", "x".repeat(65)]) refused("KEY_NAME", () => store.create(name));
  assert.deepEqual(store.list(), [{ keyId: made.keyId, name: "vendor", isTrusted: false, isRevoked: false }]);
  assert.equal(store.trust(made.publicFile), made.keyId);
  refused("KEY_FILE", () => store.trust(privateFile));
  const rsa = join(store.directory, "..", "rsa.pem");
  writeFileSync(rsa, generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey.export({ type: "spki", format: "pem" }));
  refused("KEY_FILE", () => store.trust(rsa));
  writeFileSync(rsa, "garbage");
  refused("KEY_FILE", () => store.trust(rsa));
  refused("KEY_UNKNOWN", () => store.privateKey("nobody"));
  refused("KEY_UNKNOWN", () => store.revoke("vendor"));
  store.revoke(made.keyId);
  assert.deepEqual(store.list(), [{ keyId: made.keyId, name: "vendor", isTrusted: true, isRevoked: true }]);
  refused("KEY_REVOKED", () => store.trust(made.publicFile));
  const misplaced = join(store.directory, "trusted", `${sha256("another")}.pem`);
  writeFileSync(misplaced, readFileSync(made.publicFile));
  refused("KEY_FILE", () => store.trusted());
});

interface Ran {
  readonly status: number | null;
  readonly json: { readonly error?: { readonly code: string }; readonly keyId?: string; readonly signers?: string[] };
}

test("the commands: keys, two signers, a threshold, revocation; and OpenSSL agrees about what was signed", (context) => {
  const directory = temporary(context);
  const run = (...words: string[]): Ran => {
    const env = { ...process.env, STEADFAST_STATE: join(directory, "state") };
    const { status, stdout } = spawnSync(process.execPath, [STEADFAST, ...words, "--json"], { env, encoding: "utf8", cwd: directory });
    return { status, json: JSON.parse(stdout) as Ran["json"] };
  };
  const lifetime = { issuedAt: "2020-01-01T00:00:00.000Z", expiresAt: "2999-01-01T00:00:00.000Z" };
  writeFileSync(join(directory, "statement.json"), JSON.stringify(statement(lifetime)));
  const vendor = run("keys", "create", "vendor").json.keyId ?? "";
  run("keys", "create", "customer");
  assert.equal(run("certificate", "sign", "statement.json", "--key", "vendor", "--out", "change.cert").status, 0);
  assert.equal(run("certificate", "sign", "change.cert", "--key", "customer").json.signers?.length, 2);
  const digests = ["--image", EXPECTED.imageDigest, "--change", EXPECTED.changeDigest, "--base", EXPECTED.base];
  const verify = (...more: string[]): Ran =>
    run("certificate", "verify", "change.cert", ...digests, "--policy", `sha256:${EXPECTED.policyDigest}`, ...more);
  assert.deepEqual([verify().status, verify().json.error?.code], [5, "CERTIFICATE_BELOW_THRESHOLD"]);
  const publicFile = (name: string): string => join(directory, "state", "_keys", `${name}.pub.pem`);
  for (const name of ["vendor", "customer"]) assert.equal(run("keys", "trust", publicFile(name)).status, 0);
  assert.equal(verify("--threshold", "2").status, 0);
  assert.equal(run("keys", "revoke", vendor).status, 0);
  assert.equal(verify("--threshold", "2").json.error?.code, "CERTIFICATE_REVOKED");
  assert.equal(verify("--threshold", "two").status, 2);

  // By the DSSE specification alone, without any code of ours.
  const envelope = JSON.parse(readFileSync(join(directory, "change.cert"), "utf8")) as {
    payloadType: string;
    payload: string;
    signatures: { keyid: string; sig: string }[];
  };
  const body = Buffer.from(envelope.payload, "base64");
  const header = `DSSEv1 ${Buffer.byteLength(envelope.payloadType)} ${envelope.payloadType} ${body.length} `;
  const openssl = (name: string, at: number, message: Uint8Array): number | null => {
    writeFileSync(join(directory, "message"), message);
    writeFileSync(join(directory, "signature"), Buffer.from(envelope.signatures[at]?.sig ?? "", "base64"));
    const words = ["pkeyutl", "-verify", "-pubin", "-inkey", publicFile(name), "-rawin", "-in", "message", "-sigfile", "signature"];
    const done = spawnSync("openssl", words, { cwd: directory, encoding: "utf8" });
    assert.equal(done.error, undefined, "openssl runs");
    return done.status;
  };
  const message = Buffer.concat([Buffer.from(header), body]);
  assert.equal(openssl("vendor", 0, message), 0);
  assert.equal(openssl("customer", 1, message), 0);
  assert.notEqual(openssl("customer", 0, message), 0);
  assert.notEqual(openssl("vendor", 0, body), 0);
});

test("the commands: a change made, inspected, and refused with one sentence", (context) => {
  const directory = temporary(context);
  const run = (...words: string[]) => spawnSync(process.execPath, [STEADFAST, ...words], { encoding: "utf8", cwd: directory });
  writeFileSync(join(directory, "change.yaml"), "name: roomy\nmemoryMiB: 512\n");
  const made = run("change", "create", ".", "--base", EXPECTED.base, "--out", "roomy.tar");
  assert.equal(made.status, 0, made.stderr);
  const digest = sha256(readFileSync(join(directory, "roomy.tar")));
  assert.ok(made.stdout.includes(digest));
  const inspected = run("change", "inspect", "roomy.tar");
  assert.ok(inspected.stdout.includes(digest) && /memory +512 MiB/.test(inspected.stdout));
  assert.equal((JSON.parse(run("change", "inspect", "roomy.tar", "--json").stdout) as { digest: string }).digest, digest);
  writeFileSync(join(directory, "change.yaml"), 'name: rude\nmemoryMiB: 512\ndescription: "\\e[2J\\u009b2J"\n');
  assert.equal(run("change", "create", ".", "--base", EXPECTED.base, "--out", "rude.tar").status, 0);
  assert.match(run("change", "inspect", "rude.tar").stdout, /\?\[2J\?2J\n/);
  const refusal = run("change", "create", ".", "--base", "latest", "--out", "x.tar");
  assert.deepEqual([refusal.status, refusal.stderr.trim().split("\n").length], [2, 1]);
  assert.match(refusal.stderr, /CHANGE_BASE/);
  assert.equal(run("change", "create", ".", "--base", EXPECTED.base, "--out", "none/x.tar").status, 3);
});
