/** `audit`: who changed what, also after the server stopped. */
import { createReadStream, existsSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { SteadfastError } from "../foundation/errors.js";
import { parseLines } from "../modules/json-lines-file.js";
import { isAuditEntry, readAudit, type AuditEntry } from "../modules/management-audit.js";
import { paint } from "./output.js";
import { chosenServer, withServerOptions, type ServerFlags } from "./server-choice.js";

const LOOK_EVERY_MS = 200;

interface AuditFlags extends ServerFlags {
  readonly follow?: boolean;
  readonly directory?: string;
}

export function addAuditCommand(program: Command): void {
  withServerOptions(program.command("audit"))
    .description("show who asked for which change, from where, and what became of it")
    .option("--directory <directory>", "of a certification programme, instead of a server")
    .option("-f, --follow", "go on with what is asked for from now on")
    .addHelpText("after", "\nWith --json: one JSON object a line.")
    .action(audit);
}

/** @throws SteadfastError SUPPORT_NOTHING, PROGRAMME_STORE: there is no such server or programme */
function chosenFile({ directory, ...flags }: AuditFlags): string {
  if (directory !== undefined) {
    if (flags.server !== undefined) throw new SteadfastError("USAGE", { what: "Give --server or --directory, not both." });
    if (!existsSync(directory)) throw new SteadfastError("PROGRAMME_STORE", { directory, why: "ENOENT" });
    return join(directory, "audit.jsonl");
  }
  const { server, paths } = chosenServer(flags);
  if (!existsSync(paths.stateDirectory)) throw new SteadfastError("SUPPORT_NOTHING", { server, path: paths.stateDirectory });
  return paths.auditFile;
}

async function audit(flags: AuditFlags): Promise<void> {
  const auditFile = chosenFile(flags);
  const print = (entry: AuditEntry): void =>
    void process.stdout.write(`${flags.json === true ? JSON.stringify(entry) : auditLine(entry)}\n`);
  let offset = sizeOf(auditFile);
  for (const entry of readAudit(auditFile)) print(entry);
  while (flags.follow === true) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    const size = sizeOf(auditFile);
    // It was full and began anew.
    if (size < offset) offset = 0;
    const text = await textFrom(auditFile, offset, size);
    const end = text.lastIndexOf("\n") + 1;
    offset += Buffer.byteLength(text.slice(0, end));
    for (const entry of parseLines(text.slice(0, end)).filter(isAuditEntry)) print(entry);
  }
}

async function textFrom(path: string, start: number, end: number): Promise<string> {
  if (end <= start) return "";
  const chunks: Buffer[] = [];
  for await (const chunk of createReadStream(path, { start, end: end - 1 })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function auditLine({ atMs, who, role, from, what, details, outcome }: AuditEntry): string {
  const asked = details === undefined ? what : `${what} ${JSON.stringify(details)}`;
  const end = outcome === "done" ? paint(outcome, "green") : paint(outcome, "yellow");
  return `${paint(new Date(atMs).toISOString(), "dim")} ${who} (${role}, ${from}): ${asked}: ${end}`;
}
