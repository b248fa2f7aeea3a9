/** The gate without servers: what may run and why not, what a running server's standing becomes, the store; and sigstore's verifier as a judge. */
import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { bundleFromJSON } from "@sigstore/bundle";
import { toSignedEntity, Verifier } from "@sigstore/verify";
import { decodeBaseStatement, hostKey, hostPublicKeys, signBase } from "../dist/certification/base.js";
import { addSignature, decodeEnvelope, encodeEnvelope, envelopeOf, type Envelope } from "../dist/certification/dsse.js";
import { gate, type GateFacts } from "../dist/certification/gate.js";
import { keyId, KeyStore } from "../dist/certification/keys.js";
import { BASE_CERTIFICATES_LIMIT, CERTIFICATES_LIMIT } from "../dist/certification/limits.js";
import { standingAfter, tidingsOf, type Certification } from "../dist/certification/standing.js";
import { CertificateStore } from "../dist/certification/store.js";
import { SteadfastError } from "../dist/foundation/errors.js";
import { sha256 } from "../dist/image/store.js";
import { sampleStatement } from "./support/sample-statement.js";

const NOW_MS = Date.parse("2026-06-01T00:00:00.000Z");
const IMAGE = sha256("image");
const BASE = sha256("base");
const POLICY = sha256("policy");
const DIGESTS = { image: IMAGE, change: sha256("change"), base: BASE, policy: POLICY };

interface Pair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}
const [VENDOR, CUSTOMER, HOST, STRANGER] = Array.from({ length: 4 }, () => generateKeyPairSync("ed25519")) as [Pair, Pair, Pair, Pair];

function keys(...pairs: Pair[]): Map<string, KeyObject> {
  return new Map(pairs.map(({ publicKey }) => [keyId(publicKey), publicKey]));
}

function certificate(signers: readonly Pair[] = [VENDOR], changed: Parameters<typeof sampleStatement>[1] = {}): Envelope {
  const unsigned = envelopeOf(sampleStatement(DIGESTS, changed));
  return signers.reduce((envelope, { privateKey }) => addSignature(envelope, privateKey), unsigned);
}

function baseCertificate(image = IMAGE, { privateKey } = HOST): Envelope {
  const recipe = { name: "default", digest: sha256("recipe") };
  return signBase({ imageDigest: image, release: "0.1.0", recipe, kernel: "stock", nowMs: NOW_MS }, privateKey);
}

function facts(changed: Partial<GateFacts> = {}, demands: Partial<GateFacts["demands"]> = {}): GateFacts {
  return {
    image: { digest: IMAGE, measured: IMAGE, extraCommandLine: "" },
    certificates: [certificate()],
    hostKeys: keys(HOST),
    trustedKeys: keys(VENDOR, CUSTOMER),
    revocations: new Set(),
    demands: { threshold: 1, keys: null, bases: null, policies: null, ...demands },
    uncertified: null,
    nowMs: NOW_MS,
    ...changed,
  };
}

/** State and level of what may run, code of what may not. */
function verdict(given: GateFacts): string {
  const decision = gate(given);
  if (!decision.allowed) return decision.refusal.code;
  return decision.state === "uncertified" ? `uncertified: ${decision.reason}` : `${decision.state} ${decision.level}`;
}

/** The same certificate with one bit of its text flipped, as it would be read from a file. */
function flipped(envelope: Envelope, at: number): Envelope | SteadfastError {
  const bytes = Buffer.from(encodeEnvelope(envelope));
  bytes[at] = (bytes[at] as number) ^ 1;
  try {
    return decodeEnvelope(bytes);
  } catch (error) {
    assert.ok(error instanceof SteadfastError, String(error));
    return error;
  }
}

const image = (changed: Partial<GateFacts["image"]>): Partial<GateFacts> => ({ image: { ...facts().image, ...changed } });
const vendorId = keyId(VENDOR.publicKey);

