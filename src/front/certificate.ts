/** The TLS certificate of the control API: one that is given, or a self-signed one that is made once and kept. */
import { X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { isIP } from "node:net";
import { hostname, networkInterfaces } from "node:os";
import { dirname } from "node:path";
import { createSecureContext } from "node:tls";
import { DAY_MS } from "../foundation/durations.js";
import { SteadfastError } from "../foundation/errors.js";
import { replaceFile } from "../modules/replace-file.js";

const VALID_DAYS = 730;
/** A self-signed one that would end within this time is made anew when the server starts. */
const RENEW_DAYS = 30;

export interface CertificateFiles {
  readonly certificateFile: string;
  readonly keyFile: string;
}

export interface CertificateFacts {
  /** SHA-256, as openssl and browsers print it: AB:CD:… */
  readonly fingerprint: string;
  readonly expiresAtMs: number;
}

/** @throws SteadfastError TLS_FILE: one cannot be read, or they do not belong together */
export function certificateFacts({ certificateFile, keyFile }: CertificateFiles): CertificateFacts {
  try {
    const [cert, key] = [readFileSync(certificateFile), readFileSync(keyFile)];
    createSecureContext({ cert, key });
    const { fingerprint256, validTo } = new X509Certificate(cert);
    return { fingerprint: fingerprint256, expiresAtMs: Date.parse(validTo) };
  } catch (error) {
    throw new SteadfastError("TLS_FILE", { certificate: certificateFile, key: keyFile, why: (error as Error).message });
  }
}

/** Makes a self-signed certificate unless there is one that lasts. */
export async function keepSelfSigned(files: CertificateFiles, server: string, address: string, nowMs: number): Promise<void> {
  if (existsSync(files.certificateFile) && certificateFacts(files).expiresAtMs > nowMs + RENEW_DAYS * DAY_MS) return;
  const { generate } = await import("selfsigned");
  const names = [...new Set(["localhost", hostname(), server])].map((value) => ({ type: 2 as const, value }));
  const addresses = addressesFor(address).map((ip) => ({ type: 7 as const, ip }));
  const made = await generate([{ name: "commonName", value: `steadfast ${server}` }], {
    keyType: "ec",
    curve: "P-256",
    algorithm: "sha256",
    notBeforeDate: new Date(nowMs - DAY_MS),
    notAfterDate: new Date(nowMs + VALID_DAYS * DAY_MS),
    extensions: [
      { name: "basicConstraints", cA: false, critical: true },
      { name: "keyUsage", digitalSignature: true, critical: true },
      { name: "extKeyUsage", serverAuth: true },
      { name: "subjectAltName", altNames: [...names, ...addresses] },
    ],
  });
  mkdirSync(dirname(files.keyFile), { recursive: true, mode: 0o700 });
  replaceFile(files.keyFile, made.private);
  replaceFile(files.certificateFile, made.cert);
}

/** The addresses at which it will be asked. */
function addressesFor(address: string): string[] {
  const isAny = address === "0.0.0.0" || address === "::";
  const own = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const all = own.map((each) => each.address).filter((each) => isIP(each) !== 0 && !each.startsWith("fe80:"));
  return [...new Set(isAny ? ["127.0.0.1", ...all] : ["127.0.0.1", address])];
}
