/** Properties of everything that is read from files: archives, programs, package lists, server files, recipes, checkpoints, images. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import fc from "fast-check";
import { parseServerFile } from "../dist/cli/server-file.js";
import { SteadfastError } from "../dist/foundation/errors.js";
import { parseSourceList, parseSourceStanzas, parseStanza } from "../dist/image/apt-sources.js";
import { writeCpio, type GuestEntry } from "../dist/image/cpio.js";
import { readElfNeeds } from "../dist/image/elf-needed.js";
import { moduleDependencies } from "../dist/image/kernel-stock.js";
import { parseRecipe } from "../dist/image/recipe.js";
import { TarError, TarReader, type TarMember } from "../dist/image/tar.js";
import { parseElf } from "../dist/machine/engines/rv64/elf.js";
import { decodeState, encodeState } from "../dist/machine/engines/rv64/image.js";
import { FileCheckpointStore, readCheckpoint } from "../dist/modules/checkpoint-files.js";
import { stubBoard } from "./support/board-stub.js";
import { readCpio } from "./support/cpio-reader.js";
import { anyBytes, anyCuts, anyDamage, damaged, holds, pieces } from "./support/properties.js";

const work = mkdtempSync(join(tmpdir(), "steadfast-properties-"));
after(() => rmSync(work, { recursive: true }));

const damages = fc.array(anyDamage, { minLength: 1, maxLength: 4 });

/** Nothing but the errors that a caller can explain to a person. */
function refusesOnly<T>(kinds: readonly (abstract new (...parameters: never[]) => Error)[], act: () => T): T | null {
  try {
    return act();
  } catch (error) {
    assert.ok(
      kinds.some((kind) => error instanceof kind),
      String((error as Error).stack),
    );
    return null;
  }
}

// ---- archives ----

function readTar(chunks: Iterable<Uint8Array>): TarMember[] | null {
  return refusesOnly([TarError], () => {
    const members: TarMember[] = [];
    const reader = new TarReader(
      () => true,
      (member) => members.push(member),
    );
    for (const chunk of chunks) reader.push(chunk);
    reader.end();
    return members;
  });
}

/** A real archive: files, a directory, links, a name too long for the old header. */
function sampleTar(format: string): Uint8Array {
  const tree = mkdtempSync(join(work, "tree-"));
  mkdirSync(join(tree, `a/${"long-".repeat(30)}`), { recursive: true });
  for (const [path, text] of [
    ["a/one", "one"],
    [`a/${"long-".repeat(30)}/two`, "two".repeat(500)],
    ["empty", ""],
  ] as const)
    writeFileSync(join(tree, path), text);
  execFileSync("ln", ["-s", "a/one", join(tree, "link")]);
  execFileSync("ln", [join(tree, "a/one"), join(tree, "hard")]);
  return Uint8Array.from(execFileSync("tar", ["-C", tree, `--format=${format}`, "-cf", "-", "."]));
}

for (const format of ["gnu", "posix"]) {
  test(`tar (${format}): the same members at every split; damaged ones are refused or are other members`, () => {
    const archive = sampleTar(format);
    const whole = readTar([archive]);
    assert.equal(whole?.filter((member) => member.kind === "file").length, 3);
    assert.ok(whole.some((member) => member.path.endsWith("/two") && member.data.length === 1500));
    holds(anyCuts, (cuts) => assert.deepEqual(readTar(pieces(archive, cuts)), whole), 100);
    holds(fc.tuple(damages, anyCuts), ([list, cuts]) => {
      const bad = damaged(archive, list);
      assert.deepEqual(readTar(pieces(bad, cuts)), readTar([bad]));
    });
    holds(anyBytes(), (garbage) => void readTar([garbage]));
  });
}

