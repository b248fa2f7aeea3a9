/**
 * A change as one file: a tar archive of the digest of the manifest, the manifest, and the contents that it names, each under its own
 * digest. There is exactly one archive for a manifest, and the digest of that file is the name of the change.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { SteadfastError } from "../foundation/errors.js";
import { sha256 } from "../image/store.js";
import { TarError, TarReader, type TarMember } from "../image/tar.js";
import { writeTar } from "../foundation/tar-writer.js";
import { PACKAGE_BYTES_LIMIT } from "./limits.js";
import { decodeManifest, encodeManifest, type Manifest } from "./manifest.js";

export interface ChangePackage {
  readonly manifest: Manifest;
  /** Contents by their digest. */
  readonly contents: ReadonlyMap<string, Uint8Array>;
  /** Of the whole file. */
  readonly digest: string;
}

const CONTENT_DIRECTORY = "contents";
/** At most this is added to each member, and to the archive, by headers and padding. */
const MEMBER_OVERHEAD_BYTES = 1024;

/** The digests that a manifest names, with the size of each. */
function named(manifest: Manifest): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const file of manifest.files) if (file.kind === "file") sizes.set(file.sha256, file.size);
  for (const deb of manifest.debs) sizes.set(deb.sha256, deb.size);
  return new Map([...sizes].sort(([left], [right]) => (left < right ? -1 : 1)));
}

export function encodePackage(manifest: Manifest, contents: ReadonlyMap<string, Uint8Array>, source: string): Uint8Array {
  const text = encodeManifest(manifest, source);
  const members = [
    { name: "manifest.sha256", data: Buffer.from(`${sha256(text)}\n`) },
    { name: "manifest.json", data: text },
  ];
  for (const [digest, size] of named(manifest)) {
    const data = contents.get(digest);
    if (data?.length !== size) throw damaged(source, `${digest} is missing or has another size than its manifest says`);
    members.push({ name: `${CONTENT_DIRECTORY}/${digest}`, data });
  }
  const bytes = members.reduce((sum, member) => sum + member.data.length + MEMBER_OVERHEAD_BYTES, MEMBER_OVERHEAD_BYTES);
  if (bytes > PACKAGE_BYTES_LIMIT)
    throw new SteadfastError("CHANGE_TOO_LARGE", { what: `The change ${source}`, limit: PACKAGE_BYTES_LIMIT });
  return writeTar(members);
}

/** Takes nothing but what `encodePackage` writes, bit for bit. */
export function decodePackage(bytes: Uint8Array, source: string): ChangePackage {
  const members = readMembers(bytes, source);
  const manifestText = members.get("/manifest.json");
  const manifestDigest = members.get("/manifest.sha256");
  if (manifestText === undefined || manifestDigest === undefined) throw damaged(source, "it has no manifest");
  if (Buffer.from(manifestDigest).toString("latin1") !== `${sha256(manifestText)}\n`)
    throw damaged(source, "the digest of its manifest is another one");
  const manifest = decodeManifest(manifestText, source);
  const contents = new Map<string, Uint8Array>();
  for (const digest of named(manifest).keys()) {
    const data = members.get(`/${CONTENT_DIRECTORY}/${digest}`);
    if (data === undefined) throw damaged(source, `${digest} is missing`);
    if (sha256(data) !== digest) throw damaged(source, `the contents ${digest} have another digest`);
    contents.set(digest, data);
  }
  // What is left is what no digest covers: headers, padding, order, members that nothing names.
  if (Buffer.compare(encodePackage(manifest, contents, source), bytes) !== 0)
    throw damaged(source, "it is not the archive that its manifest gives");
  return { manifest, contents, digest: sha256(bytes) };
}

function readMembers(bytes: Uint8Array, source: string): Map<string, Uint8Array> {
  const members = new Map<string, Uint8Array>();
  const take = (member: TarMember): void => {
    if (member.kind !== "file") throw new TarError(`${member.path} is not a plain file`);
    members.set(member.path, member.data);
  };
  try {
    const reader = new TarReader(() => true, take);
    reader.push(bytes);
    reader.end();
  } catch (error) {
    if (error instanceof TarError) throw damaged(source, `as an archive it has ${error.message}`);
    throw error;
  }
  return members;
}

function damaged(file: string, problem: string): SteadfastError {
  return new SteadfastError("CHANGE_DAMAGED", { file, problem });
}

export function readPackage(path: string): ChangePackage {
  return decodePackage(readLimited(path, PACKAGE_BYTES_LIMIT), path);
}

/** A plain file of at most so many bytes. */
export function readLimited(path: string, limit: number): Uint8Array {
  const unreadable = (detail: string): SteadfastError => new SteadfastError("CHANGE_UNREADABLE", { file: path, detail });
  let handle: number | undefined;
  try {
    // Without NONBLOCK, opening a named pipe would wait for ever.
    handle = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const facts = fstatSync(handle);
    if (!facts.isFile()) throw unreadable("it is not a plain file");
    if (facts.size > limit) throw new SteadfastError("CHANGE_TOO_LARGE", { what: path, limit });
    const bytes = readFileSync(handle);
    // It may have grown meanwhile.
    if (bytes.length > limit) throw new SteadfastError("CHANGE_TOO_LARGE", { what: path, limit });
    return bytes;
  } catch (error) {
    if (error instanceof SteadfastError) throw error;
    throw unreadable((error as NodeJS.ErrnoException).code ?? String(error));
  } finally {
    if (handle !== undefined) closeSync(handle);
  }
}
