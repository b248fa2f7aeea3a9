/** One request to a control API that ends in the middle: what may have been done, and what was certainly not. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openRequest, readAnswer, Unanswered } from "../dist/client/transport.js";

const folder = mkdtempSync(join(tmpdir(), "steadfast-client-"));
after(() => rmSync(folder, { recursive: true }));
const socketPath = join(folder, "control.sock");
const CALL = { method: "POST", path: "/faults", headers: { "content-type": "application/json" }, body: '{"kind":"kill"}' };
const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";

/** Everything that came until the connection ended. `react` sees what has come so far, each time that more does. */
async function withServer(react: (socket: Socket, said: string) => void, ask: () => Promise<void>): Promise<string> {
  let said = "";
  let ended: Promise<unknown> = Promise.resolve();
  const server = createServer((socket) => {
    ended = new Promise((resolve) => socket.once("close", resolve));
    socket.on("error", () => undefined);
    socket.on("data", (bytes) => {
      said += bytes.toString("latin1");
      react(socket, said);
    });
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  try {
    await ask();
    await ended;
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
  return said;
}

const unanswered = (mayBeDone: boolean) => (error: unknown) => error instanceof Unanswered && error.mayBeDone === mayBeDone;

test("what changes something is not sent to somebody who ends before it would read it", async () => {
  const said = await withServer(
    (socket, soFar) => soFar.includes("\r\n\r\n") && socket.destroy(),
    () => assert.rejects(openRequest({ socketPath }, CALL), unanswered(false)),
  );
  assert.match(said, /expect: 100-continue/i);
  assert.ok(!said.includes("kill"));
});

test("it is sent to somebody who reads it, and may be done if no answer comes", async () => {
  const said = await withServer(
    (socket, soFar) => (soFar.includes("kill") ? socket.destroy() : socket.write(CONTINUE)),
    () => assert.rejects(openRequest({ socketPath }, CALL), unanswered(true)),
  );
  assert.ok(said.includes('{"kind":"kill"}'));
});

test("whoever refuses it by its head is heard, and the connection ends", async () => {
  const said = await withServer(
    (socket) => socket.write("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno"),
    async () => {
      const response = await openRequest({ socketPath }, CALL);
      assert.equal(response.statusCode, 403);
      assert.equal((await readAnswer(response, 100)).toString(), "no");
    },
  );
  assert.ok(!said.includes("kill"));
});

test("a question may be repeated, and is sent at once", async () => {
  const said = await withServer(
    (socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"),
    async () => {
      const response = await openRequest({ socketPath }, { method: "GET", path: "/status" });
      assert.equal((await readAnswer(response, 100)).toString(), "ok");
    },
  );
  assert.doesNotMatch(said, /expect/i);
  await assert.rejects(openRequest({ socketPath }, CALL), unanswered(false), "nobody is there");
});
