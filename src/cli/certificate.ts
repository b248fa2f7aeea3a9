/** `steadfast keys …` and `steadfast certificate …`: who may vouch for a change, and whether somebody did. */
import type { Command } from "commander";
import { readLimited } from "../certification/change-package.js";
import { parseDigest } from "../certification/digest.js";
import { addSignature, decodeEnvelope, encodeEnvelope, envelopeOf, type Envelope } from "../certification/dsse.js";
import type { Certified } from "../certification/gate.js";
import { ENVELOPE_BYTES_LIMIT } from "../certification/limits.js";
import { checkStatement, decodeStatement, parseJson } from "../certification/statement.js";
import type { StoredCertificate } from "../certification/store.js";
import { verifyCertificate } from "../certification/verify.js";
import { SteadfastError } from "../foundation/errors.js";
import { replaceDurably } from "../image/files.js";
import { certificateStore, gateByDefaults, keyStore } from "../modules/certificates-on-host.js";
import { printJson, printLines, table } from "./output.js";

export interface JsonFlag {
  readonly json?: boolean;
}

interface SignFlags extends JsonFlag {
  readonly key: string;
  readonly out?: string;
}

interface VerifyFlags extends JsonFlag {
  readonly image: string;
  readonly change: string;
  readonly base: string;
  readonly policy: string;
  readonly threshold: string;
  readonly partial?: boolean;
}

export function writeOutput(file: string, bytes: Uint8Array): void {
  try {
    replaceDurably(file, bytes);
  } catch (error) {
    const why = error instanceof SteadfastError ? error.code : ((error as NodeJS.ErrnoException).code ?? String(error));
    throw new SteadfastError("CHANGE_OUT", { file, why });
  }
}

/** A certificate, or a statement that nobody has signed yet. Nothing is signed that could not be verified. */
function envelopeToSign(bytes: Uint8Array): Envelope {
  const value = parseJson(bytes, "it");
  if (typeof value === "object" && value !== null && "_type" in value) return envelopeOf(checkStatement(value));
  const envelope = decodeEnvelope(bytes);
  decodeStatement(envelope.payload);
  return envelope;
}

function sign(file: string, flags: SignFlags): void {
  const store = keyStore();
  const envelope = addSignature(envelopeToSign(readLimited(file, ENVELOPE_BYTES_LIMIT)), store.privateKey(flags.key));
  const out = flags.out ?? file;
  writeOutput(out, encodeEnvelope(envelope));
  const signers = envelope.signatures.map((signature) => signature.keyid);
  if (flags.json === true) printJson({ file: out, signers });
  else printLines([`${out} is signed by:`, ...signers.map((signer) => `  ${signer}`)]);
}

function digestFlag(name: string, value: string): string {
  const digest = parseDigest(value);
  if (digest === undefined)
    throw new SteadfastError("USAGE", { what: `--${name} ${value} is no SHA-256 digest; give 64 hexadecimal digits.` });
  return digest;
}

function verify(file: string, flags: VerifyFlags): void {
  const store = keyStore();
  const outcome = verifyCertificate({
    envelope: decodeEnvelope(readLimited(file, ENVELOPE_BYTES_LIMIT)),
    trustedKeys: store.trusted(),
    threshold: Number(flags.threshold),
    revocations: store.revoked(),
    nowMs: Date.now(),
    acceptsPartial: flags.partial === true,
    expected: {
      imageDigest: digestFlag("image", flags.image),
      changeDigest: digestFlag("change", flags.change),
      base: digestFlag("base", flags.base),
      policyDigest: digestFlag("policy", flags.policy),
    },
  });
  if (!outcome.ok) throw outcome.reason;
  const { signers, statement } = outcome;
  if (flags.json === true) printJson({ verified: true, signers, statement });
  else printLines([`The certificate holds until ${statement.predicate.expiresAt}. Signed by:`, ...signers.map((signer) => `  ${signer}`)]);
}

/** Only what holds here and now is taken, for whatever base and policy: those are the servers' to accept. */
function install(file: string, flags: JsonFlag): void {
  const keys = keyStore();
  const envelope = decodeEnvelope(readLimited(file, ENVELOPE_BYTES_LIMIT));
  const expected = { imageDigest: null, changeDigest: null, base: null, policyDigest: null };
  const trust = { trustedKeys: keys.trusted(), revocations: keys.revoked(), threshold: 1 };
  const outcome = verifyCertificate({ envelope, ...trust, nowMs: Date.now(), expected });
  if (!outcome.ok) throw outcome.reason;
  const image = outcome.statement.subject[0].digest.sha256;
  const { expiresAt } = outcome.statement.predicate;
  const place = certificateStore().install(image, envelope);
  if (flags.json === true) printJson({ file: place, image, expiresAt, signers: outcome.signers });
  else printLines([`Installed for the image ${image}. It holds until ${expiresAt}, signed by:`, ...outcome.signers.map((it) => `  ${it}`)]);
}

