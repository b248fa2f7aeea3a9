/** What left a simulated server. */
import { utf8Decode } from "../foundation/bytes.js";
import type { MachineOutput } from "../machine/machine.js";

/** What left the server, in order; and what happened in between that gives it another meaning. */
export type Release =
  /** `late`: by a sequencer that another one has overtaken already. */
  | { readonly kind: "output"; readonly output: MachineOutput; readonly late: boolean }
  /** Another sequencer took over: what was under way may be released again. */
  | { readonly kind: "resumed" }
  | { readonly kind: "outage" }
  /** A new life of the guest begins. */
  | { readonly kind: "poweredOn" }
  /** From here on nothing can be told of outputs (InjectedErrors.lostBy). */
  | { readonly kind: "truthLost" };

export function outputText(output: MachineOutput): string {
  if (output.kind === "console") return `console ${utf8Decode(output.bytes)}`;
  if (output.kind === "agent") return `agent ${utf8Decode(output.bytes)}`;
  if (output.kind === "frame") return `frame ${Array.from(output.bytes).join(",")}`;
  return output.kind;
}
