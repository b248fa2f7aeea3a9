/** What an installation does is decided purely: the delta of two images, and the course with a crash at each step. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { deltaOf, reversed, type Tree, type TreeEntry } from "../dist/installation/delta.js";
import {
  ATTEMPTS_LIMIT,
  begin,
  step,
  type InstallationEffect,
  type InstallationEvent,
  type InstallationState,
  type Step,
} from "../dist/installation/installation.js";
import { payloadOf } from "../dist/installation/payload.js";
import { inittab, serviceFile } from "../dist/image/guest.js";
import { serviceSchema, type RecipeService } from "../dist/image/recipe.js";
import { sha256 } from "../dist/image/store.js";

const encoder = new TextEncoder();
const file = (text: string, more: { mode?: number; owner?: number } = {}): TreeEntry => {
  return { kind: "file", mode: 0o644, data: encoder.encode(text), ...more };
};
const directory = (mode = 0o755): TreeEntry => ({ kind: "directory", mode });
const service = (name: string, more: object = {}): RecipeService => serviceSchema.parse({ name, command: `/usr/bin/${name} -x`, ...more });

function tree(services: readonly RecipeService[], files: Record<string, TreeEntry> = {}): Tree {
  const all = new Map<string, TreeEntry>(Object.entries(files));
  all.set("/etc/inittab", file(inittab(services)));
  for (const each of services) all.set(`/etc/steadfast/services/${each.name}`, file(serviceFile(each)));
  return all;
}

const noNeeds = (): undefined => undefined;
const text = (payload: ReadonlyMap<string, TreeEntry>, name: string): string[] => {
  const entry = payload.get(name);
  return entry?.kind === "file" ? new TextDecoder().decode(entry.data).split("\n").slice(0, -1) : [];
};

describe("the delta of two images", () => {
  const web = service("web", { reads: ["/etc/web"], reload: "it's 'here'\nkill -HUP $pid" });
  const store = service("store", { reads: ["/etc/store.conf"] });

  test("is empty for equal ones", () => {
    assert.deepEqual(deltaOf(tree([web]), tree([web]), noNeeds), { entries: [], services: [] });
  });

  test("has what was added, replaced and removed, with mode and owner, and leads back", () => {
    const from = tree([], {
      "/a": directory(),
      "/a/old": file("1"),
      "/a/same": file("2"),
      "/a/mode": file("3"),
      "/l": { kind: "link", target: "a" },
    });
    const to = tree([], {
      "/a": directory(0o700),
      "/a/same": file("2"),
      "/a/mode": file("3", { mode: 0o755 }),
      "/b": directory(),
      "/b/new": file("4", { owner: 7 }),
      "/l": { kind: "link", target: "b" },
    });
    const delta = deltaOf(from, to, noNeeds);
    assert.deepEqual(
      delta.entries.map(({ path }) => path),
      ["/a", "/a/mode", "/a/old", "/b", "/b/new", "/l"],
    );
    const payload = payloadOf(delta, from, to, [80], sha256);
    assert.deepEqual(text(payload, "/entries"), [
      "directory 700 0 /a",
      "put - - /a/mode",
      "directory 755 0 /b",
      "put - - /b/new",
      "put - - /l",
      "gone - - /a/old",
    ]);
    assert.deepEqual(text(payload, "/entries-back"), [
      "directory 755 0 /a",
      "put - - /a/mode",
      "put - - /a/old",
      "put - - /l",
      "gone - - /b/new",
      "empty - - /b",
    ]);
    assert.deepEqual(text(payload, "/absent"), ["/b/new"]);
    assert.deepEqual(text(payload, "/before"), [`${sha256("3")}  /a/mode`, `${sha256("1")}  /a/old`]);
    assert.deepEqual(text(payload, "/after"), [`${sha256("3")}  new/a/mode`, `${sha256("4")}  new/b/new`]);
    assert.deepEqual(payload.get("/new/b/new"), to.get("/b/new"));
    assert.deepEqual(text(payload, "/ports"), ["80"]);
    const back = deltaOf(to, from, noNeeds);
    assert.deepEqual(reversed(delta, from), back);
  });

  test("reloads a service whose files changed, restarts one that cannot, and leaves the others alone", () => {
    const files = { "/etc/web/site": file("1"), "/etc/store.conf": file("1"), "/etc/webbing": file("1") };
    const services = [web, store];
    const changed = (path: string) => deltaOf(tree(services, files), tree(services, { ...files, [path]: file("2") }), noNeeds).services;
    assert.deepEqual(changed("/etc/web/site"), [{ name: "web", deed: "reload" }]);
    assert.deepEqual(changed("/etc/store.conf"), [{ name: "store", deed: "restart" }]);
    assert.deepEqual(changed("/etc/webbing"), []);
    assert.deepEqual(changed("/usr/bin/web"), [{ name: "web", deed: "restart" }]);
  });

  test("restarts what loads a library that changed, and what was started otherwise", () => {
    const files = {
      "/usr/bin/web": file("program"),
      "/usr/lib/libone.so": { kind: "link", target: "libone.so.1" } as const,
      "/usr/lib/libone.so.1": file("1"),
    };
    const needs = (bytes: Uint8Array) =>
      new TextDecoder().decode(bytes) === "program" ? { interpreter: undefined, libraries: ["libone.so"] } : undefined;
    const from = tree([web, store], files);
    assert.deepEqual(deltaOf(from, tree([web, store], { ...files, "/usr/lib/libone.so.1": file("2") }), needs).services, [
      { name: "web", deed: "restart" },
    ]);
    const other = service("store", { command: "/usr/bin/store -y", reads: ["/etc/store.conf"] });
    assert.deepEqual(deltaOf(from, tree([web, other], files), needs).services, [{ name: "store", deed: "restart" }]);
    // How it would be reloaded is nothing that a running process knows of.
    const reloaded = service("store", { reads: ["/etc/store.conf"], reload: "true" });
    assert.deepEqual(deltaOf(from, tree([web, reloaded], files), needs).services, []);
  });

  test("starts what is new, stops what is gone, and the other way round on the way back", () => {
    const once = service("once", { restart: "never" });
    const from = tree([web]);
    const delta = deltaOf(from, tree([store, once]), noNeeds);
    assert.deepEqual(delta.services, [
      { name: "web", deed: "stop" },
      { name: "store", deed: "start" },
      { name: "once", deed: "launch" },
    ]);
    assert.deepEqual(
      reversed(delta, from).services.map(({ deed }) => deed),
      ["start", "stop", "stop"],
    );
  });

  test("refuses what a running guest cannot be changed into", () => {
    const refused = (before: Record<string, TreeEntry>, after: Record<string, TreeEntry>, why: RegExp): void => {
      assert.throws(() => deltaOf(tree([], before), tree([], after), noNeeds), why);
    };
    refused({}, { "/usr/lib/modules/6.1/x.ko": file("1") }, /only when the guest starts/);
    refused({ "/etc/modules-load": file("1") }, { "/etc/modules-load": file("2") }, /only when the guest starts/);
    refused({ "/a": file("1") }, { "/a": directory() }, /from a file into a directory/);
    refused({}, { "/dev/x": { kind: "device", mode: 0o600, major: 1, minor: 2 } }, /device node/);
    refused({}, { "/a\nb": file("1") }, /name that a running guest cannot be told/);
    assert.throws(() => deltaOf(tree([web]), tree([service("web", { restart: "never" })]), noNeeds), /whether the service web/);
  });
});

/** A guest as the protocol sees it, with effects that may be cut at any point. */
class World {
  files: "old" | "mixed" | "new" = "old";
  services: "old" | "mixed" | "new" = "old";
  boots: "old" | "new" = "old";
  staged = false;
  over: InstallationState | null = null;

