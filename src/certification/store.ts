/**
 * Certificates on this host, beside the images: `certificates/IMAGE/NAME.cert`. Nothing follows from one lying here: whoever uses it
 * verifies it. Of certificates from elsewhere NAME is the digest of what is signed, so that one with more signatures takes the place of
 * the same one with fewer; of base certificates it begins with `base-` and names the key.
 */
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";
import { makeDirectory, replaceDurably } from "../image/files.js";
import { sha256 } from "../image/store.js";
import { readLimited } from "./change-package.js";
import { DIGEST_PATTERN } from "./digest.js";
import { decodeEnvelope, encodeEnvelope, type Envelope } from "./dsse.js";
import { BASE_CERTIFICATES_LIMIT, CERTIFICATES_LIMIT, CERTIFIED_IMAGES_LIMIT, ENVELOPE_BYTES_LIMIT } from "./limits.js";

const ENDING = ".cert";
const BASE_BEGINNING = "base-";

export interface StoredCertificate {
  readonly imageDigest: string;
  readonly file: string;
  /** Or why it is none. */
  readonly content: Envelope | SteadfastError;
}

export class CertificateStore {
  constructor(readonly directory: string) {}

  /** Adds a certificate from elsewhere, which the caller has verified; where it is. */
  install(imageDigest: string, envelope: Envelope): string {
    const directory = join(this.directory, imageDigest);
    const file = join(directory, `${sha256(envelope.payload)}${ENDING}`);
    const others = files(directory).filter((each) => !basename(each).startsWith(BASE_BEGINNING) && each !== file);
    const isFull = others.length >= CERTIFICATES_LIMIT || (!existsSync(directory) && this.images().length >= CERTIFIED_IMAGES_LIMIT);
    if (isFull) throw new SteadfastError("CERTIFICATE_STORE_FULL", { directory: existsSync(directory) ? directory : this.directory });
    this.#write(directory, file, envelope);
    return file;
  }

  /** Adds a base certificate; of too many keys the oldest one's goes. */
  installBase(imageDigest: string, hostKeyId: string, envelope: Envelope): void {
    const directory = join(this.directory, imageDigest);
    const file = join(directory, `${BASE_BEGINNING}${hostKeyId}${ENDING}`);
    const others = files(directory).filter((each) => basename(each).startsWith(BASE_BEGINNING) && each !== file);
    const byAge = others.map((each) => ({ each, ms: statSync(each).mtimeMs })).sort((left, right) => left.ms - right.ms);
    for (const { each } of byAge.slice(0, Math.max(0, others.length - BASE_CERTIFICATES_LIMIT + 1))) rmSync(each, { force: true });
    this.#write(directory, file, envelope);
  }

  /** All for an image; those from elsewhere first. */
  find(imageDigest: string): StoredCertificate[] {
    return files(join(this.directory, imageDigest)).map((file) => ({ imageDigest, file, content: readCertificate(file) }));
  }

  list(): StoredCertificate[] {
    return this.images().flatMap((image) => this.find(image));
  }

  private images(): string[] {
    if (!existsSync(this.directory)) return [];
    return readdirSync(this.directory)
      .filter((name) => DIGEST_PATTERN.test(name))
      .sort()
      .slice(0, CERTIFIED_IMAGES_LIMIT);
  }

  #write(directory: string, file: string, envelope: Envelope): void {
    makeDirectory(directory);
    replaceDurably(file, encodeEnvelope(envelope));
  }
}

function files(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => name.endsWith(ENDING))
    .sort()
    .slice(0, CERTIFICATES_LIMIT + BASE_CERTIFICATES_LIMIT)
    .map((name) => join(directory, name));
}

function readCertificate(file: string): Envelope | SteadfastError {
  try {
    return decodeEnvelope(readLimited(file, ENVELOPE_BYTES_LIMIT));
  } catch (error) {
    if (error instanceof SteadfastError) return error;
    throw error;
  }
}