interface ListedCertificate extends Partial<Certified> {
  readonly image: string;
  readonly file: string;
  readonly holds: boolean;
  /** Code of the error, if it does not hold. */
  readonly why?: string;
}

/** Each for itself, as a server without demands of its own would judge it. */
function listed({ imageDigest: image, file, content }: StoredCertificate): ListedCertificate {
  const decision = gateByDefaults(image, [content]);
  if (!decision.allowed || decision.state === "uncertified") return { image, file, holds: false, why: decision.refusal.code };
  const { level, certificate, signers, expiresAt } = decision;
  return { image, file, holds: true, level, certificate, signers, ...(expiresAt !== undefined && { expiresAt }) };
}

function listCertificates(flags: JsonFlag): void {
  const found = certificateStore().list().map(listed);
  if (flags.json === true) return printJson(found);
  if (found.length === 0) return printLines(["No certificate is here yet; one comes by: steadfast certificate install FILE"]);
  const rows = found.map(({ image, file, level, expiresAt, why }) => [
    image.slice(0, 12),
    level ?? "-",
    expiresAt ?? "-",
    why ?? "holds",
    file,
  ]);
  printLines(table([["IMAGE", "LEVEL", "UNTIL", "STANDING", "FILE"], ...rows]));
}

function listKeys(flags: JsonFlag): void {
  const keys = keyStore().list();
  if (flags.json === true) return printJson(keys);
  const standing = (key: (typeof keys)[number]): string => (key.isRevoked ? "revoked" : key.isTrusted ? "trusted" : "not trusted");
  printLines(table(keys.map((key) => [key.keyId, standing(key), key.name ?? ""])));
}

export function addKeysCommand(program: Command): void {
  const keys = program.command("keys").description("keys that sign certificates, and whose signatures count here");
  keys
    .command("create")
    .argument("<name>", "what the key is called here")
    .option("--json", "print facts and errors as JSON")
    .description("make a signing key (Ed25519)")
    .action((name: string, flags: JsonFlag) => {
      const made = keyStore().create(name);
      if (flags.json === true) printJson(made);
      else printLines([`key id ${made.keyId}`, `To let its signatures count: steadfast keys trust ${made.publicFile}`]);
    });
  keys
    .command("list")
    .option("--json", "print the list as JSON")
    .description("show own, trusted and revoked keys")
    .action((flags: JsonFlag) => listKeys(flags));
  keys
    .command("trust")
    .argument("<file>", "public key as PEM")
    .option("--json", "print facts and errors as JSON")
    .description("let the signatures of a key count here")
    .action((file: string, flags: JsonFlag) => {
      const keyId = keyStore().trust(file);
      if (flags.json === true) printJson({ keyId });
      else printLines([`Signatures of ${keyId} count from now on.`]);
    });
  keys
    .command("revoke")
    .argument("<keyid>", "the key's id")
    .option("--json", "print facts and errors as JSON")
    .description("let the signatures of a key count no more, for good")
    .action((keyId: string, flags: JsonFlag) => {
      keyStore().revoke(keyId);
      if (flags.json === true) printJson({ keyId });
      else printLines([`Signatures of ${keyId} count no more.`]);
    });
}

export function addCertificateCommand(program: Command): void {
  const certificate = program.command("certificate").description("certificates of changes");
  certificate
    .command("sign")
    .argument("<file>", "a certificate, or a statement that nobody has signed yet")
    .requiredOption("--key <name>", "own key that signs")
    .option("--out <file>", "where the certificate goes, instead of where it was")
    .option("--json", "print facts and errors as JSON")
    .description("add a signature to a certificate")
    .action(sign);
  certificate
    .command("verify")
    .argument("<file>", "a certificate")
    .requiredOption("--image <digest>", "of the changed image")
    .requiredOption("--change <digest>", "of the change package")
    .requiredOption("--base <digest>", "of the image that was changed")
    .requiredOption("--policy <digest>", "of the policy that has to be kept")
    .option("--threshold <number>", "how many different trusted keys must have signed", "1")
    .option("--partial", "accept one of a programme that ran some checks only, which no server runs an image by")
    .option("--json", "print facts and errors as JSON")
    .description("check that a certificate is for these digests, holds now, and is signed by trusted keys")
    .action(verify);
  certificate
    .command("install")
    .argument("<file>", "a certificate")
    .option("--json", "print facts and errors as JSON")
    .description("keep a certificate on this host, so that servers may run the image that it is for")
    .action(install);
  certificate
    .command("list")
    .option("--json", "print the list as JSON")
    .description("show the certificates on this host, and which of them hold")
    .action(listCertificates);
}
