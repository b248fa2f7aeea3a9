/** Who asks, whether he may, and whether he asks too often. */
import type { IncomingMessage } from "node:http";
import { isIPv6 } from "node:net";
import { TokenBuckets } from "../access/token-bucket.js";
import { SteadfastError } from "../foundation/errors.js";
import { ADDRESS_RULE, BUCKETS_MAX, SIGN_IN_ALL_RULE, SIGN_IN_RULE, TOKEN_RULE } from "./limits.js";
import { TokenFile, type TokenRecord } from "./token-file.js";

const MS_PER_SECOND = 1000;
const IPV6_NETWORK_GROUPS = 4;
const ALL = "all";

/** Carries when the next attempt can be. */
export class TooOften extends SteadfastError {
  readonly seconds: number;

  constructor(who: string, waitMs: number) {
    const seconds = Math.ceil(waitMs / MS_PER_SECOND);
    super("API_TOO_OFTEN", { who, seconds });
    this.seconds = seconds;
  }
}

export class SignIn {
  readonly #tokens: TokenFile;
  readonly #ofAddresses = new TokenBuckets(ADDRESS_RULE, BUCKETS_MAX);
  readonly #ofTokens = new TokenBuckets(TOKEN_RULE, BUCKETS_MAX);
  readonly #ofWrongTokens = new TokenBuckets(SIGN_IN_RULE, BUCKETS_MAX);
  readonly #ofAllWrongTokens = new TokenBuckets(SIGN_IN_ALL_RULE, 1);

  constructor(tokensFile: string) {
    this.#tokens = new TokenFile(tokensFile);
  }

  /** @throws TooOften */
  admit(request: IncomingMessage): void {
    const address = networkOf(request.socket.remoteAddress ?? "");
    const waitMs = this.#ofAddresses.take(address, performance.now());
    if (waitMs > 0) throw new TooOften(address, waitMs);
  }

  /**
   * A right token is let in however many wrong ones came from its address before.
   * @throws SteadfastError API_UNAUTHORIZED, TooOften
   */
  identify(request: IncomingMessage): TokenRecord {
    const [, token] = /^Bearer +(\S{1,256}) *$/i.exec(request.headers.authorization ?? "") ?? [];
    if (token === undefined) throw new SteadfastError("API_UNAUTHORIZED");
    const found = this.#tokens.find(token, Date.now());
    if (found === null) throw this.#wrongToken(networkOf(request.socket.remoteAddress ?? ""));
    const waitMs = this.#ofTokens.take(found.digest, performance.now());
    if (waitMs > 0) throw new TooOften(found.name, waitMs);
    return found;
  }

  holds(token: TokenRecord): boolean {
    return this.#tokens.holds(token, Date.now());
  }

  #wrongToken(address: string): SteadfastError {
    const nowMs = performance.now();
    // The common one last: what an address may not have itself takes nothing from the others.
    const waitMs = this.#ofWrongTokens.take(address, nowMs) || this.#ofAllWrongTokens.take(ALL, nowMs);
    return waitMs > 0 ? new TooOften(address, waitMs) : new SteadfastError("API_UNAUTHORIZED");
  }
}

/** Whoever has one IPv6 address has a network of them. */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(address)) return address;
  const [head = "", tail] = (address.split("%")[0] ?? "").split("::");
  const [left, right] = [head, tail ?? ""].map((part) => part.split(":").filter((group) => group !== ""));
  const missing = tail === undefined ? 0 : 8 - (left?.length ?? 0) - (right?.length ?? 0);
  const groups = [...(left ?? []), ...Array<string>(Math.max(0, missing)).fill("0"), ...(right ?? [])];
  return `${groups.slice(0, IPV6_NETWORK_GROUPS).join(":")}::/64`;
}

/** @throws SteadfastError API_FOREIGN_SITE: another site's page caused it */
export function refuseForeignSite({ headers, method }: IncomingMessage): void {
  const { origin } = headers;
  if (origin !== undefined && origin !== `https://${headers.host ?? ""}`) throw new SteadfastError("API_FOREIGN_SITE", { origin });
  if (method !== "GET" && headers["sec-fetch-site"] === "cross-site") {
    throw new SteadfastError("API_FOREIGN_SITE", { origin: origin ?? "which the browser does not name" });
  }
}
