/** Roles of those who ask the control API: `view` sees everything, `operate` may change things too. */

export const ROLES = ["view", "operate"] as const;
export type Role = (typeof ROLES)[number];

/** Who asks, as the audit log names them. */
export interface Caller {
  /** Of the token, or `local uid 0`. */
  readonly name: string;
  readonly role: Role;
  /** An address, or `unix socket`. */
  readonly from: string;
}

/** Every GET is harmless; whatever changes something is a POST. */
export function mayAsk(role: Role, method: string): boolean {
  return role === "operate" || method === "GET";
}
