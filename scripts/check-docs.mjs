// Compares the reference with the program: every error of the registry, with exit code and sentence, in docs/reference/errors.md, every
// event with what it means in events.md, every state in states.md, and every command with all its options in cli.md. `--write` writes
// errors.md and events.md anew.
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { ERRORS } = await import(join(root, "dist/foundation/errors.js"));
const { makeProgram } = await import(join(root, "dist/cli/main.js"));
const { EXPLAINED_CODES, explanationOf } = await import(join(root, "dist/view/explanations.js"));
const { redundancySchema, moduleStateSchema, guestStateSchema, mirrorStateSchema } = await import(join(root, "dist/api/answers.js"));
const { CERTIFICATION_STATES } = await import(join(root, "dist/certification/standing.js"));
const problems = [];

/** Sections of states.md, and what each has a row for. */
const STATES = {
  Redundancy: redundancySchema.options,
  Modules: moduleStateSchema.options,
  "The guest": guestStateSchema.options,
  "Mirrors of the disk": mirrorStateSchema.options,
  Certification: CERTIFICATION_STATES,
};

const EXIT_MEANINGS = {
  2: "wrong usage, server file, recipe or configuration",
  3: "something on this host is missing or in the way",
  4: "the server is not in a state for this",
  5: "a guest image, kernel or program could not be made or used",
};

function errorsPage() {
  const lines = ["# Errors", ""];
  lines.push(
    "Every error that an operator can see, by exit code. A word in braces is replaced by the case at hand. With `--json` a command",
  );
  lines.push(
    'prints `{"error": {"code", "message"}}` instead of the sentence. Exit code 1 is a defect of Steadfast itself, or a check (`verify`,',
  );
  lines.push("`bench`) that did not hold.", "");
  for (const [exit, meaning] of Object.entries(EXIT_MEANINGS)) {
    lines.push(`## Exit code ${exit}: ${meaning}`, "");
    const codes = Object.keys(ERRORS).filter((code) => ERRORS[code].exit === Number(exit));
    for (const code of codes.sort()) lines.push(`- \`${code}\`: ${ERRORS[code].text}`);
    lines.push("");
  }
  return lines.join("\n");
}

function eventsPage() {
  const lines = ["# Events", ""];
  lines.push("What `steadfast events`, the API and the console tell, by code: what it means, and what is to be done, if anything.", "");
  for (const code of [...EXPLAINED_CODES].sort()) {
    const { title, meaning, advice } = explanationOf(code);
    lines.push(`- \`${code}\`: **${title}.** ${meaning}${advice === "" ? "" : ` ${advice}`}`);
  }
  return `${lines.join("\n")}\n`;
}

/** A page that is made of the program. */
function checkPage(name, wanted) {
  const path = join(root, "docs/reference", name);
  if (process.argv.includes("--write")) writeFileSync(path, wanted);
  if (readFileSync(path, "utf8") !== wanted)
    problems.push(`docs/reference/${name} differs from the program: node scripts/check-docs.mjs --write`);
}

function checkStates() {
  const page = readFileSync(join(root, "docs/reference/states.md"), "utf8");
  for (const [heading, states] of Object.entries(STATES)) {
    const section = page.split(/^## /m).find((each) => each.startsWith(`${heading}\n`)) ?? "";
    const rows = [...section.matchAll(/^\| `([^`]+)`/gm)].map((match) => match[1]);
    if ([...rows].sort().join() !== [...states].sort().join())
      problems.push(`docs/reference/states.md, ${heading}: it has ${rows.join(", ")} instead of ${states.join(", ")}`);
  }
}

/** Sections of cli.md by the commands in their headings; a heading may name several. */
function sections() {
  const found = new Map();
  let current = [];
  for (const line of readFileSync(join(root, "docs/reference/cli.md"), "utf8").split("\n")) {
    if (/^#/.test(line)) current = [...line.matchAll(/`steadfast ([a-z ]+)`/g)].map((match) => match[1].trim());
    for (const name of current) found.set(name, `${found.get(name) ?? ""}${line}\n`);
  }
  return found;
}

function checkCommand(command, path, documented) {
  for (const child of command.commands) {
    if (child.name() === "help") continue;
    const name = path === "" ? child.name() : `${path} ${child.name()}`;
    if (child.commands.length > 0) {
      checkCommand(child, name, documented);
      continue;
    }
    const section = documented.get(name);
    documented.delete(name);
    if (section === undefined) {
      problems.push(`docs/reference/cli.md has no heading \`steadfast ${name}\``);
      continue;
    }
    const options = child.options.map((option) => option.long ?? option.short);
    for (const option of options) {
      if (!new RegExp(`^- \`(-[a-z], )?${option}[ \`]`, "m").test(section))
        problems.push(`docs/reference/cli.md: \`steadfast ${name}\` does not tell about ${option}`);
    }
    for (const [, option] of section.matchAll(/^- `(?:-[a-z], )?(--[a-z-]+)/gm)) {
      if (!options.includes(option)) problems.push(`docs/reference/cli.md: \`steadfast ${name}\` has no option ${option} any more`);
    }
  }
}

checkPage("errors.md", errorsPage());
checkPage("events.md", eventsPage());
checkStates();
const documented = sections();
checkCommand(await makeProgram(undefined, false), "", documented);
for (const name of documented.keys()) problems.push(`docs/reference/cli.md tells about \`steadfast ${name}\`, which does not exist`);
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exit(1);
console.log("The reference agrees with the program.");