test("cpio: what goes in comes out, parents included, and the order of the entries does not matter", () => {
  const part = fc.stringMatching(/^[a-z0-9._-]{1,12}$/).filter((text) => text !== "." && text !== "..");
  const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => `/${parts.map((each, depth) => `${depth}${each}`).join("/")}`);
  const file = fc.tuple(path, fc.uint8Array({ maxLength: 100 }), fc.nat(0o777));
  holds(fc.array(file, { maxLength: 8 }), (files) => {
    // A file cannot be a directory of another one as well.
    const usable = files.filter(([name]) => !files.some(([other]) => other.startsWith(`${name}/`)));
    const entries = usable.map(([name, data, mode]): [string, GuestEntry] => [name, { kind: "file", mode, data }]);
    const archive = writeCpio(new Map(entries));
    assert.equal(archive.length % 512, 0);
    const byName = new Map(readCpio(archive).map((member) => [`/${member.name}`, member]));
    for (const [name, entry] of new Map(entries)) {
      assert.ok(entry.kind === "file");
      assert.equal(byName.get(name)?.data, new TextDecoder("latin1").decode(entry.data));
      assert.equal(byName.get(name)?.mode, 0o100000 | entry.mode);
    }
    assert.ok(Buffer.from(archive).equals(writeCpio(new Map([...new Map(entries)].reverse()))));
  });
});

// ---- programs ----

test("ELF files: damaged ones are refused, or understood as far as they go", () => {
  const source = join(work, "program.c");
  const program = join(work, "program");
  writeFileSync(source, "int answer = 42; int main(void) { return answer; }\n");
  execFileSync("riscv64-linux-gnu-gcc", ["-o", program, source]);
  const file = Uint8Array.from(readFileSync(program));
  assert.deepEqual(readElfNeeds(file)?.libraries, ["libc.so.6"]);
  assert.ok(parseElf(file, "x").symbols.has("answer"));
  const headers = file.slice(0, 2048);
  const bad = fc.oneof(
    anyBytes(),
    fc.tuple(fc.constantFrom(file, headers), damages).map(([whole, list]) => damaged(whole, list)),
    // Most of what is believed stands in the first bytes.
    fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 8 }), fc.nat(120)).map(([patch, at]) => {
      const changed = file.slice();
      changed.set(patch, at);
      return changed;
    }),
  );
  holds(bad, (bytes) => {
    readElfNeeds(bytes);
    moduleDependencies(bytes);
    refusesOnly([SteadfastError], () => parseElf(bytes, "x"));
  });
});

// ---- texts ----

test("package sources: any text is read without a fuss; stanzas keep their fields", () => {
  holds(fc.string({ unit: "binary", maxLength: 400 }), (text) => {
    for (const parsed of [parseSourceList(text), parseSourceStanzas(text)])
      for (const source of parsed) assert.equal(typeof source.uri, "string");
  });
  const field = fc.tuple(fc.stringMatching(/^[A-Za-z][A-Za-z-]{0,15}$/), fc.stringMatching(/^[!-~]{0,30}$/));
  holds(fc.uniqueArray(field, { selector: ([key]) => key.toLowerCase(), maxLength: 6 }), (fields) => {
    const parsed = parseStanza(fields.map(([key, value]) => `${key}: ${value}`).join("\n"));
    for (const [key, value] of fields) assert.equal(parsed.get(key.toLowerCase()), value);
  });
});

for (const [what, parse, good] of [
  ["server file", parseServerFile, "name: bank\nmemoryMiB: 256\nimage:\n  kernel: stock\nfaultThreshold:\n  count: 6\n"],
  ["recipe", parseRecipe, "name: mine\nsuite: trixie\npackages: [nginx-light]\nservices:\n  - name: web\n    command: /usr/sbin/nginx\n"],
] as const) {
  test(`${what}: any text is taken or refused in one sentence that names the file`, () => {
    const text = fc.oneof(
      fc.string({ unit: "binary", maxLength: 300 }),
      fc.json(),
      damages.map((list) => new TextDecoder().decode(damaged(new TextEncoder().encode(good), list))),
    );
    holds(text, (content) => {
      try {
        parse(content, "some-file.yaml");
      } catch (error) {
        assert.ok(error instanceof SteadfastError, String((error as Error).stack));
        assert.match(error.message, /some-file\.yaml/);
      }
    });
  });
}

