/** Where alerts go: webhooks, e-mail, a local journal. Each takes one notice at a time and fails by throwing. */
import { createHmac } from "node:crypto";
import { appendFile, rename, stat } from "node:fs/promises";
import { createTransport } from "nodemailer";
import { MIB } from "../foundation/bytes.js";
import { HOUR_MS } from "../foundation/durations.js";
import type { Notice } from "../support/alerts.js";
import type { WatchConfig } from "./support-config.js";

/** Whoever does not answer within it has failed. */
const DELIVERY_LIMIT_MS = 10_000;

export interface Channel {
  readonly name: string;
  send(notice: Notice): Promise<void>;
}

export function makeChannels(config: WatchConfig): Channel[] {
  return [
    ...config.webhooks.map((each) => ({ name: each.name, send: (notice: Notice) => post(each, notice) })),
    ...config.mail.map(mailChannel),
    ...config.journals.map((each) => ({ name: each.name, send: (notice: Notice) => append(each, notice) })),
  ];
}

/** Hex of HMAC-SHA256 over `TIMESTAMP.BODY`: with the time in it, an old call cannot be sent again later. */
export function signatureOf(secret: string, timestamp: string, body: string): string {
  return createHmac("sha256", secret).update(`${timestamp}.${body}`).digest("hex");
}

async function post({ url, secret }: WatchConfig["webhooks"][number], notice: Notice): Promise<void> {
  const body = JSON.stringify(notice);
  const timestamp = String(Math.floor(Date.now() / 1000));
  const response = await fetch(url, {
    method: "POST",
    body,
    headers: {
      "content-type": "application/json",
      "steadfast-delivery": notice.id,
      "steadfast-timestamp": timestamp,
      "steadfast-signature": `sha256=${signatureOf(secret, timestamp, body)}`,
    },
    // A signed body goes to whom it was meant for only.
    redirect: "error",
    signal: AbortSignal.timeout(DELIVERY_LIMIT_MS),
  });
  // What it says beyond that may be endless.
  await response.body?.cancel();
  if (!response.ok) throw new Error(`it answered ${response.status}`);
}

function mailChannel({ name, from, to, ...server }: WatchConfig["mail"][number]): Channel {
  const { host, port, secure, requireTls, user, password, authorities } = server;
  const transport = createTransport({
    ...{ host, port, secure },
    // A password goes over TLS or not at all.
    requireTLS: !secure && (requireTls || user !== undefined),
    ...(user !== undefined && { auth: { user, pass: password } }),
    ...(authorities !== null && { tls: { ca: authorities } }),
    connectionTimeout: DELIVERY_LIMIT_MS,
    greetingTimeout: DELIVERY_LIMIT_MS,
    socketTimeout: DELIVERY_LIMIT_MS,
  });
  const send = async (notice: Notice): Promise<void> => {
    const { server, code, subject, severity, state, text, atMs, sinceMs, id, support } = notice;
    const about = subject === "" ? "" : ` ${subject}`;
    const promise =
      support === null ? "" : `Support plan ${support.level}: reaction within ${support.reactionMs / HOUR_MS} h; ${support.contact}\n`;
    await transport.sendMail({
      from,
      to: [...to],
      subject: `[steadfast ${server}] ${state}: ${code}${about} (${severity})`,
      // The same for every attempt, so that a reader can tell a repetition.
      messageId: `<${id}@${server}.steadfast.invalid>`,
      text: `${text}\n\nAt ${new Date(atMs).toISOString()}, since ${new Date(sinceMs).toISOString()}.\n${promise}steadfast status --server ${server}\n`,
    });
  };
  return { name, send };
}

async function append({ path, sizeMiB }: WatchConfig["journals"][number], notice: Notice): Promise<void> {
  const line = `${JSON.stringify(notice)}\n`;
  const size = await stat(path).then(
    (found) => found.size,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return 0;
      throw error;
    },
  );
  // One older file is kept; both together have the size that was asked for.
  if (size + line.length > (sizeMiB * MIB) / 2) await rename(path, `${path}.1`);
  await appendFile(path, line, { mode: 0o600 });
}