const CASES: readonly (readonly [what: string, given: GateFacts, verdict: string])[] = [
  ["a certificate by a trusted key", facts(), "certified quick"],
  ["enough signers", facts({ certificates: [certificate([VENDOR, CUSTOMER])] }, { threshold: 2 }), "certified quick"],
  ["too few signers", facts({}, { threshold: 2 }), "CERTIFICATE_BELOW_THRESHOLD"],
  ["a signer who is trusted, but not for this server", facts({}, { keys: [keyId(CUSTOMER.publicKey)] }), "CERTIFICATE_BELOW_THRESHOLD"],
  ["a signer nobody trusts", facts({ certificates: [certificate([STRANGER])] }), "CERTIFICATE_BELOW_THRESHOLD"],
  ["a forged signature", facts({ certificates: [forged()] }), "CERTIFICATE_FORGED"],
  ["a revoked key", facts({ revocations: new Set([vendorId]) }), "CERTIFICATE_REVOKED"],
  ["an expired one", facts({ nowMs: Date.parse("2027-01-01T00:00:00.000Z") }), "CERTIFICATE_EXPIRED"],
  ["one from the future", facts({ nowMs: Date.parse("2025-01-01T00:00:00.000Z") }), "CERTIFICATE_EARLY"],
  ["another image's", facts(image({ digest: BASE, measured: BASE })), "CERTIFICATE_OTHER_IMAGE"],
  ["a base that the image was not made of", facts(image({ base: POLICY })), "CERTIFICATE_OTHER_BASE"],
  ["the base that the image was made of", facts(image({ base: BASE, change: DIGESTS.change })), "certified quick"],
  ["a change that the image was not made of", facts(image({ change: POLICY })), "CERTIFICATE_OTHER_CHANGE"],
  ["a base that the server does not accept", facts({}, { bases: [IMAGE, POLICY] }), "CERTIFICATE_OTHER_BASE"],
  ["the image's own base, not accepted", facts(image({ base: BASE }), { bases: [POLICY] }), "CERTIFICATE_OTHER_BASE"],
  ["one of the bases that it accepts", facts({}, { bases: [IMAGE, BASE] }), "certified quick"],
  ["a policy that the server does not accept", facts({}, { policies: [BASE] }), "CERTIFICATE_OTHER_POLICY"],
  ["the policy that it accepts", facts({}, { policies: [POLICY] }), "certified quick"],
  ["one byte of the image flipped", facts(image({ measured: sha256("imagf") })), "IMAGE_ALTERED"],
  ["an image that cannot be read", facts(image({ measured: null })), "IMAGE_ALTERED"],
  ["an altered image, with a reason", facts({ ...image({ measured: null }), uncertified: "because" }), "IMAGE_ALTERED"],
  ["words on the command line", facts(image({ extraCommandLine: "panic=0" })), "IMAGE_COMMAND_LINE"],
  ["the same, with a reason", facts({ ...image({ extraCommandLine: "quiet" }), uncertified: "why" }), "uncertified: why"],
  ["nothing at all", facts({ certificates: [] }), "CERTIFICATE_MISSING"],
  ["nothing, with a reason", facts({ certificates: [], uncertified: "trying" }), "uncertified: trying"],
  ["a certificate, and a reason that is not needed", facts({ uncertified: "trying" }), "certified quick"],
  ["a base certificate", facts({ certificates: [baseCertificate()] }), "base base"],
  ["a base certificate that asks for two signers", facts({ certificates: [baseCertificate()] }, { threshold: 2 }), "base base"],
  ["both", facts({ certificates: [baseCertificate(), certificate()] }), "certified quick"],
  ["a base certificate of another image", facts({ certificates: [baseCertificate(BASE)] }), "CERTIFICATE_OTHER_IMAGE"],
  ["another host's base certificate", facts({ certificates: [baseCertificate(IMAGE, STRANGER)] }), "CERTIFICATE_BELOW_THRESHOLD"],
  ["a vendor's key does not make a base", facts({ certificates: [baseCertificate(IMAGE, VENDOR)] }), "CERTIFICATE_WRONG"],
  ["the host's key does not qualify anything", facts({ certificates: [certificate([HOST])] }), "CERTIFICATE_WRONG"],
  ["a revoked host", facts({ certificates: [baseCertificate()], revocations: new Set([keyId(HOST.publicKey)]) }), "CERTIFICATE_REVOKED"],
  [
    "a good one beside an expired one",
    facts({ certificates: [certificate([VENDOR], { expiresAt: "2026-02-01T00:00:00.000Z" }), certificate()] }),
    "certified quick",
  ],
];

