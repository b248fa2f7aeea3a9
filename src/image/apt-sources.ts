/** Reads the host's own package sources, in both of apt's formats, to learn which Debian mirror this host uses. */

export interface AptSource {
  readonly uri: string;
  readonly suite: string;
  readonly components: readonly string[];
  /** Path of a keyring, when the source names one. */
  readonly signedBy: string | undefined;
}

export interface DebianMirrors {
  readonly main: AptSource;
  /** Present only when the host itself follows the security archive. */
  readonly security: AptSource | undefined;
}

const DEBIAN_SUITES =
  /^(buster|bullseye|bookworm|trixie|forky|duke|sid|unstable|testing|stable|oldstable|oldoldstable)(-updates|-security|\/updates)?$/;
/** A sources file is a page of text; a list longer than this is not one. */
const SOURCES_LIMIT = 1000;

/** One-line format: `deb [options] uri suite component…`. */
export function parseSourceList(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split(/\r?\n/)) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)/.exec(line);
    if (match === null || sources.length >= SOURCES_LIMIT) continue;
    const [, options = "", uri = "", suite = "", components = ""] = match;
    const signedBy = /(?:^|\s)signed-by=(\S+)/.exec(options)?.[1]?.split(",")[0];
    sources.push({ uri, suite, components: words(components), signedBy: keyringPath(signedBy) });
  }
  return sources;
}

/** Deb822 format: stanzas of `Field: value`, with continuation lines and lists. */
export function parseSourceStanzas(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const stanza of text.split(/\r?\n[ \t]*(?:\r?\n)+/)) {
    const fields = parseStanza(stanza);
    if (/^(no|false|off|disable|0)$/i.test(fields.get("enabled") ?? "yes")) continue;
    if (!words(fields.get("types") ?? "").includes("deb")) continue;
    const components = words(fields.get("components") ?? "");
    const signedBy = keyringPath(words(fields.get("signed-by") ?? "")[0]);
    for (const uri of words(fields.get("uris") ?? "")) {
      for (const suite of words(fields.get("suites") ?? "")) {
        if (sources.length < SOURCES_LIMIT) sources.push({ uri, suite, components, signedBy });
      }
    }
  }
  return sources;
}

/** Fields of one stanza by lower-case name; comments are dropped, continuation lines joined by newlines. */
export function parseStanza(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let current = "";
  for (const line of stanza.split(/\r?\n/)) {
    if (line.startsWith("#")) continue;
    const field = /^([^\s:]+):\s*(.*)$/.exec(line);
    if (field !== null) {
      current = (field[1] ?? "").toLowerCase();
      fields.set(current, (field[2] ?? "").trim());
    } else if (current !== "" && /^\s/.test(line)) {
      fields.set(current, `${fields.get(current) ?? ""}\n${line.trim()}`);
    }
  }
  return fields;
}

/** The first source of Debian's main archive, and of its security archive; undefined when the host uses no Debian mirror. */
export function chooseMirrors(sources: readonly AptSource[]): DebianMirrors | undefined {
  const usable = sources.filter(
    (source) => source.components.includes("main") && DEBIAN_SUITES.test(source.suite) && !source.uri.startsWith("cdrom:"),
  );
  const isSecurity = (source: AptSource) => /(-security|\/updates)$/.test(source.suite);
  const main =
    usable.find((source) => !isSecurity(source) && !source.suite.endsWith("-updates")) ?? usable.find((source) => !isSecurity(source));
  return main === undefined ? undefined : { main, security: usable.find(isSecurity) };
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

/** Only a path counts: apt also allows fingerprints and whole keys here. */
function keyringPath(value: string | undefined): string | undefined {
  return value !== undefined && value.startsWith("/") ? value : undefined;
}
