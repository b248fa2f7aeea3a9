/** `steadfast support plan`: what level of support and warranty a server has. Set once, when it is bought; raised while the warranty runs. */
import { existsSync } from "node:fs";
import type { Command } from "commander";
import { SteadfastError } from "../foundation/errors.js";
import { makeServerDirectories } from "../modules/management-paths.js";
import { CONTACT_LENGTH_MAX, readSupportPlan, writeSupportPlan } from "../modules/support-plan-file.js";
import { PLAN_LEVELS, purchasedPlan, standingOf, upgradedPlan, upgradeRefusal, type PlanLevel, type SupportPlan } from "../support/plan.js";
import { dayText, printJson, printLines } from "./output.js";
import { planLine } from "./report-view.js";
import { chosenServer, withServerOptions, type ServerFlags } from "./server-choice.js";

interface PurchaseFlags extends ServerFlags {
  readonly until: string;
  readonly from?: string;
  readonly contact?: string;
}

const DATE_PATTERN = /^\d{4}-\d{2}-\d{2}$/;

/** Midnight, UTC. */
function dateMs(option: string, text: string): number {
  const ms = DATE_PATTERN.test(text) ? Date.parse(`${text}T00:00:00Z`) : NaN;
  // 2026-02-30 is taken for a day of March by some parsers.
  if (Number.isNaN(ms) || dayText(ms) !== text) throw new SteadfastError("PLAN_DATE", { option, value: text });
  return ms;
}

function levelOf(text: string): PlanLevel {
  const level = PLAN_LEVELS.find((each) => each === text);
  if (level === undefined) throw new SteadfastError("PLAN_LEVEL", { value: text });
  return level;
}

function show(plan: SupportPlan | null, server: string, flags: ServerFlags): void {
  if (flags.json === true) return printJson(plan === null ? null : { ...standingOf(plan, Date.now()), history: plan.history });
  if (plan === null)
    return printLines([`Server ${server} has no support plan; \`steadfast support plan purchase LEVEL --until DATE\` sets one.`]);
  const steps = plan.history.map(({ atMs, level }, index) => {
    return `  ${dayText(atMs)}  ${index === 0 ? "purchased as" : "raised to"} ${level}`;
  });
  printLines([planLine(standingOf(plan, Date.now())), ...steps]);
}

function showPlan(flags: ServerFlags): void {
  const { server, paths } = chosenServer(flags);
  show(readSupportPlan(paths.supportPlanFile), server, flags);
}

function purchase(level: string, flags: PurchaseFlags): void {
  const { server, paths } = chosenServer(flags);
  const nowMs = Date.now();
  const warrantyFromMs = flags.from === undefined ? nowMs : dateMs("--from", flags.from);
  const warrantyUntilMs = dateMs("--until", flags.until);
  const contact = flags.contact ?? "";
  if (contact.length > CONTACT_LENGTH_MAX || /[\x00-\x1f\x7f]/.test(contact))
    throw new SteadfastError("PLAN_CONTACT", { limit: CONTACT_LENGTH_MAX });
  if (warrantyUntilMs <= warrantyFromMs || warrantyUntilMs <= nowMs)
    throw new SteadfastError("PLAN_WARRANTY_EMPTY", { until: flags.until });
  if (existsSync(paths.supportPlanFile)) throw new SteadfastError("PLAN_THERE", { server, path: paths.supportPlanFile });
  const plan = purchasedPlan({ level: levelOf(level), warrantyFromMs, warrantyUntilMs, contact }, nowMs);
  makeServerDirectories(paths);
  writeSupportPlan(paths.supportPlanFile, plan);
  show(plan, server, flags);
}

function upgrade(text: string, flags: ServerFlags): void {
  const { server, paths } = chosenServer(flags);
  const level = levelOf(text);
  const plan = readSupportPlan(paths.supportPlanFile);
  if (plan === null) throw new SteadfastError("PLAN_NONE", { server });
  const refusal = upgradeRefusal(plan, level, Date.now());
  if (refusal === "lower") throw new SteadfastError("PLAN_LOWER", { level, present: plan.level });
  if (refusal !== null) {
    const ms = refusal === "ended" ? plan.warrantyUntilMs : plan.warrantyFromMs;
    const why = `${refusal === "ended" ? "ended" : "begins only"} on ${dayText(ms)}`;
    throw new SteadfastError("PLAN_WARRANTY", { server, why });
  }
  const raised = upgradedPlan(plan, level, Date.now());
  writeSupportPlan(paths.supportPlanFile, raised);
  show(raised, server, flags);
}

export function addPlanCommands(support: Command): void {
  const plan = support.command("plan").description("the level of support and warranty of a server");
  withServerOptions(plan.command("show", { isDefault: true }))
    .description("show both, and how they came to be")
    .action(showPlan);
  withServerOptions(plan.command("purchase"))
    .description("set what was bought with the server, once")
    .argument("<level>", PLAN_LEVELS.join(", "))
    .requiredOption("--until <date>", "when the warranty ends, such as 2029-12-31")
    .option("--from <date>", "when it begins (default: now)")
    .option("--contact <text>", "whom the vendor named for this server")
    .action(purchase);
  withServerOptions(plan.command("upgrade"))
    .description("raise the level; while the warranty runs, and not after")
    .argument("<level>", PLAN_LEVELS.slice(1).join(", "))
    .action(upgrade);
}
