/** Recipes, apt's source formats, the guest's own files: what goes into an image, without building one. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { SteadfastError } from "../dist/foundation/errors.js";
import { chooseMirrors, parseSourceList, parseSourceStanzas } from "../dist/image/apt-sources.js";
import { composeTree, PackageContents, recipeFiles } from "../dist/image/contents.js";
import type { Composition } from "../dist/image/source.js";
import { writeCpio } from "../dist/image/cpio.js";
import { inittab, readGuestParts, serviceFile } from "../dist/image/guest.js";
import { verifyConfiguration } from "../dist/image/kernel-hardened.js";
import { moduleDependencies } from "../dist/image/kernel-stock.js";
import { DEFAULT_RECIPE_PATH } from "../dist/image/paths.js";
import { loadRecipe, parseRecipe, type Recipe } from "../dist/image/recipe.js";

function failure(work: () => unknown): SteadfastError {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof SteadfastError, String(error));
    return error;
  }
  assert.fail("no error");
}

test("the default recipe is a recipe", () => {
  const recipe = loadRecipe(DEFAULT_RECIPE_PATH);
  assert.equal(recipe.name, "default");
  assert.deepEqual(
    recipe.services.map((service) => [service.name, service.ports]),
    [
      ["nginx", [80]],
      ["redis", [6379]],
    ],
  );
});

test("recipe errors name file, field, line and mend", () => {
  const message = (text: string) => failure(() => parseRecipe(text, "my.yaml")).message;
  assert.match(message("packages: [nginx]\n"), /my\.yaml is wrong: field name.*is missing/);
  assert.match(message("name: a\n\nmemoryMiB: 16\n"), /field memoryMiB \(line 3\).*64/);
  assert.match(message("name: a\nmemoryMiB: 4096\n"), /field memoryMiB \(line 2\).*3072/);
  assert.match(message("name: a\npackage: [nginx]\n"), /field package \(line 2\) is not a field/);
  assert.match(
    message("name: a\nfiles:\n  - path: relative\n    content: x\n"),
    /field files\[0\]\.path \(line 3\) must be an absolute path/,
  );
  assert.match(message("name: a\nfiles:\n  - path: /x\n"), /field files\[0\] \(line 3\) needs exactly one of/);
  assert.match(message("name: a\nfiles:\n  - {path: /x/../y, content: a}\n"), /must not contain/);
  assert.match(message("name: a\nkernel: fast\n"), /field kernel \(line 2\)/);
  assert.match(message("name: [a\n"), /line \d+ is not YAML/);
  assert.match(message("- a\n- b\n"), /my\.yaml is wrong/);
  assert.match(message(""), /my\.yaml is wrong/);
  assert.match(message("name: a\nservices:\n  - {name: s, command: x}\n  - {name: s, command: y}\n"), /names s twice/);
  assert.equal(failure(() => loadRecipe("/nonexistent/recipe.yaml")).code, "RECIPE_UNREADABLE");
});

test("recipe garbage gives a sentence, never another exception", () => {
  const good = readFileSync(DEFAULT_RECIPE_PATH, "utf8");
  let seed = 7;
  for (let round = 0; round < 150; round++) {
    let text = good;
    for (let edits = 0; edits < 3; edits++) {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      const at = seed % text.length;
      text = text.slice(0, at) + "{}[]:-\t&*!\0"[(seed >>> 20) % 11] + text.slice(at + ((seed >>> 8) % 4));
    }
    try {
      parseRecipe(text, "fuzz.yaml");
    } catch (error) {
      assert.ok(error instanceof SteadfastError, String(error));
    }
  }
});

test("the paths of a recipe count from its own directory", () => {
  const recipe = parseRecipe("name: a\nkernel: {path: ./Image}\nfiles:\n  - {path: /etc/motd, source: motd.txt}\n", "/srv/recipes/a.yaml");
  assert.deepEqual(recipe.kernel, { path: "/srv/recipes/Image" });
  assert.equal(recipe.files[0]?.source, "/srv/recipes/motd.txt");
});

const STANZAS = `# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: trixie
Components: main
`;

test("apt sources: both formats, options, disabled entries", () => {
  const stanzas = parseSourceStanzas(STANZAS);
  assert.deepEqual(
    stanzas.map((source) => `${source.uri} ${source.suite}`),
    [
      "http://mirror.example/debian bookworm",
      "http://mirror.example/debian bookworm-updates",
      "http://mirror.example/security bookworm-security",
    ],
  );
  assert.equal(stanzas[0]?.signedBy, "/usr/share/keyrings/debian-archive-keyring.gpg");
  assert.equal(stanzas[2]?.signedBy, undefined);
  const list = parseSourceList(
    "# deb http://no.example x main\ndeb [arch=amd64 signed-by=/k.gpg] https://m.example/debian trixie main non-free # mine\ndeb-src http://s.example trixie main\n",
  );
  assert.deepEqual(list, [{ uri: "https://m.example/debian", suite: "trixie", components: ["main", "non-free"], signedBy: "/k.gpg" }]);
});

test("apt sources: the Debian mirror among others, the security archive only if the host follows it", () => {
  const foreign = parseSourceList("deb https://packages.example/tool stable tool\ndeb https://node.example nodistro main\n");
  assert.equal(chooseMirrors(foreign), undefined);
  const mirrors = chooseMirrors([...foreign, ...parseSourceStanzas(STANZAS)]);
  assert.equal(mirrors?.main.uri, "http://mirror.example/debian");
  assert.equal(mirrors?.security?.uri, "http://mirror.example/security");
  assert.equal(chooseMirrors(parseSourceList("deb http://m.example/debian sid main\n"))?.security, undefined);
  assert.equal(chooseMirrors(parseSourceList("deb cdrom:[Debian] bookworm main\n")), undefined);
});

test("init's table and service files", () => {
  const recipe = parseRecipe(
    "name: a\nservices:\n  - {name: web, command: \"web --name 'x y'\", ports: [80, 443], user: www-data}\n  - {name: job, command: job, restart: never}\n",
    "a.yaml",
  );
  const table = inittab(recipe.services);
  assert.match(table, /^::once:\/usr\/lib\/steadfast\/ready 80 443$/m);
  assert.match(table, /^::respawn:\/usr\/lib\/steadfast\/service web$/m);
  assert.match(table, /^::once:\/usr\/lib\/steadfast\/service job$/m);
  const [web] = recipe.services;
  assert.ok(web);
  assert.equal(serviceFile(web), "command='web --name '\\''x y'\\'''\nuser='www-data'\n");
});

function fakeContents(order: "straight" | "reversed"): PackageContents {
  const contents = new PackageContents();
  const data = new TextEncoder().encode("not an ELF file");
  const members = [
    { path: "/usr/bin/busybox", kind: "file" as const, mode: 0o755, target: "", data },
    { path: "/bin/tool", kind: "file" as const, mode: 0o755, target: "", data },
    { path: "/usr/bin/alias", kind: "link" as const, mode: 0o777, target: "real", data },
    { path: "/usr/bin/real", kind: "file" as const, mode: 0o755, target: "", data },
    { path: "/usr/share/doc/x", kind: "file" as const, mode: 0o644, target: "", data },
  ];
  for (const member of order === "straight" ? members : members.reverse()) contents.add(member);
  return contents;
}

function composition(recipe: Recipe): Composition {
  return { recipe, files: recipeFiles(recipe, "a.yaml"), whole: [], guest: readGuestParts() };
}

test("composing an image: links bring their targets, manuals stay out, order does not matter", () => {
  const listed = parseRecipe("name: a\ninclude: [/usr/bin/alias]\n", "a.yaml");
  const tree = composeTree(fakeContents("straight"), composition(listed), "a.yaml");
  assert.ok(tree.has("/usr/bin/real"));
  assert.ok(!tree.has("/usr/bin/tool"));
  assert.deepEqual(tree.get("/usr/bin/sh"), { kind: "link", target: "busybox" });
  const all = parseRecipe("name: a\n", "a.yaml");
  const everything = composeTree(fakeContents("straight"), composition(all), "a.yaml");
  assert.ok(everything.has("/usr/bin/tool"));
  assert.ok(!everything.has("/usr/share/doc/x"));
  assert.deepEqual(writeCpio(composeTree(fakeContents("reversed"), composition(all), "a.yaml")), writeCpio(everything));
  const unknown = parseRecipe("name: a\ninclude: [/usr/bin/absent]\n", "a.yaml");
  assert.equal(failure(() => composeTree(fakeContents("straight"), composition(unknown), "a.yaml")).code, "RECIPE_PATH_UNKNOWN");
});

test("a module's dependencies are read from the module", () => {
  const facts = (text: string) => new TextEncoder().encode(`\0license=GPL\0${text}\0intree=Y\0`);
  assert.deepEqual(moduleDependencies(facts("depends=failover,net_failover")), ["failover", "net_failover"]);
  assert.deepEqual(moduleDependencies(facts("depends=")), []);
  assert.deepEqual(moduleDependencies(new Uint8Array(10)), []);
});

test("a kernel option that the source drops is named", () => {
  const asked = "CONFIG_A=y\n# a comment\nCONFIG_B=n\nCONFIG_C=y\n";
  assert.doesNotThrow(() => verifyConfiguration(asked, "CONFIG_A=y\nCONFIG_C=y\n"));
  assert.match(failure(() => verifyConfiguration(asked, "CONFIG_A=y\n# CONFIG_C is not set\n")).message, /does not keep CONFIG_C=y/);
});