function forged(): Envelope {
  const good = certificate();
  return { ...good, signatures: [{ keyid: vendorId, sig: (certificate([STRANGER]).signatures[0] as Envelope["signatures"][number]).sig }] };
}

describe("the gate", () => {
  for (const [what, given, wanted] of CASES) test(what, () => assert.equal(verdict(given), wanted));

  test("no flipped bit of a certificate lets it count", () => {
    for (const good of [certificate(), baseCertificate()]) {
      const { length } = encodeEnvelope(good);
      for (let at = 0; at < length; at += 1) {
        const code = verdict(facts({ certificates: [flipped(good, at)] }));
        // The text may say the same in other bytes: white space at its end.
        if (at < length - 1) assert.match(code, /^CERTIFICATE_(WRONG|FORGED|BELOW_THRESHOLD)$/, `byte ${at}`);
      }
    }
  });
});

describe("the standing of a server that runs", () => {
  const certified = gate(facts());
  const expired = gate(facts({ nowMs: Date.parse("2027-01-01T00:00:00.000Z") }));
  const altered = gate(facts(image({ measured: null })));
  const revoked = gate(facts({ revocations: new Set([vendorId]) }));
  const allowed = gate(facts({ certificates: [], uncertified: "trying" }));

  test("changes with what is found, and each change is told once", () => {
    const course = [certified, certified, expired, expired, certified, altered, revoked, allowed, certified];
    let before: Certification | null = null;
    const seen = course.map((decision, index) => {
      const after = standingAfter(before, decision, IMAGE, `${index}`);
      const told = tidingsOf("bank", before, after)?.code ?? "-";
      before = after;
      return `${after.state} ${after.since} ${told}`;
    });
    assert.deepEqual(seen, [
      ...["certified 0 -", "certified 0 -", "expired 2 CERTIFICATE_EXPIRED", "expired 2 -", "certified 4 CERTIFIED_AGAIN"],
      ...["altered 5 IMAGE_ALTERED", "uncertified 6 UNCERTIFIED", "uncertified 7 UNCERTIFIED", "certified 8 CERTIFIED_AGAIN"],
    ]);
  });

  test("keeps what it knew of a certificate that expired, and says why it is not certified", () => {
    const before = standingAfter(null, certified, IMAGE, "0");
    const after = standingAfter(before, expired, IMAGE, "1");
    assert.deepEqual([after.certificate, after.level, after.expiresAt], [before.certificate, "quick", "2027-01-01T00:00:00.000Z"]);
    assert.match(after.reason ?? "", /expired/);
    assert.equal(standingAfter(null, allowed, IMAGE, "0").reason, "trying");
    assert.equal(standingAfter(before, certified, BASE, "1").since, "1", "another image begins anew");
  });
});

function temporary(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "steadfast-gate-"));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

