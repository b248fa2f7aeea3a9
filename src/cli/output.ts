/** How the command line speaks: tables, colours on a terminal only, facts as JSON, errors as one sentence. */
import { SteadfastError } from "../foundation/errors.js";

/** An unexpected failure, a defect of ours. */
export const EXIT_INTERNAL = 1;
export const EXIT_USAGE = 2;

export const EXIT_CODES_HELP = `
Exit codes:
  0  done
  1  a defect of Steadfast, or a check that did not hold (verify, bench)
  2  wrong usage, server file or recipe
  3  something on this host is missing or in the way
  4  the server is not in a state for this
  5  a guest image or kernel could not be made or used
`;

const COLOURS = { red: 31, green: 32, yellow: 33, bold: 1, dim: 2 } as const;
export type Colour = keyof typeof COLOURS;

export function paint(text: string, colour: Colour, stream: NodeJS.WriteStream = process.stdout): string {
  const plain = !stream.isTTY || process.env["NO_COLOR"] !== undefined || process.env["TERM"] === "dumb";
  return plain ? text : `\x1b[${COLOURS[colour]}m${text}\x1b[0m`;
}

const ESCAPES = /\x1b\[[0-9;]*m/g;

function width(text: string): number {
  return text.replace(ESCAPES, "").length;
}

/** Columns as wide as their widest cell. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) => Math.max(...rows.map((row) => width(row[column] ?? ""))));
  return rows.map((row) => {
    const cells = row.map((cell, column) => cell + " ".repeat((widths[column] ?? 0) - width(cell)));
    return cells.join("  ").trimEnd();
  });
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

export function printLines(lines: readonly string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(""));
}

/** What a program that asked for JSON gets of an error. */
export function errorJson(error: unknown): { error: { code: string; message: string } } {
  const code = error instanceof SteadfastError ? error.code : "INTERNAL";
  return { error: { code, message: error instanceof Error ? error.message : String(error) } };
}

/** Prints the error and gives the exit code. */
export function reportError(error: unknown, json: boolean): number {
  if (json) printJson(errorJson(error));
  else if (error instanceof SteadfastError)
    process.stderr.write(`${paint("error", "red", process.stderr)} ${error.code}: ${error.message}\n`);
  else process.stderr.write(`steadfast: a defect: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return error instanceof SteadfastError ? error.exit : EXIT_INTERNAL;
}

/** 2026-11-27, UTC. */
export function dayText(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 10);
}

export function duration(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
}
