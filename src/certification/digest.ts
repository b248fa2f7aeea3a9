/** SHA-256 digests: 64 hexadecimal digits, as images are named by. */

export const DIGEST_PATTERN = /^[0-9a-f]{64}$/;

/** The digest in what a person wrote, with or without "sha256:"; undefined if it is none. */
export function parseDigest(text: string): string | undefined {
  const digest = text.replace(/^sha256:/, "");
  return DIGEST_PATTERN.test(digest) ? digest : undefined;
}