describe("certificates on a host", () => {
  test("are found by image, replaced by the same one with more signers, and bounded", (context) => {
    const store = new CertificateStore(join(temporary(context), "certificates"));
    assert.deepEqual(store.list(), []);
    const file = store.install(IMAGE, certificate());
    assert.equal(store.install(IMAGE, certificate([VENDOR, CUSTOMER])), file);
    const [found] = store.find(IMAGE);
    assert.ok(found !== undefined && !(found.content instanceof SteadfastError) && found.content.signatures.length === 2);
    assert.deepEqual(store.find(BASE), []);
    const lifetimes = Array.from({ length: CERTIFICATES_LIMIT }, (_, index) => ({ seeds: [index] }));
    assert.throws(
      () => lifetimes.forEach((changed) => store.install(IMAGE, certificate([VENDOR], changed))),
      (error) => error instanceof SteadfastError && error.code === "CERTIFICATE_STORE_FULL",
    );
    assert.equal(store.find(IMAGE).length, CERTIFICATES_LIMIT);
    writeFileSync(file, "nonsense");
    const broken = store.find(IMAGE).find((each) => each.file === file);
    assert.ok(broken?.content instanceof SteadfastError && broken.content.code === "CERTIFICATE_WRONG");
  });

  test("of base, by many keys: the oldest one goes", (context) => {
    const store = new CertificateStore(temporary(context));
    store.install(IMAGE, certificate());
    for (let key = 0; key < BASE_CERTIFICATES_LIMIT + 3; key += 1) store.installBase(IMAGE, sha256(`${key}`), baseCertificate());
    const names = readdirSync(join(store.directory, IMAGE));
    assert.equal(names.filter((name) => name.startsWith("base-")).length, BASE_CERTIFICATES_LIMIT);
    assert.equal(names.length, BASE_CERTIFICATES_LIMIT + 1);
  });

  test("the key of a host is made once, kept private, and another one is made when it was revoked", (context) => {
    const host = new KeyStore(join(temporary(context), "host"));
    const first = hostKey(host, new Set());
    assert.equal(keyId(hostKey(host, new Set())), keyId(first));
    const second = hostKey(host, new Set([keyId(first)]));
    assert.notEqual(keyId(second), keyId(first));
    assert.deepEqual([...hostPublicKeys(host).keys()].sort(), [keyId(first), keyId(second)].sort());
    assert.match(JSON.stringify(decodeBaseStatement(baseCertificate().payload)), /not qualified separately/);
  });
});

/** sigstore's verifier takes the envelope as it is, one signature at a time; what it needs beside that is the key. */
function sigstoreAccepts(envelope: Envelope, { publicKey }: Pair): boolean {
  const text = JSON.parse(Buffer.from(encodeEnvelope(envelope)).toString()) as { signatures: { keyid: string }[] };
  const signatures = text.signatures.filter(({ keyid }) => keyid === keyId(publicKey));
  const bundle = bundleFromJSON({
    mediaType: "application/vnd.dev.sigstore.bundle+json;version=0.2",
    verificationMaterial: { publicKey: { hint: keyId(publicKey) }, tlogEntries: [] },
    dsseEnvelope: { ...text, signatures },
  });
  const trust = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
  const verifier = new Verifier(
    {
      ...trust,
      publicKey: () => ({ publicKey: createPublicKey(publicKey.export({ type: "spki", format: "pem" })), validFor: () => true }),
    },
    { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 },
  );
  try {
    verifier.verify(toSignedEntity(bundle));
    return true;
  } catch (error) {
    assert.match(String(error), /signature/i);
    return false;
  }
}

test("sigstore's verifier agrees about signatures: of both signers, of a base, and of none after a flipped bit", () => {
  const both = certificate([VENDOR, CUSTOMER]);
  for (const pair of [VENDOR, CUSTOMER]) assert.ok(sigstoreAccepts(both, pair));
  assert.ok(sigstoreAccepts(baseCertificate(), HOST));
  const payload = Buffer.from(both.payload);
  payload[100] = (payload[100] as number) ^ 1;
  for (const pair of [VENDOR, CUSTOMER]) assert.ok(!sigstoreAccepts({ ...both, payload }, pair));
  assert.ok(!sigstoreAccepts(forged(), VENDOR));
});
