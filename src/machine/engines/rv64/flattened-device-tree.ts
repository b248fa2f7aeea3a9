/** Writes flattened device trees (Devicetree Specification 0.4, chapter 5): version 17, big-endian, strings shared. */

const MAGIC = 0xd00dfeed;
const VERSION = 17;
const COMPATIBLE_VERSION = 16;
const HEADER_BYTES = 40;
const RESERVATION_BYTES = 16;
const TOKEN_BEGIN = 1;
const TOKEN_END = 2;
const TOKEN_PROPERTY = 3;
const TOKEN_FINISH = 9;

/** A property: text, several texts, 32-bit cells, raw bytes, or nothing (`true`). */
export type PropertyValue = string | readonly string[] | readonly number[] | Uint8Array | true;

export interface TreeNode {
  readonly name: string;
  readonly properties: Readonly<Record<string, PropertyValue>>;
  readonly children?: readonly TreeNode[];
}

/** Two cells for a 64-bit value. */
export function cells64(value: number): [number, number] {
  return [Math.floor(value / 0x1_0000_0000), value >>> 0];
}

class ByteWriter {
  private bytes = new Uint8Array(4096);
  length = 0;

  append(part: Uint8Array): void {
    while (this.length + part.length > this.bytes.length) {
      const larger = new Uint8Array(this.bytes.length * 2);
      larger.set(this.bytes);
      this.bytes = larger;
    }
    this.bytes.set(part, this.length);
    this.length += part.length;
  }

  word(value: number): void {
    this.append(Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value));
  }

  align(): void {
    this.append(new Uint8Array(-this.length & 3));
  }

  result(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }
}

const encoder = new TextEncoder();
const terminated = (text: string): Uint8Array => encoder.encode(`${text}\0`);

function encodeValue(value: PropertyValue): Uint8Array {
  if (value === true) return new Uint8Array(0);
  if (typeof value === "string") return terminated(value);
  if (value instanceof Uint8Array) return value;
  const writer = new ByteWriter();
  for (const item of value) {
    if (typeof item === "string") writer.append(terminated(item));
    else writer.word(item);
  }
  return writer.result();
}

export function writeDeviceTree(root: TreeNode, bootHart: number): Uint8Array {
  const structure = new ByteWriter();
  const strings = new ByteWriter();
  const known = new Map<string, number>();
  const stringOffset = (name: string): number => {
    let offset = known.get(name);
    if (offset === undefined) {
      offset = strings.length;
      known.set(name, offset);
      strings.append(terminated(name));
    }
    return offset;
  };
  const writeNode = (node: TreeNode): void => {
    structure.word(TOKEN_BEGIN);
    structure.append(terminated(node.name));
    structure.align();
    for (const [name, value] of Object.entries(node.properties)) {
      const encoded = encodeValue(value);
      structure.word(TOKEN_PROPERTY);
      structure.word(encoded.length);
      structure.word(stringOffset(name));
      structure.append(encoded);
      structure.align();
    }
    for (const child of node.children ?? []) writeNode(child);
    structure.word(TOKEN_END);
  };
  writeNode(root);
  structure.word(TOKEN_FINISH);

  const structureAt = HEADER_BYTES + RESERVATION_BYTES;
  const stringsAt = structureAt + structure.length;
  const file = new ByteWriter();
  const header = [MAGIC, stringsAt + strings.length, structureAt, stringsAt, HEADER_BYTES, VERSION, COMPATIBLE_VERSION, bootHart];
  for (const word of [...header, strings.length, structure.length]) file.word(word);
  file.append(new Uint8Array(RESERVATION_BYTES)); // an empty list of memory reservations
  file.append(structure.result());
  file.append(strings.result());
  return file.result();
}
