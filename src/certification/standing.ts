/** How a running server stands as to certificates, as what is found of it changes: no clock, no file. */
import type { Certified, Decision } from "./gate.js";

/** What a base certificate says of its image. */
export const BASE_CLAIM = "built on this host from a recipe of this release; not qualified separately";

export const CERTIFICATION_STATES = ["certified", "base", "uncertified", "expired", "altered"] as const;
export type CertificationState = (typeof CERTIFICATION_STATES)[number];

export interface Certification {
  /** `base`: an image of this release's own recipes; `expired`, `altered`: it became so while the server ran, which does not stop it. */
  readonly state: CertificationState;
  /** Digest of the image. */
  readonly image: string;
  /** Digest of what was signed. */
  readonly certificate?: string;
  readonly level?: Certified["level"];
  /** ISO 8601. */
  readonly expiresAt?: string;
  /** Of a server that is not certified: why. */
  readonly reason?: string;
  /** When it came to be so, ISO 8601. */
  readonly since: string;
}

export interface Tidings {
  readonly severity: "info" | "warning" | "error";
  readonly code: "UNCERTIFIED" | "CERTIFIED_AGAIN" | "CERTIFICATE_EXPIRED" | "IMAGE_ALTERED";
  readonly text: string;
}

/** What holds from now on; `before` itself if that is the same. */
export function standingAfter(before: Certification | null, decision: Decision, image: string, now: string): Certification {
  const next = { ...standingOf(before, decision), image };
  const isSame =
    before?.image === image && before.state === next.state && before.certificate === next.certificate && before.reason === next.reason;
  return isSame ? before : { ...next, since: now };
}

function standingOf(before: Certification | null, decision: Decision): Omit<Certification, "image" | "since"> {
  if (decision.allowed) {
    const { state } = decision;
    if (state === "uncertified") return { state, reason: decision.reason };
    const { level, certificate, expiresAt } = decision;
    return { state, level, certificate, ...(expiresAt !== undefined && { expiresAt }) };
  }
  const { code, message } = decision.refusal;
  if (code === "IMAGE_ALTERED") return { state: "altered", reason: message };
  if (code !== "CERTIFICATE_EXPIRED") return { state: "uncertified", reason: message };
  const { level, certificate, expiresAt } = before ?? {};
  return {
    state: "expired",
    reason: message,
    ...(level !== undefined && { level }),
    ...(certificate !== undefined && { certificate }),
    ...(expiresAt !== undefined && { expiresAt }),
  };
}

export function isCertified({ state }: Certification): boolean {
  return state === "certified" || state === "base";
}

/** What is worth an event; null: nothing. */
export function tidingsOf(server: string, before: Certification | null, after: Certification): Tidings | null {
  if (before === after) return null;
  const reason = after.reason ?? "";
  switch (after.state) {
    case "certified":
    case "base": {
      if (before === null || isCertified(before)) return null;
      const until = after.expiresAt === undefined ? `(${BASE_CLAIM})` : `until ${after.expiresAt}`;
      return { severity: "info", code: "CERTIFIED_AGAIN", text: `Server ${server} runs a certified image again, ${until}.` };
    }
    case "uncertified":
      return { severity: "warning", code: "UNCERTIFIED", text: `Server ${server} runs an uncertified image: ${reason}` };
    case "expired":
      return { severity: "warning", code: "CERTIFICATE_EXPIRED", text: `Server ${server} runs on without a valid certificate: ${reason}` };
    case "altered":
      return { severity: "error", code: "IMAGE_ALTERED", text: `Server ${server} runs on, but cannot start from it again: ${reason}` };
  }
}
