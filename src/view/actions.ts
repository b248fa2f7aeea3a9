/** What an operator can ask for: the request, and the sentence that says beforehand what will happen. */
import type { ModuleKind } from "../wire/control.js";
import type { EnclosureCard } from "./chassis.js";
import type { ModuleView, ReportView } from "./report.js";

export interface Action {
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface Confirmation {
  readonly title: string;
  /** One paragraph each. */
  readonly consequences: readonly string[];
  readonly confirmLabel: string;
  /** It may stop the guest: the operator must tick a box that says this. Null: it does not. */
  readonly risk: string | null;
  readonly action: Action;
}

const KIND_WORDS: Readonly<Record<ModuleKind, string>> = { cpu: "CPU module", io: "I/O module", management: "management module" };

function lossOf(module: ModuleView, report: ReportView): string {
  const others = report.modules
    .filter((each) => each.kind === module.kind && each.name !== module.name && each.pid > 0)
    .map((each) => each.name);
  const rest = others.length === 0 ? "nothing" : others.join(" and ");
  switch (module.kind) {
    case "cpu":
      return `${rest} goes on with the guest, which notices nothing.`;
    case "io":
      return module.isActive === true
        ? `${rest} takes the place of ${module.name} within milliseconds; the guest's connections go on.`
        : "It stands by; the guest notices nothing. Its mirror of the disk falls behind and is brought in sync afterwards.";
    case "management":
      return `${rest} watches over the modules alone. The guest does not depend on it. If it served this page, the page reconnects.`;
  }
}

function unsafeText(name: string): string {
  return `${name} is not safe to pull: nothing could carry on without it, and the guest would stop.`;
}

export function pullModule(module: ModuleView, report: ReportView): Confirmation {
  const stays = "It is held out until you insert it again.";
  return {
    title: `Pull ${module.name}?`,
    consequences: module.safeToPull
      ? [`The ${KIND_WORDS[module.kind]} is taken out of ${module.enclosure}: ${lossOf(module, report)}`, stays]
      : [unsafeText(module.name), stays],
    confirmLabel: `Pull ${module.name}`,
    risk: module.safeToPull ? null : "I know that the guest may stop",
    action: { path: `/modules/${module.name}/pull`, body: { force: !module.safeToPull } },
  };
}

export function pullEnclosure({ name, safeToPull, modules }: EnclosureCard): Confirmation {
  const inside = modules.map(({ module }) => module.name).join(", ");
  return {
    title: `Pull all of ${name}?`,
    consequences: [
      `${inside} and what else is in it go at once, as when its power cable is pulled.`,
      safeToPull ? "The other enclosure carries on; the guest notices nothing." : unsafeText(name),
      "It is held out until you insert it again.",
    ],
    confirmLabel: `Pull ${name}`,
    risk: safeToPull ? null : "I know that the guest may stop",
    action: { path: `/modules/${name}/pull`, body: { force: !safeToPull } },
  };
}

export function insertTarget(name: string): Confirmation {
  return {
    title: `Insert ${name}?`,
    consequences: ["It starts, gets an exact copy of what the others have while the guest goes on, and is in lockstep again after that."],
    confirmLabel: `Insert ${name}`,
    risk: null,
    action: { path: `/modules/${name}/insert`, body: {} },
  };
}

export function clearModule(module: ModuleView): Confirmation {
  return {
    title: `Clear the faults of ${module.name}?`,
    consequences: [
      `Its ${module.faults} faults are forgotten: you say that it is good again.`,
      ...(module.state === "BROKEN" ? ["It is started again and brought back."] : []),
    ],
    confirmLabel: `Clear ${module.name}`,
    risk: null,
    action: { path: `/modules/${module.name}/clear`, body: {} },
  };
}

export interface Drill {
  readonly kind: string;
  readonly title: string;
  readonly what: string;
  /** Kinds of module that it can be done to. */
  readonly modules: readonly ModuleKind[];
}

const ANY: readonly ModuleKind[] = ["cpu", "io", "management"];

/** A test compares these with the drills that the server knows. */
export const DRILLS: readonly Drill[] = [
  { kind: "kill", title: "Kill it", what: "Its process ends at once, as when its power fails.", modules: ANY },
  { kind: "hang", title: "Hang it", what: "Its process stops without ending; it is found by its silence and ended.", modules: ANY },
  {
    kind: "flip",
    title: "Flip a bit of memory",
    what: "One random bit of the guest's memory changes in this module only. It sleeps until it is found by a comparison or the memory check.",
    modules: ["cpu"],
  },
  {
    kind: "corrupt-output",
    title: "Damage an output",
    what: "Its next output is damaged. The comparison finds it before it leaves the server.",
    modules: ["cpu"],
  },
  {
    kind: "skew-clock",
    title: "Give it a wrong time",
    what: "Its next step sees another time than the others', so that it computes something else.",
    modules: ["cpu"],
  },
  {
    kind: "bit-rot",
    title: "Rot a block",
    what: "A block of its mirror changes on the disk by itself; a checksum finds it.",
    modules: ["io"],
  },
  { kind: "lost-write", title: "Lose a write", what: "Its disk says that it wrote the next block, and did not.", modules: ["io"] },
  { kind: "torn-write", title: "Tear a write", what: "Its disk writes only a part of the next block.", modules: ["io"] },
  { kind: "misdirected-write", title: "Misdirect a write", what: "Its disk writes the next block to a wrong place.", modules: ["io"] },
  {
    kind: "disk-errors",
    title: "Let its disk fail",
    what: "Its disk answers every request with an error until it is healed.",
    modules: ["io"],
  },
  { kind: "disk-full", title: "Let its disk be full", what: "Its disk has no room for a write until it is healed.", modules: ["io"] },
  { kind: "disk-slow", title: "Slow its disk down", what: "Its disk takes seconds for each request until it is healed.", modules: ["io"] },
  { kind: "disk-heal", title: "Heal its disk", what: "Ends the disk drills; the mirror is brought in sync again.", modules: ["io"] },
];

export function drillsFor(module: ModuleView, report: ReportView): Drill[] {
  const isDisk = (drill: Drill): boolean => drill.modules.length === 1 && drill.modules[0] === "io";
  return DRILLS.filter((drill) => drill.modules.includes(module.kind) && (report.disk !== null || !isDisk(drill)));
}

export function drillModule(drill: Drill, module: ModuleView, report: ReportView): Confirmation {
  const outcome = module.safeToPull ? `What will happen: ${lossOf(module, report)}` : unsafeText(module.name);
  return {
    title: `Fault drill on ${module.name}`,
    consequences: [
      drill.what,
      drill.kind === "disk-heal" ? "Nothing else changes." : outcome,
      "A drill does not count as a fault of the module.",
    ],
    confirmLabel: `${drill.title}: ${module.name}`,
    risk: module.safeToPull || drill.kind === "disk-heal" ? null : "I know that the guest may stop",
    action: { path: "/faults", body: { kind: drill.kind, module: module.name, ...(drill.kind === "flip" && { random: true }) } },
  };
}

export function guestPower(action: "off" | "reset"): Confirmation {
  return {
    title: action === "off" ? "Press the guest's power button?" : "Power-cycle the guest?",
    consequences:
      action === "off"
        ? ["The guest shuts down in its own way. The server stops with it."]
        : ["The guest is switched off and on at once: what it has not written to its disk is gone."],
    confirmLabel: action === "off" ? "Press the power button" : "Power-cycle",
    risk: action === "off" ? "I know that the server stops" : "I know that the guest is interrupted",
    action: { path: "/power", body: { action } },
  };
}
