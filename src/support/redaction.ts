/**
 * Takes secrets out of what leaves a server for support: values under names such as password, secret, token and key, credentials in
 * addresses and headers, and PEM blocks. It takes too much rather than too little.
 */

/** What stands for each of them. */
export const REMOVED = "[removed]";

/** Deeper values are removed as a whole: nothing of ours is that deep. */
const DEPTH_MAX = 32;

const SECRET_WORDS = "pass(?:word|wd|phrase)?|pwd|secret|token|key|credential|authorization|cookie";
const SECRET_NAME = new RegExp(`(?:^|[^a-z])(?:${SECRET_WORDS})s?(?:$|[^a-z])`);
/** Also where names are written together: "dbpassword", "apikey". */
const SECRET_ENDING = /(?:password|passwd|passphrase|secret|token|apikey|privatekey)s?$/;

/** Whether what has this name is a secret: "smtpPassword", "API_KEY", "key"; not "monkey". */
export function isSecretName(name: string): boolean {
  const words = name
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replace(/([A-Z]+)([A-Z][a-z])/g, "$1_$2")
    .toLowerCase();
  return SECRET_NAME.test(words) || SECRET_ENDING.test(words.replace(/[^a-z]/g, ""));
}

/** A text may be cut anywhere, so that half a block counts as one as well. */
const PEM_BLOCK = /-----BEGIN [A-Z0-9 ]{1,64}-----[\s\S]*?(?:-----END [A-Z0-9 ]{1,64}-----|$)/g;
const PEM_END = /^[\s\S]*-----END [A-Z0-9 ]{1,64}-----/;
const ADDRESS_CREDENTIALS = /\b([a-z][a-z0-9+.-]{0,31}:\/\/)[^\s/@"'<>]{1,512}@/gi;
const SCHEME_CREDENTIALS = /\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]+/gi;
/** The beginning of `name=value`, `name: value` and `"name":"value"`, also with the quotes escaped; the name is judged apart. */
const ASSIGNMENT = /([A-Za-z_][A-Za-z0-9_.-]{0,63})\\?["']?\s{0,4}[=:]\s{0,4}/g;
/** Lists and mappings up to the end of the line, since nobody counts brackets here. */
const ASSIGNED = /\\?"[^"\n]*"?|\\?'[^'\n]*'?|[{[][^\n]*|[^\s,;&]+/y;

/** Values of other names are looked through as well: there may be an assignment within. */
function redactAssignments(text: string): string {
  let kept = "";
  let from = 0;
  for (const match of text.matchAll(ASSIGNMENT)) {
    const at = match.index + match[0].length;
    if (match.index < from || !isSecretName(match[1] ?? "")) continue;
    ASSIGNED.lastIndex = at;
    const value = ASSIGNED.exec(text)?.[0];
    if (value === undefined) continue;
    kept += text.slice(from, at) + REMOVED;
    from = at + value.length;
  }
  return kept + text.slice(from);
}

export function redactText(text: string): string {
  const rest = text
    .replace(PEM_BLOCK, REMOVED)
    .replace(PEM_END, REMOVED)
    .replace(ADDRESS_CREDENTIALS, `$1${REMOVED}@`)
    .replace(SCHEME_CREDENTIALS, `$1 ${REMOVED}`);
  return redactAssignments(rest);
}

/** A JSON value without its secrets. */
export function redactValue(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return redactText(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= DEPTH_MAX) return REMOVED;
  if (Array.isArray(value)) return value.map((each) => redactValue(each, depth + 1));
  const entries = Object.entries(value).map(([name, each]): [string, unknown] => [
    redactText(name),
    isSecretName(name) && each !== null ? REMOVED : redactValue(each, depth + 1),
  ]);
  return Object.fromEntries(entries);
}
