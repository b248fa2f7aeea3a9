/** Grades an image, and the guest that runs it, by a hardening policy. */
import { GUEST_FACTS_COMMAND, imageFacts, parseGuestFacts } from "../certification/policy-facts.js";
import { policyViolations } from "../certification/policy-rules.js";
import type { Policy } from "../certification/policy.js";
import { SteadfastError } from "../foundation/errors.js";
import type { ImageRecord } from "../image/index.js";
import { grade, type Grade } from "./grading/report.js";
import { scriptInGuest } from "./guest.js";
import type { SuiteServer } from "./suite-servers.js";

/** All files of the guest are looked at. */
const FACTS_LIMIT_SECONDS = 120;

/**
 * `start`: a server with the image; null, when the guest could not be started. An image whose files break the policy is not started for
 * this: without a driver it would not stand anyway, and that takes minutes to see.
 */
export async function gradeHardening(policy: Policy, image: ImageRecord, start: () => Promise<SuiteServer | null>): Promise<Grade> {
  const facts = imageFacts(image);
  const server = policyViolations(policy, facts).length > 0 ? null : await start();
  const said = server === null ? undefined : await scriptInGuest(server, GUEST_FACTS_COMMAND, FACTS_LIMIT_SECONDS);
  const guest = said === undefined ? undefined : parseGuestFacts(said);
  if (server !== null && guest === undefined)
    throw new SteadfastError("QUALIFICATION_STATE", { server: server.name, what: "tell the facts that the policy asks for" });
  const violations = policyViolations(policy, facts, guest);
  const problems = violations.map(({ rule, what, where, mend }) => `${rule}: ${what} (${where}): ${mend}`);
  const looked = guest === undefined ? "the image keeps" : "the image and the running guest keep";
  return grade(problems, `${looked} the policy ${policy.name}`, [{ name: "violations", value: violations.length, unit: "", limit: "0" }]);
}
