/** Alerts by mail over TLS with a password, to a real SMTP server: STARTTLS and TLS from the beginning, and what is not sent at all. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";
import { makeChannels } from "../dist/cli/support-channels.js";
import { readWatchConfig } from "../dist/cli/support-config.js";
import { keepSelfSigned } from "../dist/front/certificate.js";
import type { Notice } from "../dist/support/alerts.js";

const PASSWORD = "correct horse battery staple";
const NOTICE: Notice = {
  ...{ id: "7", server: "bank", code: "SIMPLEX", subject: "", severity: "warning", state: "raised" },
  ...{ text: "Less redundancy than wanted.", atMs: 1, sinceMs: 1, support: null },
};

interface Received {
  readonly user: string;
  readonly isEncrypted: boolean;
  readonly text: string;
}

describe("mail over TLS, signed in", () => {
  const directory = mkdtempSync(join(tmpdir(), "steadfast-mail-"));
  const certificate = { certificateFile: join(directory, "certificate.pem"), keyFile: join(directory, "key.pem") };
  const passwordFile = join(directory, "mail.password");
  const servers: SMTPServer[] = [];
  let received: Received[] = [];
  /** Passwords that came over a connection without TLS. */
  let inTheClear: string[] = [];

  before(async () => {
    await keepSelfSigned(certificate, "mail", "127.0.0.1", Date.now());
    writeFileSync(passwordFile, `${PASSWORD}\n`, { mode: 0o600 });
  });
  after(() => {
    for (const server of servers) server.close();
    rmSync(directory, { recursive: true, force: true });
  });

  async function mailServer(options: SMTPServerOptions): Promise<number> {
    const server = new SMTPServer({
      key: readFileSync(certificate.keyFile),
      cert: readFileSync(certificate.certificateFile),
      ...options,
      onAuth: ({ username, password }, { secure }, done) => {
        if (!secure) inTheClear.push(password ?? "");
        if (username === "steadfast" && password === PASSWORD) done(null, { user: username });
        else done(new Error("535 wrong user or password"));
      },
      onData: (stream, session, done) => {
        let text = "";
        stream.setEncoding("utf8");
        stream.on("data", (part: string) => (text += part));
        stream.on("end", () => {
          received.push({ user: String(session.user), isEncrypted: session.secure, text });
          done();
        });
      },
    });
    // Clients that refuse its certificate end their connections.
    server.on("error", () => undefined);
    servers.push(server);
    server.listen(0, "127.0.0.1");
    await once(server.server, "listening");
    return (server.server.address() as AddressInfo).port;
  }

  function send(port: number, more: string): Promise<void> {
    received = [];
    inTheClear = [];
    const file = join(directory, "support.yaml");
    writeFileSync(file, `mail: [{ host: 127.0.0.1, port: ${port}, from: bank@example.test, to: [operator@example.test], ${more} }]\n`);
    const [channel] = makeChannels(readWatchConfig(file));
    assert.ok(channel);
    return channel.send(NOTICE);
  }

  const signedIn = "user: steadfast, passwordFile: mail.password";

  for (const [what, secure, options] of [
    ["STARTTLS", false, {}],
    ["TLS from the beginning", true, { secure: true }],
  ] as const)
    test(`${what}: a notice arrives, encrypted, from whom it says`, async () => {
      const port = await mailServer(options);
      await send(port, `secure: ${String(secure)}, caFile: certificate.pem, ${signedIn}`);
      const [mail] = received;
      assert.deepEqual([received.length, mail?.user, mail?.isEncrypted], [1, "steadfast", true]);
      assert.match(mail?.text ?? "", /Subject: \[steadfast bank\] raised: SIMPLEX \(warning\)/);
      assert.deepEqual(inTheClear, []);
      await assert.rejects(
        send(port, `secure: ${String(secure)}, ${signedIn}`),
        /self-signed|certificate/,
        "a certificate of nobody known",
      );
      assert.deepEqual([received, inTheClear], [[], []]);
    });

  test("a wrong password is a failed delivery that does not tell it", async () => {
    const port = await mailServer({});
    writeFileSync(join(directory, "wrong"), "open sesame", { mode: 0o600 });
    await assert.rejects(send(port, "caFile: certificate.pem, user: steadfast, passwordFile: wrong"), (error: Error) => {
      assert.match(error.message, /535|Invalid login/);
      assert.ok(!String(error.stack).includes("open sesame"));
      return true;
    });
    assert.deepEqual([received, inTheClear], [[], []]);
  });

  test("without TLS no password is sent, and with requireTls no notice", async () => {
    const port = await mailServer({ disabledCommands: ["STARTTLS"], allowInsecureAuth: true, authOptional: true });
    for (const more of [signedIn, "requireTls: true"]) {
      await assert.rejects(send(port, `caFile: certificate.pem, ${more}`), /TLS/);
      assert.deepEqual([received, inTheClear], [[], []]);
    }
    await send(port, "name: plain");
    assert.equal(received.length, 1, "who asks for neither gets mail as it was ever sent");
  });

  test("a password that others can read is refused before anything is sent", async () => {
    chmodSync(passwordFile, 0o640);
    assert.throws(() => send(1, signedIn), /mail\.password can be read by others than its owner, so `chmod 600` it/);
    chmodSync(passwordFile, 0o600);
  });
});