// ---- machine state ----

test("checkpoint files: what was verified last comes back, page by page; a damaged index is refused", () => {
  const PAGES = 6;
  const page = fc.oneof(
    fc.constant(new Uint8Array(0)),
    fc.nat(255).map((value) => new Uint8Array(4096).fill(value)),
  );
  const round = fc.record({
    pieces: fc.array(fc.tuple(fc.nat(PAGES - 1), page), { maxLength: 8 }),
    state: fc.uint8Array({ minLength: 1, maxLength: 40 }),
    verified: fc.boolean(),
  });
  let number = 0;
  holds(
    fc.tuple(fc.array(round, { minLength: 1, maxLength: 5 }), damages),
    ([rounds, list]) => {
      const directory = join(work, `checkpoints-${(number += 1)}`);
      const store = new FileCheckpointStore(directory, "cpu0-1", PAGES * 4096);
      const place = join(directory, store.open());
      const [pending, kept] = [new Map<number, string>(), new Map<number, string>()];
      let last: { seq: number; state: Uint8Array } | null = null;
      rounds.forEach(({ pieces: put, state, verified }, index) => {
        store.put([...put.map(([at, bytes]) => ({ page: at, bytes })), { page: -1, bytes: state }]);
        for (const [at, bytes] of put) pending.set(at, Buffer.from(bytes).toString("base64"));
        store.seal({ seq: index + 1, configuration: 3 });
        if (!verified) return;
        store.verified();
        for (const [at, text] of pending) kept.set(at, text);
        last = { seq: index + 1, state };
      });
      store.close(true);
      if (last !== null) checkStored(place, kept, last, list);
      rmSync(directory, { recursive: true });
    },
    100,
  );
});

function checkStored(
  place: string,
  kept: ReadonlyMap<number, string>,
  last: { readonly seq: number; readonly state: Uint8Array },
  damage: Parameters<typeof damaged>[1],
): void {
  const read = (): Map<number, string> => {
    const { checkpoint, pieces: found } = readCheckpoint(place);
    assert.equal(checkpoint.seq, last.seq);
    return new Map([...found].map(({ page, bytes }) => [page, Buffer.from(bytes).toString("base64")]));
  };
  const stored = read();
  assert.equal(stored.get(-1), Buffer.from(last.state).toString("base64"));
  for (const [at, text] of kept) assert.equal(stored.get(at), text);
  const index = readFileSync(join(place, "index"));
  writeFileSync(join(place, "index"), damaged(index, damage));
  try {
    readCheckpoint(place);
  } catch (error) {
    assert.match((error as Error).message, /is not the index of a checkpoint/);
  }
}

test("state records of the engine: taken whole, or refused before anything is written", () => {
  const { memory } = stubBoard();
  const description = { engine: "rv64", behaviour: 2, ramBytes: memory.ramBytes, harts: 1, epochNs: 5n, imageDigest: "ab" };
  const record = encodeState(memory, description);
  // Magic, length, and the description that binds it to its machine; state comes after it, of which any is a state.
  const HEADER_END = 8 + new DataView(record.buffer).getUint32(4, true);
  decodeState(record, memory, description);
  const before = encodeState(memory, description);
  const bad = fc.oneof(
    anyBytes(),
    fc.nat(record.length - 1).map((length) => record.slice(0, length)),
    fc.tuple(fc.nat(HEADER_END - 1), fc.integer({ min: 1, max: 255 })).map(([at, change]) => {
      const changed = record.slice();
      changed[at] = (changed[at] as number) ^ change;
      return changed;
    }),
  );
  holds(
    bad,
    (bytes) => {
      assert.equal(
        refusesOnly([SteadfastError], () => decodeState(bytes, memory, description)),
        null,
      );
      assert.ok(Buffer.from(before).equals(encodeState(memory, description)));
    },
    60,
  );
});
