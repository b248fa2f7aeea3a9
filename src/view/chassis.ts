/** The server as a piece of hardware: enclosures, what is plugged into each, and what their lights say. */
import { MIB } from "../foundation/bytes.js";
import type { MirrorState, ModuleState, Redundancy, ReintegrationProgress } from "../wire/control.js";
import type { ModuleView, ReportView } from "./report.js";

/** Shape and colour of a light. Each has a shape of its own, so that no meaning is in the colour alone. */
export type Lamp = "good" | "working" | "alone" | "fault" | "off";

export interface Progress {
  readonly label: string;
  /** 0 to 1; null: no end is known. */
  readonly share: number | null;
}

export interface ModuleCard {
  readonly module: ModuleView;
  readonly title: string;
  readonly lamp: Lamp;
  readonly stateText: string;
  /** One sentence; empty: nothing to add. */
  readonly note: string;
  readonly progress: Progress | null;
  /** What is beside the name: `drives the guest`, `leads`. */
  readonly badge: string;
  readonly facts: readonly (readonly [label: string, value: string])[];
}

export interface MirrorCard {
  readonly name: string;
  readonly lamp: Lamp;
  readonly stateText: string;
  readonly faults: number;
  readonly progress: Progress | null;
}

export interface EnclosureCard {
  readonly name: string;
  readonly safeToPull: boolean;
  /** Nothing in it runs, because it was pulled. */
  readonly isOut: boolean;
  readonly modules: readonly ModuleCard[];
  readonly mirrors: readonly MirrorCard[];
}

const KIND_TITLES = { cpu: "CPU", io: "I/O", management: "Management" } as const;
const KIND_ORDER = ["cpu", "io", "management"] as const;

export function lampOf(state: ModuleState): Lamp {
  switch (state) {
    case "DUPLEX":
    case "TRIPLEX":
      return "good";
    case "SIMPLEX":
      return "alone";
    case "INITIALIZING":
    case "DIAGNOSTICS":
      return "working";
    case "SHOT":
    case "BROKEN":
      return "fault";
    case "EMPTY":
    case "OFFLINE":
      return "off";
  }
}

const STATE_NOTES: Readonly<Record<ModuleState, string>> = {
  EMPTY: "Nothing is plugged in here.",
  INITIALIZING: "It starts.",
  DIAGNOSTICS: "It is being tested.",
  OFFLINE: "It does not run.",
  SIMPLEX: "It works alone: nothing would carry on without it.",
  DUPLEX: "",
  TRIPLEX: "",
  SHOT: "It was isolated after a fault and is being replaced.",
  BROKEN: "It failed too often and stays out until you clear its faults.",
};

export function progressOf(progress: ReintegrationProgress): Progress {
  const { phase, donor, pagesSent, pagesRemaining, ticksBehind } = progress;
  const total = pagesSent + pagesRemaining;
  if (phase === "copying") return { label: `copying memory from ${donor}`, share: total === 0 ? 0 : pagesSent / total };
  if (phase === "restoring") return { label: "restoring the exact image", share: null };
  return { label: `catching up, ${ticksBehind} ticks behind`, share: null };
}

function noteOf(module: ModuleView): string {
  if (module.held) return "Pulled: it is held out until you insert it.";
  return STATE_NOTES[module.state];
}

const UNKNOWN = "–";

/** The same rows in every state, so that nothing on the panel moves when a module goes or comes. */
function factsOf(module: ModuleView): [string, string][] {
  const { kind, mips, load, lagTicks, rssBytes, faults, pid } = module;
  const ofCpu: [string, string][] = [
    ["Speed", mips === undefined ? UNKNOWN : `${Math.round(mips)} MIPS`],
    ["Load", load === undefined ? UNKNOWN : `${Math.round(100 * load)} %`],
    ["Lag", pid === 0 ? UNKNOWN : `${lagTicks} ticks`],
  ];
  return [
    ...(kind === "cpu" ? ofCpu : []),
    ["Memory", rssBytes === 0 ? UNKNOWN : `${Math.round(rssBytes / MIB)} MiB`],
    ["Faults", String(faults)],
    ["Process", pid === 0 ? UNKNOWN : String(pid)],
  ];
}

export function moduleCard(module: ModuleView): ModuleCard {
  return {
    module,
    title: KIND_TITLES[module.kind],
    lamp: lampOf(module.state),
    stateText: module.held ? "PULLED" : module.state,
    note: noteOf(module),
    progress: module.progress === undefined ? null : progressOf(module.progress),
    badge: module.isActive === true ? "drives the guest" : module.kind === "io" && module.pid > 0 ? "stands by" : "",
    facts: factsOf(module),
  };
}

const MIRROR_LAMPS: Readonly<Record<MirrorState, Lamp>> = {
  absent: "off",
  waiting: "working",
  resync: "working",
  joining: "working",
  "in sync": "good",
  failed: "fault",
};

