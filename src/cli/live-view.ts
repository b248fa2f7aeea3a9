/** The foreground view of `up`: redrawn in place on a terminal, a line per event elsewhere. */
import { LAST_EVENT, type LoggedEvent } from "../modules/management-events.js";
import type { ServerReport } from "../modules/management-status.js";
import type { ServerClient } from "./client.js";
import { paint } from "./output.js";
import { eventLine, reportLines } from "./report-view.js";

const REDRAW_MS = 250;
const EVENTS_SHOWN = 8;
const CLEAR_TO_END = "\x1b[J";
const CLEAR_LINE = "\x1b[K";

/** Follows the server until it ends, or until `signal`; true if it ended as it should. */
export async function followServer(client: ServerClient, since: number, hint: string, signal?: AbortSignal): Promise<boolean> {
  const live = process.stdout.isTTY;
  const events: LoggedEvent[] = [];
  let endedWell = false;
  let drawnLines = 0;
  let report: ServerReport | null = null;
  const draw = (): void => {
    if (report === null) return;
    const lines = [...reportLines(report), "", ...events.map(eventLine), "", paint(hint, "dim")];
    const shown = lines.slice(0, Math.max(1, (process.stdout.rows || 24) - 1)).map((line) => clip(line, process.stdout.columns || 80));
    const up = drawnLines > 0 ? `\x1b[${drawnLines}A` : "";
    process.stdout.write(`${up}\r${shown.map((line) => `${line}${CLEAR_LINE}\n`).join("")}${CLEAR_TO_END}`);
    drawnLines = shown.length;
  };
  const timer = setInterval(() => {
    if (!live) return;
    client
      .statusOrNull()
      .then((fresh) => {
        report = fresh ?? report;
        draw();
      })
      .catch(() => undefined);
  }, REDRAW_MS);
  const heard = (event: LoggedEvent): void => {
    if (event.code === LAST_EVENT) endedWell = true;
    if (!live) process.stdout.write(`${eventLine(event)}\n`);
    else {
      events.push(event);
      if (events.length > EVENTS_SHOWN) events.shift();
    }
  };
  await client.follow(since, heard, signal);
  clearInterval(timer);
  if (live) draw();
  return endedWell;
}

/** Cuts at the terminal's width without counting or breaking colour codes. */
function clip(line: string, columns: number): string {
  let visible = 0;
  let at = 0;
  while (at < line.length && visible < columns - 1) {
    const escape = /^\x1b\[[0-9;]*m/.exec(line.slice(at));
    if (escape === null) visible += 1;
    at += escape?.[0].length ?? 1;
  }
  return at < line.length ? `${line.slice(0, at)}\x1b[0m` : line;
}
