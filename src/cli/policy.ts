/** `steadfast policy check`: whether an image keeps a hardening policy. */
import type { Command } from "commander";
import { imageFacts } from "../certification/policy-facts.js";
import { policyViolations } from "../certification/policy-rules.js";
import { loadPolicy, policyDigest } from "../certification/policy.js";
import { SteadfastError } from "../foundation/errors.js";
import { findImage } from "../image/index.js";
import type { JsonFlag } from "./certificate.js";
import { paint, printJson, printLines, table } from "./output.js";

interface CheckFlags extends JsonFlag {
  readonly policy?: string;
}

const EXIT_VIOLATED = 1;

function check(image: string, flags: CheckFlags): void {
  const found = /^(sha256:)?[0-9a-f]{4,64}$/.test(image) ? findImage({ digest: image.replace(/^sha256:/, "") }) : undefined;
  if (found === undefined) throw new SteadfastError("CHANGE_BASE_UNKNOWN", { base: image });
  const policy = loadPolicy(flags.policy);
  const violations = policyViolations(policy, imageFacts(found));
  const digest = policyDigest(policy);
  if (violations.length > 0) process.exitCode = EXIT_VIOLATED;
  if (flags.json === true) return printJson({ image: found.digest, policy: { name: policy.name, digest }, violations });
  if (violations.length === 0)
    printLines([`${paint("kept", "green")}: ${found.name} ${found.digest} keeps the policy ${policy.name} ${digest}`]);
  else
    printLines([
      ...table(violations.map(({ rule, what, where, mend }) => [paint(rule, "red"), what, where, mend])),
      `policy ${policy.name} ${digest}`,
    ]);
}

export function addPolicyCommand(program: Command): void {
  program
    .command("policy")
    .description("hardening policies of guest images")
    .command("check")
    .argument("<image>", "its digest, or the beginning of one")
    .option("--policy <file>", "another policy than the one that comes with Steadfast")
    .option("--json", "print violations and errors as JSON")
    .description("check an image against a hardening policy, without starting it")
    .addHelpText("after", "\nExamples:\n  steadfast policy check 49bd83e7\n  steadfast policy check 49bd83e7 --policy own.yaml --json\n")
    .action(check);
}
