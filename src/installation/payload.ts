/** What is brought into the guest for a delta: the new files, and the lists that the steps there (recipes/change/steps) work on (pure). */
import { utf8Encode } from "../foundation/bytes.js";
import { reversed, servicesOf, type Delta, type DeltaEntry, type Tree, type TreeEntry } from "./delta.js";

/** `digestOf`: SHA-256 in hexadecimal digits. `ports`: on which something has to listen afterwards. */
export function payloadOf(
  delta: Delta,
  from: Tree,
  to: Tree,
  ports: readonly number[],
  digestOf: (bytes: Uint8Array) => string,
): Map<string, TreeEntry> {
  const back = reversed(delta, from);
  const payload = new Map<string, TreeEntry>();
  const list = (name: string, lines: readonly string[]): void => {
    payload.set(`/${name}`, { kind: "file", mode: 0o600, data: utf8Encode(lines.map((line) => `${line}\n`).join("")) });
  };
  const { entries } = delta;
  for (const { path, after } of entries) if (after?.kind === "file" || after?.kind === "link") payload.set(`/new${path}`, after);
  list("entries", linesOf(entries));
  list("entries-back", linesOf(back.entries));
  list(
    "after",
    entries.flatMap(({ path, after }) => (after?.kind === "file" ? [`${digestOf(after.data)}  new${path}`] : [])),
  );
  list(
    "before",
    entries.flatMap(({ path, before }) => (before?.kind === "file" ? [`${digestOf(before.data)}  ${path}`] : [])),
  );
  list(
    "absent",
    entries.flatMap(({ path, before, after }) => (before === null && after?.kind !== "directory" ? [path] : [])),
  );
  list(
    "services",
    delta.services.map(({ name, deed }) => `${deed} ${name}`),
  );
  list(
    "services-back",
    back.services.map(({ name, deed }) => `${deed} ${name}`),
  );
  list(
    "running",
    servicesOf(to).flatMap(({ name, isOnce }) => (isOnce ? [] : [name])),
  );
  list("ports", ports.map(String));
  return payload;
}

/** First what comes, each directory before what is in it; then what goes, the other way round. */
function linesOf(entries: readonly DeltaEntry[]): string[] {
  const coming = entries.flatMap(({ path, after }) => {
    if (after === null || after.kind === "device") return [];
    if (after.kind === "directory") return [`directory ${after.mode.toString(8)} ${after.owner ?? 0} ${path}`];
    return [`put - - ${path}`];
  });
  const going = entries
    .filter(({ after }) => after === null)
    .map(({ path, before }) => `${before?.kind === "directory" ? "empty" : "gone"} - - ${path}`);
  return [...coming, ...going.reverse()];
}
