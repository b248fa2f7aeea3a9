/** Reads the archives that our cpio writer makes, strictly. */
import assert from "node:assert/strict";

export interface CpioMember {
  readonly name: string;
  readonly mode: number;
  readonly owner: number;
  readonly time: number;
  readonly data: string;
}

export function readCpio(archive: Uint8Array): CpioMember[] {
  const members: CpioMember[] = [];
  const text = (from: number, length: number) => new TextDecoder("latin1").decode(archive.subarray(from, from + length));
  const align = (value: number) => Math.ceil(value / 4) * 4;
  for (let at = 0; ;) {
    assert.equal(text(at, 6), "070701");
    const field = (index: number) => Number.parseInt(text(at + 6 + index * 8, 8), 16);
    const name = text(at + 110, field(11) - 1);
    if (name === "TRAILER!!!") return members;
    const dataAt = align(at + 110 + field(11));
    members.push({ name, mode: field(1), owner: field(2), time: field(5), data: text(dataAt, field(6)) });
    at = align(dataAt + field(6));
  }
}
