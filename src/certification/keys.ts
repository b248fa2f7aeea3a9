/**
 * Signing keys (Ed25519) of this user: NAME.key.pem and NAME.pub.pem of own ones; `trusted/KEYID.pem` whose signatures count here;
 * `revoked/KEYID` those that count no more, for good.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";
import { replaceDurably } from "../image/files.js";
import { sha256 } from "../image/store.js";
import { readLimited } from "./change-package.js";
import { DIGEST_PATTERN } from "./digest.js";

const NAME_PATTERN = /^[a-z0-9][a-z0-9_-]{0,63}$/;
const KEY_FILE_BYTES_LIMIT = 16384;
const PRIVATE_DIRECTORY_MODE = 0o700;
const PRIVATE_FILE_MODE = 0o600;
const PRIVATE_ENDING = ".key.pem";
const PUBLIC_ENDING = ".pub.pem";

export interface ListedKey {
  readonly keyId: string;
  /** Of an own key. */
  readonly name?: string;
  readonly isTrusted: boolean;
  readonly isRevoked: boolean;
}

/** SHA-256 of the public key as DER (SubjectPublicKeyInfo), for a private key that of its public one. */
export function keyId(key: KeyObject): string {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  return sha256(publicKey.export({ type: "spki", format: "der" }));
}

export class KeyStore {
  constructor(readonly directory: string) {}

  create(name: string): { keyId: string; publicFile: string } {
    if (!NAME_PATTERN.test(name)) throw new SteadfastError("KEY_NAME", { name });
    const file = join(this.directory, `${name}${PRIVATE_ENDING}`);
    const publicFile = join(this.directory, `${name}${PUBLIC_ENDING}`);
    const { privateKey, publicKey } = generateKeyPairSync("ed25519");
    this.writing(() => {
      makePrivateDirectory(this.directory);
      if (existsSync(publicFile)) throw new SteadfastError("KEY_EXISTS", { name });
      // Exclusive, and never readable by others, not even for a moment.
      writeFileSync(file, privateKey.export({ type: "pkcs8", format: "pem" }), { flag: "wx", mode: PRIVATE_FILE_MODE, flush: true });
      chmodSync(file, PRIVATE_FILE_MODE);
      replaceDurably(publicFile, publicKey.export({ type: "spki", format: "pem" }));
    }, name);
    return { keyId: keyId(publicKey), publicFile };
  }

  privateKey(name: string): KeyObject {
    const file = join(this.directory, `${name}${PRIVATE_ENDING}`);
    if (!NAME_PATTERN.test(name) || !existsSync(file)) throw new SteadfastError("KEY_UNKNOWN", { key: name });
    return readKey(file, createPrivateKey);
  }

  /** Trusts the public key in a PEM file; its id. */
  trust(file: string): string {
    const key = readKey(file, readPublic);
    const id = keyId(key);
    if (this.revoked().has(id)) throw new SteadfastError("KEY_REVOKED", { key: id });
    this.mark("trusted", `${id}.pem`, key.export({ type: "spki", format: "pem" }));
    return id;
  }

  /** Also a key that is not known here: a list of another site may name it. */
  revoke(id: string): void {
    if (!DIGEST_PATTERN.test(id)) throw new SteadfastError("KEY_UNKNOWN", { key: id });
    this.mark("revoked", id, "");
  }

  trusted(): Map<string, KeyObject> {
    const keys = new Map<string, KeyObject>();
    for (const file of entries(join(this.directory, "trusted"))) {
      const path = join(this.directory, "trusted", file);
      const key = readKey(path, readPublic);
      if (`${keyId(key)}.pem` !== file)
        throw new SteadfastError("KEY_FILE", { file: path, why: "it holds another key than its name says" });
      keys.set(keyId(key), key);
    }
    return keys;
  }

  revoked(): Set<string> {
    return new Set(entries(join(this.directory, "revoked")).filter((name) => DIGEST_PATTERN.test(name)));
  }

  /** Names of own keys. */
  ownNames(): string[] {
    return entries(this.directory)
      .filter((file) => file.endsWith(PRIVATE_ENDING))
      .map((file) => file.slice(0, -PRIVATE_ENDING.length));
  }

  list(): ListedKey[] {
    const trusted = this.trusted();
    const revoked = this.revoked();
    const names = new Map<string, string>();
    for (const file of entries(this.directory)) {
      if (file.endsWith(PUBLIC_ENDING))
        names.set(keyId(readKey(join(this.directory, file), readPublic)), file.slice(0, -PUBLIC_ENDING.length));
    }
    return [...new Set([...names.keys(), ...trusted.keys(), ...revoked])].sort().map((id) => {
      const name = names.get(id);
      return { keyId: id, ...(name === undefined ? {} : { name }), isTrusted: trusted.has(id), isRevoked: revoked.has(id) };
    });
  }

  private mark(kind: "trusted" | "revoked", file: string, content: string | Buffer): void {
    this.writing(() => {
      makePrivateDirectory(join(this.directory, kind));
      replaceDurably(join(this.directory, kind, file), content);
    }, file);
  }

  private writing(work: () => void, name: string): void {
    try {
      work();
    } catch (error) {
      if (error instanceof SteadfastError) throw error;
      const code = (error as NodeJS.ErrnoException).code ?? String(error);
      if (code === "EEXIST") throw new SteadfastError("KEY_EXISTS", { name });
      throw new SteadfastError("KEY_DIRECTORY", { directory: this.directory, why: code });
    }
  }
}

function makePrivateDirectory(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: PRIVATE_DIRECTORY_MODE });
}

function entries(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).sort() : [];
}

/** Node would take a private key as well, but nobody should hand that around. */
function readPublic(pem: Buffer): KeyObject {
  if (pem.includes("PRIVATE KEY")) throw new Error("it holds a private key; give the public one");
  return createPublicKey(pem);
}

function readKey(file: string, parse: (pem: Buffer) => KeyObject): KeyObject {
  const pem = Buffer.from(readLimited(file, KEY_FILE_BYTES_LIMIT));
  let key: KeyObject;
  try {
    key = parse(pem);
  } catch (error) {
    throw new SteadfastError("KEY_FILE", { file, why: (error as Error).message });
  }
  if (key.asymmetricKeyType !== "ed25519") throw new SteadfastError("KEY_FILE", { file, why: "it is no Ed25519 key" });
  return key;
}