  /** `isCut`: the leader dies in the middle of it. Returns what it would have heard. */
  carryOut(effect: InstallationEffect, state: InstallationState, isCut: boolean, fails: boolean): InstallationEvent {
    switch (effect) {
      case "stage":
        this.staged = !isCut;
        break;
      case "switch":
      case "undo":
        if (!this.staged) return { kind: "failed", why: "nothing is staged" };
        this.files = isCut || fails ? "mixed" : effect === "switch" ? "new" : "old";
        break;
      case "apply":
      case "revert":
        if (!this.staged) return { kind: "failed", why: "nothing is staged" };
        this.services = isCut || fails ? "mixed" : effect === "apply" ? "new" : "old";
        break;
      case "commit":
        if (this.boots === "new") return { kind: "done" };
        if (!isCut && !fails) this.boots = "new";
        break;
      case "verify":
      case "check":
        break;
      case "clean":
        if (!isCut) this.staged = false;
        break;
      case "powerCycle":
        this.powerCycle();
        break;
      case "end":
        this.over = state;
        break;
    }
    return fails ? { kind: "failed", why: "planted" } : { kind: "done" };
  }

  powerCycle(): void {
    this.files = this.services = this.boots;
    this.staged = false;
  }
}

type Trouble = "none" | "crash" | "crashAfter" | "fail" | "silent" | "restart";