function mirrorCards(report: ReportView, names: readonly string[]): MirrorCard[] {
  const { disk } = report;
  if (disk === null) return [];
  return names.flatMap((name) => {
    const mirror = disk.mirrors[name];
    if (mirror === undefined) return [];
    const resync = disk.resync?.target === name ? disk.resync : null;
    const share = resync === null || resync.totalBytes === 0 ? null : resync.doneBytes / resync.totalBytes;
    const progress = resync === null ? null : { label: resync.isFull ? "copying the whole disk" : "copying what changed", share };
    return [{ name, lamp: MIRROR_LAMPS[mirror.state], stateText: mirror.state.toUpperCase(), faults: mirror.faults, progress }];
  });
}

export function enclosureCards(report: ReportView): EnclosureCard[] {
  return report.enclosures.map(({ name, safeToPull }) => {
    const inside = report.modules.filter((module) => module.enclosure === name);
    const ordered = KIND_ORDER.flatMap((kind) => inside.filter((module) => module.kind === kind));
    const ioNames = ordered.filter((module) => module.kind === "io").map((module) => module.name);
    return {
      name,
      safeToPull,
      isOut: inside.length > 0 && inside.every((module) => module.held),
      modules: ordered.map(moduleCard),
      mirrors: mirrorCards(report, ioNames),
    };
  });
}

export interface Headline {
  readonly word: string;
  readonly lamp: Lamp;
  readonly sentence: string;
}

const REDUNDANCY_SENTENCES: Readonly<Record<Redundancy, string>> = {
  OUTAGE: "The guest runs nowhere. It is powered on again as soon as a CPU module is there.",
  SIMPLEX: "One CPU module carries the guest. Another fault would stop it.",
  DUPLEX: "Two CPU modules compute the same at every step; either may fail.",
  TRIPLEX: "Three CPU modules vote on every step; any one may fail or compute wrongly.",
  PAIR_AND_SPARE: "Two pairs check themselves; a pair that disagrees drops out and the other carries on.",
};

/** Of the hardware only: what the guest's software does is told beside it. */
export function headline(report: ReportView): Headline {
  const { redundancy, wantedRedundancy, counters } = report;
  if (redundancy === "OUTAGE" && counters.outages === 0)
    return { word: "STARTING", lamp: "working", sentence: "The modules start; the guest has not run yet." };
  const lamp = redundancy === wantedRedundancy ? "good" : redundancy === "OUTAGE" ? "fault" : "alone";
  const missing = redundancy === wantedRedundancy ? "" : ` It should be ${wantedRedundancy.replaceAll("_", " ")}.`;
  return { word: redundancy.replaceAll("_", " "), lamp, sentence: REDUNDANCY_SENTENCES[redundancy] + missing };
}

const GUEST_SENTENCES = {
  off: ["off", "It is powered off."],
  booting: ["working", "It boots; its network does not answer yet."],
  reachable: ["working", "Its network answers; it has not reported that its services are up."],
  ready: ["good", "Its network and its services are up."],
  degraded: ["alone", "One of its services is down. No module is to blame: look into the guest."],
  hung: ["fault", "Nothing in it answers. No module is to blame: its own software hangs on all of them alike."],
} as const;

export function guestHeadline(report: ReportView): Headline {
  const [lamp, sentence] = GUEST_SENTENCES[report.guest];
  return { word: report.guest, lamp, sentence };
}

export interface CertificationCard {
  readonly lamp: Lamp;
  readonly word: string;
  readonly details: readonly (readonly [string, string])[];
}

const CERTIFICATION_LAMPS = { certified: "good", base: "good", uncertified: "alone", expired: "alone", altered: "fault" } as const;

/** Null: the server says nothing of it. */
export function certificationCard(report: ReportView): CertificationCard | null {
  const certification = report.certification;
  if (certification === undefined || certification === null) return null;
  const { state, level, expiresAt, reason, since } = certification;
  const details = [
    ["Level", level],
    ["Valid until", expiresAt?.slice(0, 10)],
    ["Reason", reason],
    ["Since", since.slice(0, 10)],
  ].flatMap(([label, value]): [string, string][] => (label === undefined || value === undefined ? [] : [[label, value]]));
  return { lamp: CERTIFICATION_LAMPS[state], word: state, details };
}

/** "premium, warranty until 2029-12-31, +49 30 000000"; null: no support plan. `day`: a time in ms since 1970 as a date. */
export function supportText({ support }: ReportView, day: (ms: number) => string): string | null {
  if (support === undefined || support === null) return null;
  const { level, warranty, warrantyFromMs, warrantyUntilMs, contact } = support;
  const when = {
    upcoming: `from ${day(warrantyFromMs)}`,
    running: `until ${day(warrantyUntilMs)}`,
    ended: `ended on ${day(warrantyUntilMs)}`,
  };
  return [level, `warranty ${when[warranty]}`, ...(contact === "" ? [] : [contact])].join(", ");
}
