/** Whether and where a server serves its control API to the outside, from server file and options. */
import { isIP } from "node:net";
import { resolve } from "node:path";
import { InvalidArgumentError } from "commander";
import { SteadfastError } from "../foundation/errors.js";
import type { ServerPaths } from "../modules/management-paths.js";
import type { PlannedFront } from "../modules/management-plan.js";
import type { ListenAddress } from "../ports/shared-listener.js";
import type { ServerFile } from "./server-file.js";

export const EVENT_STREAMS_DEFAULT = 1000;

export interface ListenFlags {
  readonly listen?: string;
  readonly tlsCertificate?: string;
  readonly tlsKey?: string;
}

/** For commander: the text as it is, if it is an address. */
export function listenFlag(text: string): string {
  if (parseListen(text) === null) throw new InvalidArgumentError("It must be ADDRESS:PORT, such as 0.0.0.0:8443 or [::]:8443.");
  return text;
}

/** "0.0.0.0:8443", "[::]:8443"; null: something else. */
export function parseListen(text: string): ListenAddress | null {
  const [, six, four, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text) ?? [];
  const [address, port] = [six ?? four ?? "", Number(digits)];
  const isRight = isIP(address) === (six === undefined ? 4 : 6) && port >= 1 && port <= 65_535;
  return isRight ? { address, port } : null;
}

/** @throws SteadfastError USAGE, LISTEN_ADDRESS */
export function chooseListen(file: ServerFile, flags: ListenFlags, paths: ServerPaths): { readonly front?: PlannedFront } {
  const text = flags.listen ?? file.api?.listen;
  const certificate = flags.tlsCertificate ?? file.api?.tlsCertificate;
  const key = flags.tlsKey ?? file.api?.tlsKey;
  if ((certificate === undefined) !== (key === undefined))
    throw new SteadfastError("USAGE", { what: "--tls-certificate and --tls-key go together: a certificate and its own key." });
  if (text === undefined) {
    if (certificate !== undefined) throw new SteadfastError("USAGE", { what: "--tls-certificate goes with --listen ADDRESS:PORT." });
    return {};
  }
  const listen = parseListen(text);
  if (listen === null) throw new SteadfastError("LISTEN_ADDRESS", { listen: text });
  const isSelfSigned = certificate === undefined;
  return {
    front: {
      listen,
      certificateFile: certificate === undefined ? `${paths.tlsDirectory}/certificate.pem` : resolve(certificate),
      keyFile: key === undefined ? `${paths.tlsDirectory}/key.pem` : resolve(key),
      isSelfSigned,
      eventStreamsMax: file.api?.eventStreams ?? EVENT_STREAMS_DEFAULT,
    },
  };
}