/** Runs an installation; at its `at`-th effect there is trouble. */
function course(troubles: ReadonlyMap<number, Trouble>): { world: World; seen: InstallationEffect[] } {
  const world = new World();
  const seen: InstallationEffect[] = [];
  let next: Step = begin();
  for (let count = 0; world.over === null; count += 1) {
    assert.ok(count < 100, "it ends");
    const { state, effects } = next;
    let event: InstallationEvent = { kind: "done" };
    for (const effect of effects) {
      const trouble = troubles.get(seen.length) ?? "none";
      seen.push(effect);
      event = world.carryOut(effect, state, trouble === "crash", trouble === "fail");
      if (trouble === "crash" || trouble === "crashAfter") event = { kind: "resumed" };
      if (trouble === "silent") event = { kind: "unanswered", why: "planted" };
      if (trouble === "restart") {
        world.powerCycle();
        event = { kind: "guestRestarted", isRecorded: world.boots === "new" };
      }
      if (world.over !== null && trouble !== "none") world.over = state;
    }
    if (world.over === null) next = step(state, event);
  }
  return { world, seen };
}

function assertWhole({ world, seen }: ReturnType<typeof course>): void {
  const { outcome } = world.over as InstallationState;
  const wanted = outcome === "installed" ? "new" : "old";
  assert.deepEqual([world.files, world.services, world.boots], [wanted, wanted, wanted], `${outcome}: ${seen.join(" ")}`);
  assert.equal(outcome === "installed", (world.over as InstallationState).why === null);
}

describe("the course of an installation", () => {
  const troubles = ["crash", "crashAfter", "fail", "silent", "restart"] as const;

  test("without trouble", () => {
    const done = course(new Map());
    assert.deepEqual(done.seen, ["stage", "verify", "switch", "apply", "check", "commit", "clean", "end"]);
    assertWhole(done);
    assert.equal(done.world.over?.outcome, "installed");
  });

  for (const trouble of troubles) {
    test(`${trouble} at each step: all of the change or nothing of it`, () => {
      for (let at = 0; at < 8; at += 1) {
        const done = course(new Map([[at, trouble]]));
        assertWhole(done);
        if (trouble === "crash" || trouble === "crashAfter" || trouble === "silent") assert.equal(done.world.over?.outcome, "installed");
      }
    });
  }

  test("two troubles at any two steps", () => {
    for (const first of troubles)
      for (const second of troubles)
        for (let at = 0; at < 8; at += 1)
          for (let later = at + 1; later < 12; later += 1)
            assertWhole(
              course(
                new Map([
                  [at, first],
                  [later, second],
                ]),
              ),
            );
  });

  test("a failure before the guest's files are touched leaves nothing to take back; one after it takes back what was done", () => {
    assert.deepEqual(course(new Map([[1, "fail"]])).seen, ["stage", "verify", "clean", "end"]);
    assert.deepEqual(course(new Map([[2, "fail"]])).seen, ["stage", "verify", "switch", "undo", "clean", "end"]);
    const late = course(new Map([[4, "fail"]]));
    assert.deepEqual(late.seen, ["stage", "verify", "switch", "apply", "check", "undo", "revert", "clean", "end"]);
    assert.deepEqual([late.world.over?.outcome, late.world.over?.why], ["rolledBack", "planted"]);
  });

  test("a way back that fails ends in a power cycle, which boots what is recorded", () => {
    const done = course(
      new Map([
        [4, "fail"],
        [5, "fail"],
      ]),
    );
    assert.deepEqual(done.seen.slice(-2), ["powerCycle", "end"]);
    assertWhole(done);
  });

  test("a guest that never answers is asked so often", () => {
    const silent = new Map<number, Trouble>(Array.from({ length: ATTEMPTS_LIMIT }, (_, index) => [index, "silent"]));
    assert.deepEqual(course(silent).seen, ["stage", "stage", "stage", "clean", "end"]);
  });
});
