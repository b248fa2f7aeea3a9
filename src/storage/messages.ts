/**
 * Commands and replies between I/O modules: JSON text and one payload. What comes in is checked field by field, since it may come from
 * another version, or be damaged; what makes no sense for the disk itself the store refuses (mirror-store.ts).
 */
import { BLOCK_BYTES, MAX_DISK_BYTES } from "./limits.js";
import { asHeader } from "./mirror-header.js";
import type { MirrorHeader, StoreCommand, StoreOperation, StoreReply } from "./types.js";

const MOST_BLOCKS = MAX_DISK_BYTES / BLOCK_BYTES;
const OUTCOMES = ["ok", "failed", "refused"] as const;

/** All but the payload. */
export function storeText(message: StoreCommand | StoreReply): string {
  return JSON.stringify({ ...message, bytes: undefined });
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isList(value: unknown): value is number[] {
  return Array.isArray(value) && value.length <= MOST_BLOCKS && value.every(isCount);
}

function parsed(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    // Not JSON: not a message.
    return null;
  }
}

/** Null: it is not a command. */
export function parseStoreCommand(text: string, bytes: Uint8Array): StoreCommand | null {
  const value = parsed(text);
  const operation = operationOf(value?.["operation"]);
  if (value === null || operation === null || !isCount(value["ticket"]) || !isCount(value["configuration"])) return null;
  return { ticket: value["ticket"], configuration: value["configuration"], operation, bytes };
}

/** Null: it is not a reply. */
export function parseStoreReply(text: string, bytes: Uint8Array): StoreReply | null {
  const value = parsed(text);
  if (value === null) return null;
  const { ticket, configuration, why, bad } = value;
  const outcome = OUTCOMES.find((each) => each === value["outcome"]);
  const header = asHeader(value["header"]);
  if (!isCount(ticket) || !isCount(configuration) || typeof why !== "string" || !isList(bad) || outcome === undefined || header === null) {
    return null;
  }
  return { ticket, configuration, outcome, why, bad, header, bytes };
}

/** The header in the first message of a mirror, or null. */
export function parseMirrorHeader(text: string): MirrorHeader | null {
  return asHeader(parsed(text));
}

function operationOf(value: unknown): StoreOperation | null {
  if (typeof value !== "object" || value === null) return null;
  const fields = value as Record<string, unknown>;
  const { kind, offset, lengthBytes, sizeBytes, region, clearedAt } = fields;
  switch (kind) {
    case "inspect":
    case "flush":
      return { kind };
    case "configure":
      return typeof fields["isInSync"] === "boolean" ? { kind, isInSync: fields["isInSync"] } : null;
    case "read":
    case "write":
      return isCount(offset) && isCount(lengthBytes) ? { kind, offset, lengthBytes } : null;
    case "digest": {
      const { mustRead } = fields;
      return isCount(offset) && isCount(lengthBytes) && typeof mustRead === "boolean" ? { kind, offset, lengthBytes, mustRead } : null;
    }
    case "settle":
      return isCount(region) && isList(fields["adopt"]) ? { kind, region, adopt: fields["adopt"] } : null;
    case "poison":
      return isList(fields["blocks"]) ? { kind, blocks: fields["blocks"] } : null;
    case "clear":
      return isList(fields["except"]) ? { kind, except: fields["except"] } : null;
    case "adoptLog":
      return isCount(clearedAt) ? { kind, clearedAt } : null;
    case "recreate":
      return typeof fields["diskId"] === "string" && isCount(sizeBytes) ? { kind, diskId: fields["diskId"], sizeBytes } : null;
    case "grow":
      return isCount(sizeBytes) ? { kind, sizeBytes } : null;
    default:
      return null;
  }
}
