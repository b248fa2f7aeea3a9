/**
 * Streaming reader of the tar archives inside Debian packages (ustar with GNU and pax long names). It keeps only what the caller asks for,
 * so that a kernel package of a gigabyte passes through without being held.
 */

export interface TarMember {
  /** Absolute and normal: "/usr/bin/sh". */
  readonly path: string;
  readonly kind: "file" | "directory" | "link" | "hardLink";
  readonly mode: number;
  /** Where a link leads; for a hard link the absolute path inside the archive. */
  readonly target: string;
  readonly data: Uint8Array;
}

const BLOCK_BYTES = 512;
/** Names and links longer than this do not exist in Debian packages; a broken archive must not eat the memory. */
const LONG_NAME_BYTES_LIMIT = 65536;
const MEMBER_BYTES_LIMIT = 1024 * 1024 * 1024;

export class TarError extends Error {}

interface Pending {
  readonly type: string;
  readonly name: string;
  readonly linkName: string;
  readonly mode: number;
  readonly size: number;
  readonly keep: boolean;
  readonly chunks: Uint8Array[];
  /** Bytes of data and padding still to come. */
  remaining: number;
}

const decoder = new TextDecoder();

export class TarReader {
  private carry: Uint8Array = new Uint8Array(0);
  private pending: Pending | undefined;
  private longName: string | undefined;
  private longLink: string | undefined;
  private ended = false;

  constructor(
    private readonly wanted: (path: string) => boolean,
    private readonly onMember: (member: TarMember) => void,
  ) {}

  push(chunk: Uint8Array): void {
    let input = chunk;
    while (input.length > 0 && !this.ended) {
      if (this.pending !== undefined) {
        input = this.takeData(this.pending, input);
        continue;
      }
      const missing = BLOCK_BYTES - this.carry.length;
      const block = concatenate(this.carry, input.subarray(0, missing));
      input = input.subarray(missing);
      if (block.length < BLOCK_BYTES) {
        this.carry = block;
        return;
      }
      this.carry = new Uint8Array(0);
      this.takeHeader(block);
    }
  }

  /** Call at the end of the input: an archive that stops in the middle is an error. */
  end(): void {
    if (this.pending !== undefined || this.carry.length > 0) throw new TarError("the archive ends in the middle of a member");
  }

  private takeHeader(block: Uint8Array): void {
    if (block.every((byte) => byte === 0)) {
      this.ended = true;
      return;
    }
    verifyChecksum(block);
    const size = readNumber(block, 124, 12);
    if (size > MEMBER_BYTES_LIMIT) throw new TarError(`a member of ${size} bytes`);
    const type = String.fromCharCode(block[156] ?? 0);
    const prefix = readText(block, 345, 155);
    const shortName = readText(block, 0, 100);
    const isMeta = type === "L" || type === "K" || type === "x" || type === "g";
    if (isMeta && size > LONG_NAME_BYTES_LIMIT) throw new TarError(`a name of ${size} bytes`);
    const name = isMeta ? shortName : (this.longName ?? (prefix !== "" && isPosix(block) ? `${prefix}/${shortName}` : shortName));
    const linkName = isMeta ? "" : (this.longLink ?? readText(block, 157, 100));
    if (!isMeta) this.longName = this.longLink = undefined;
    const hasData = isMeta || type === "0" || type === "\0" || type === "7";
    const keep = isMeta || (hasData && this.wanted(normalPath(name)));
    const remaining = hasData ? Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES : 0;
    const pending = { type, name, linkName, mode: readNumber(block, 100, 8) & 0o7777, size, keep, chunks: [], remaining };
    if (remaining > 0) this.pending = pending;
    else this.finish(pending);
  }

  private takeData(pending: Pending, input: Uint8Array): Uint8Array {
    const part = input.subarray(0, pending.remaining);
    pending.remaining -= part.length;
    if (pending.keep) pending.chunks.push(part.slice());
    if (pending.remaining === 0) {
      this.pending = undefined;
      this.finish(pending);
    }
    return input.subarray(part.length);
  }

  private finish(pending: Pending): void {
    const { type, linkName, mode } = pending;
    const data = () => concatenate(...pending.chunks).subarray(0, pending.size);
    if (type === "L") this.longName = trimNul(decoder.decode(data()));
    else if (type === "K") this.longLink = trimNul(decoder.decode(data()));
    else if (type === "x") this.takePax(decoder.decode(data()));
    else if (type !== "g") {
      const path = normalPath(pending.name);
      if (path === "/" || !this.wanted(path)) return;
      const nothing = new Uint8Array(0);
      if (type === "5") this.onMember({ path, kind: "directory", mode, target: "", data: nothing });
      else if (type === "2") this.onMember({ path, kind: "link", mode, target: linkName, data: nothing });
      else if (type === "1") this.onMember({ path, kind: "hardLink", mode, target: normalPath(linkName), data: nothing });
      else if (type === "0" || type === "\0" || type === "7") this.onMember({ path, kind: "file", mode, target: "", data: data() });
    }
  }

  /** Pax records are "length key=value\n"; only the two that name things matter here. */
  private takePax(text: string): void {
    for (const line of text.split("\n")) {
      const match = /^\d+ (path|linkpath)=(.*)$/s.exec(line);
      if (match?.[1] === "path") this.longName = match[2] ?? "";
      else if (match?.[1] === "linkpath") this.longLink = match[2] ?? "";
    }
  }
}

function verifyChecksum(block: Uint8Array): void {
  let sum = 0;
  // The checksum field itself counts as eight blanks.
  for (let index = 0; index < BLOCK_BYTES; index++) sum += index >= 148 && index < 156 ? 0x20 : (block[index] ?? 0);
  if (sum !== readNumber(block, 148, 8)) throw new TarError("a header with a wrong checksum");
}

function isPosix(block: Uint8Array): boolean {
  return readText(block, 257, 5) === "ustar" && block[262] === 0;
}

function readText(block: Uint8Array, offset: number, length: number): string {
  return trimNul(decoder.decode(block.subarray(offset, offset + length)));
}

function trimNul(text: string): string {
  const end = text.indexOf("\0");
  return end < 0 ? text : text.slice(0, end);
}

function readNumber(block: Uint8Array, offset: number, length: number): number {
  if (((block[offset] ?? 0) & 0x80) !== 0) {
    let value = 0;
    for (let index = offset + 1; index < offset + length; index++) value = value * 256 + (block[index] ?? 0);
    return value;
  }
  const text = readText(block, offset, length).trim();
  if (text === "") return 0;
  if (!/^[0-7]+$/.test(text)) throw new TarError("a header with a wrong number");
  return Number.parseInt(text, 8);
}

function normalPath(name: string): string {
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw new TarError(`a member that leaves its directory: ${name}`);
  return "/" + parts.join("/");
}

function concatenate(...parts: Uint8Array[]): Uint8Array {
  const first = parts[0];
  if (parts.length === 1 && first !== undefined) return first;
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
