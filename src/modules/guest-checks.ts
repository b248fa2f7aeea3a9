/**
 * Whether a guest is well: its services run and listen, and a change's own checks pass. Asked through its agent, of the guest that serves
 * and of one that is only tried.
 */
import { readFileSync } from "node:fs";
import { MAX_CHUNK_BYTES, type AgentRequest } from "../agent/lines.js";
import type { Manifest } from "../certification/manifest.js";
import { CHANGE_STEPS_PATH } from "../image/paths.js";
import type { AgentAnswer } from "./management-agent.js";

/** In the guest; the same as in recipes/change/steps. */
export const STAGE = "/run/steadfast/change";
export const CHECK_SECONDS = 120;
const PREPARE_SECONDS = 60;
const FILE_MODE = 0o600;
/** Of what a step says when it fails. */
const WHY_LENGTH_LIMIT = 400;

export type AskAgent = (request: AgentRequest) => Promise<AgentAnswer>;

/** What should run and listen in the guest. */
export interface Expected {
  readonly running: readonly string[];
  readonly ports: readonly number[];
}

/** What a command that failed said. */
export function said({ output, status }: Pick<AgentAnswer, "output" | "status">): string {
  const text = new TextDecoder()
    .decode(output)
    .replace(/[\x00-\x1f\x7f]+/g, " ")
    .trim();
  return text === "" ? `exit status ${status}` : text.slice(0, WHY_LENGTH_LIMIT);
}

/** Brings a file into the guest. The answer is that to its last chunk, or to the one that failed. */
export async function putFile(
  ask: AskAgent,
  path: string,
  bytes: Uint8Array,
  sent: (bytes: number) => boolean,
): Promise<AgentAnswer | null> {
  for (let offset = 0; offset < bytes.length; offset += MAX_CHUNK_BYTES) {
    const chunk = bytes.subarray(offset, offset + MAX_CHUNK_BYTES);
    const answer = await ask({ verb: "put", path, mode: FILE_MODE, totalBytes: bytes.length, offset, bytes: chunk });
    if (answer.status !== 0) return answer;
    if (!sent(offset + chunk.length)) return null;
  }
  return { id: "", status: 0, output: new Uint8Array(0) };
}

/** Null: the change's own checks pass; else which does not, and what it said. */
export async function ownChecks(ask: AskAgent, checks: Manifest["checks"]): Promise<string | null> {
  for (const { name, command, timeoutSeconds } of checks) {
    const answer = await ask({ verb: "run", command, limitSeconds: timeoutSeconds });
    if (answer.status !== 0) return `the change's own check ${name} failed: ${said(answer)}`;
  }
  return null;
}

/** Null: the guest is well; else what is not. Leaves nothing in the guest. */
export async function guestTrouble(ask: AskAgent, { running, ports }: Expected, checks: Manifest["checks"]): Promise<string | null> {
  const run = (command: string, limitSeconds: number): Promise<AgentAnswer> => ask({ verb: "run", command, limitSeconds });
  const lists = [
    `printf '%s' '${running.map((name) => `${name}\n`).join("")}' > ${STAGE}/running`,
    `printf '%s' '${ports.map((port) => `${port}\n`).join("")}' > ${STAGE}/ports`,
  ];
  const made = await run(["set -e", `rm -rf ${STAGE}`, `mkdir -p ${STAGE}`, ...lists].join("\n"), PREPARE_SECONDS);
  if (made.status !== 0) return said(made);
  const put = await putFile(ask, `${STAGE}/steps`, new Uint8Array(readFileSync(CHANGE_STEPS_PATH)), () => true);
  if (put === null || put.status !== 0) return put === null ? "it was overtaken" : said(put);
  const well = await run(`sh ${STAGE}/steps check`, CHECK_SECONDS);
  await run(`rm -rf ${STAGE}`, PREPARE_SECONDS);
  return well.status === 0 ? ownChecks(ask, checks) : said(well);
}
