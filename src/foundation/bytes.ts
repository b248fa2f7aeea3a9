/** Byte helpers of the pure layer, which has neither Buffer nor TextEncoder. */

export const NO_BYTES = new Uint8Array(0);

export const MIB = 1024 * 1024;

/** UTF-8 of a string; lone surrogates become U+FFFD. */
export function utf8Encode(text: string): Uint8Array {
  return asciiEncode(text) ?? anyEncode(text);
}

/** Most texts are ASCII, and then there is a quicker way. Null: this one is not. */
function asciiEncode(text: string): Uint8Array | null {
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code >= 0x80) return null;
    bytes[at] = code;
  }
  return bytes;
}

function anyEncode(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length * 3);
  let at = 0;
  for (const character of text) {
    let code = character.codePointAt(0) ?? 0xfffd;
    if (code >= 0xd800 && code <= 0xdfff) code = 0xfffd;
    if (code < 0x80) bytes[at++] = code;
    else {
      if (code < 0x800) bytes[at++] = 0xc0 | (code >> 6);
      else {
        if (code < 0x10000) bytes[at++] = 0xe0 | (code >> 12);
        else {
          bytes[at++] = 0xf0 | (code >> 18);
          bytes[at++] = 0x80 | ((code >> 12) & 0x3f);
        }
        bytes[at++] = 0x80 | ((code >> 6) & 0x3f);
      }
      bytes[at++] = 0x80 | (code & 0x3f);
    }
  }
  return bytes.slice(0, at);
}

/** How many continuation bytes follow this lead byte, or -1. */
function followers(lead: number): number {
  if (lead < 0x80) return 0;
  if (lead >= 0xc2 && lead < 0xe0) return 1;
  if (lead >= 0xe0 && lead < 0xf0) return 2;
  if (lead >= 0xf0 && lead < 0xf5) return 3;
  return -1;
}

const LEAST_CODE = [0, 0x80, 0x800, 0x10000] as const;

/** Text of UTF-8 bytes; malformed parts become U+FFFD. */
export function utf8Decode(bytes: Uint8Array): string {
  let text = "";
  let at = 0;
  // Most texts are ASCII up to their end.
  for (; at < bytes.length && (bytes[at] as number) < 0x80; at += 1) text += String.fromCharCode(bytes[at] as number);
  return at === bytes.length ? text : text + anyDecode(bytes, at);
}

function anyDecode(bytes: Uint8Array, from: number): string {
  const parts: string[] = [];
  let at = from;
  while (at < bytes.length) {
    const lead = bytes[at++] as number;
    const count = followers(lead);
    if (count <= 0) {
      parts.push(count === 0 ? String.fromCharCode(lead) : "\ufffd");
      continue;
    }
    let code = lead & (0x3f >> count);
    let taken = 0;
    while (taken < count && at < bytes.length && ((bytes[at] as number) & 0xc0) === 0x80) {
      code = (code << 6) | ((bytes[at++] as number) & 0x3f);
      taken += 1;
    }
    const valid = taken === count && code >= (LEAST_CODE[count] as number) && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    parts.push(valid ? String.fromCodePoint(code) : "\ufffd");
  }
  return parts.join("");
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false;
  for (let index = 0; index < left.length; index += 1) if (left[index] !== right[index]) return false;
  return true;
}

const BASE64_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

export function toBase64(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += 3) {
    const group = ((bytes[at] as number) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    const digits = [18, 12, 6, 0].map((shift) => BASE64_DIGITS.charAt((group >> shift) & 63));
    const left = bytes.length - at;
    parts.push(digits.slice(0, left + 1).join(""), left < 3 ? "=".repeat(3 - left) : "");
  }
  return parts.join("");
}

/** Of Base64 with padding; null if the text is none. */
export function fromBase64(text: string): Uint8Array | null {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return null;
  const digits = text.replace(/=+$/, "");
  const bytes = new Uint8Array(Math.floor((digits.length * 3) / 4));
  let bits = 0;
  let value = 0;
  let at = 0;
  for (const digit of digits) {
    value = ((value << 6) | BASE64_DIGITS.indexOf(digit)) & 0xffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes[at++] = (value >> bits) & 0xff;
  }
  return bytes;
}

/** Small letters. */
export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The bytes of so many hexadecimal digits. Throws `RangeError` for anything else. */
export function fromHex(text: string, lengthBytes: number): Uint8Array {
  if (text.length !== lengthBytes * 2 || !/^[0-9a-f]*$/.test(text)) throw new RangeError(`not ${lengthBytes} bytes in hexadecimal digits`);
  return Uint8Array.from({ length: lengthBytes }, (_, index) => Number.parseInt(text.slice(index * 2, index * 2 + 2), 16));
}
