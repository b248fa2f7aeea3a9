/**
 * Writer of the `newc` cpio archive that the kernel unpacks as its first file system. Deterministic: the same entries give the same bytes,
 * whatever their order, the clock or the user who builds.
 */

import { assert } from "../foundation/assert.js";

export type GuestEntry =
  | { readonly kind: "file"; readonly mode: number; readonly data: Uint8Array; readonly owner?: number }
  | { readonly kind: "directory"; readonly mode: number; readonly owner?: number }
  | { readonly kind: "link"; readonly target: string }
  | { readonly kind: "device"; readonly mode: number; readonly major: number; readonly minor: number };

/** A file system tree: absolute path without a trailing slash ("/usr/bin/sh") to what is there. */
export type GuestTree = Map<string, GuestEntry>;

const TYPE_FILE = 0o100000;
const TYPE_DIRECTORY = 0o040000;
const TYPE_LINK = 0o120000;
const TYPE_CHARACTER_DEVICE = 0o020000;
const DEFAULT_DIRECTORY_MODE = 0o755;
const HEADER_BYTES = 110;
/** The kernel reads the archive in words of four bytes; disks and loaders like 512. */
const ALIGNMENT_BYTES = 4;
const ARCHIVE_ALIGNMENT_BYTES = 512;
/** The size field has eight hexadecimal digits. */
const FILE_BYTES_LIMIT = 0xffffffff;

const encoder = new TextEncoder();

interface Record {
  readonly name: Uint8Array;
  readonly mode: number;
  readonly owner: number;
  readonly links: number;
  readonly data: Uint8Array;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

export function writeCpio(tree: ReadonlyMap<string, GuestEntry>): Uint8Array {
  const complete = withParents(tree);
  const paths = [...complete.keys()].sort(compareBytes);
  const records: Record[] = [];
  for (const path of paths) {
    const entry = complete.get(path);
    assert(entry !== undefined, `cpio lost ${path}`);
    records.push(toRecord(path, entry));
  }
  records.push({ ...emptyRecord("TRAILER!!!"), links: 1 });
  const total = align(
    records.reduce((sum, record) => sum + recordBytes(record), 0),
    ARCHIVE_ALIGNMENT_BYTES,
  );
  const archive = new Uint8Array(total);
  let offset = 0;
  records.forEach((record, index) => {
    const isTrailer = index === records.length - 1;
    archive.set(encoder.encode(header(record, isTrailer ? 0 : index + 1)), offset);
    archive.set(record.name, offset + HEADER_BYTES);
    archive.set(record.data, offset + align(HEADER_BYTES + record.name.length + 1, ALIGNMENT_BYTES));
    offset += recordBytes(record);
  });
  return archive;
}

/** The kernel creates nothing by itself: every directory on the way to an entry must be an entry, and come first. */
function withParents(tree: ReadonlyMap<string, GuestEntry>): GuestTree {
  const complete: GuestTree = new Map(tree);
  for (const path of tree.keys()) {
    assert(/^\/[^/]/.test(path) && !path.endsWith("/") && !path.includes("//"), `cpio path ${path}`);
    for (let slash = path.lastIndexOf("/"); slash > 0; slash = path.lastIndexOf("/", slash - 1)) {
      const parent = path.slice(0, slash);
      const present = complete.get(parent);
      assert(present === undefined || present.kind === "directory", `cpio parent ${parent} of ${path} is a ${present?.kind ?? ""}`);
      if (present !== undefined) continue;
      complete.set(parent, { kind: "directory", mode: DEFAULT_DIRECTORY_MODE });
    }
  }
  return complete;
}

function emptyRecord(name: string): Record {
  return { name: encoder.encode(name), mode: 0, owner: 0, links: 1, data: new Uint8Array(0), deviceMajor: 0, deviceMinor: 0 };
}

function toRecord(path: string, entry: GuestEntry): Record {
  const base = emptyRecord(path.slice(1));
  switch (entry.kind) {
    case "file":
      assert(entry.data.length <= FILE_BYTES_LIMIT, `cpio file ${path} too large`);
      return { ...base, mode: TYPE_FILE | entry.mode, owner: entry.owner ?? 0, data: entry.data };
    case "directory":
      return { ...base, mode: TYPE_DIRECTORY | entry.mode, owner: entry.owner ?? 0, links: 2 };
    case "link":
      return { ...base, mode: TYPE_LINK | 0o777, data: encoder.encode(entry.target) };
    case "device":
      return { ...base, mode: TYPE_CHARACTER_DEVICE | entry.mode, deviceMajor: entry.major, deviceMinor: entry.minor };
  }
}

function header(record: Record, inode: number): string {
  const modificationTime = 0;
  const fields = [inode, record.mode, record.owner, record.owner, record.links, modificationTime, record.data.length, 0, 0];
  fields.push(record.deviceMajor, record.deviceMinor, record.name.length + 1, 0);
  return "070701" + fields.map((field) => field.toString(16).toUpperCase().padStart(8, "0")).join("");
}

function recordBytes(record: Record): number {
  return align(HEADER_BYTES + record.name.length + 1, ALIGNMENT_BYTES) + align(record.data.length, ALIGNMENT_BYTES);
}

function align(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}

function compareBytes(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}
