/** The network port `user`: framing, published ports, and a real passt behind it. No privileges are needed. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { SteadfastError } from "../dist/foundation/errors.js";
import { parseMac } from "../dist/ports/ethernet.js";
import type { PortNotice } from "../dist/ports/port.js";
import { checkPublishedPorts, parsePublished, publishedText, type PublishedPort } from "../dist/ports/published-port.js";
import { encodeStreamFrame, MAX_STREAM_FRAME_BYTES, StreamFrameDecoder, StreamFrameError } from "../dist/ports/stream-frames.js";
import { passtParameters, UserPort, type UserPortOptions } from "../dist/ports/user.js";
import { passtProcesses, until, whyNoPasst } from "./support/passt-processes.js";
import { anyBytes, anyCuts, holds, pieces } from "./support/properties.js";

const PORT_MODULE = fileURLToPath(new URL("../dist/ports/user.js", import.meta.url));
const GUEST_MAC = "52:54:00:77:cd:02";
const GATEWAY_MAC = "52:54:00:77:cd:01";

function options(publish: readonly PublishedPort[], more: Partial<UserPortOptions> = {}): UserPortOptions {
  return {
    program: "passt",
    guestAddress: "10.77.205.2",
    prefixLength: 24,
    gateway: "10.77.205.1",
    guestMac: GUEST_MAC,
    gatewayMac: GATEWAY_MAC,
    publish,
    ...more,
  };
}

const anyFrame = fc.uint8Array({ minLength: 14, maxLength: 1600 });

function joined(frames: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(frames.map(encodeStreamFrame)));
}

describe("frames on passt's stream", () => {
  test("come out as they went in, however the stream is cut", () => {
    holds(fc.tuple(fc.array(anyFrame, { maxLength: 8 }), anyCuts), ([frames, cuts]) => {
      const decoder = new StreamFrameDecoder();
      const out = [...pieces(joined(frames), cuts)].flatMap((piece) => decoder.push(piece));
      assert.deepEqual(
        out.map((frame) => [...frame]),
        frames.map((frame) => [...frame]),
      );
    });
  });

  test("at every split of two frames", () => {
    const frames = [new Uint8Array(14).fill(1), new Uint8Array(20).fill(2)];
    const stream = joined(frames);
    for (let at = 0; at <= stream.length; at += 1) {
      const decoder = new StreamFrameDecoder();
      assert.deepEqual([...decoder.push(stream.slice(0, at)), ...decoder.push(stream.slice(at))], frames);
    }
  });

  test("garbage ends in an error that stays, and never in more than it could hold", () => {
    holds(fc.tuple(anyBytes(), anyCuts), ([bytes, cuts]) => {
      const decoder = new StreamFrameDecoder();
      try {
        for (const piece of pieces(bytes, cuts)) for (const frame of decoder.push(piece)) assert.ok(frame.length <= bytes.length);
      } catch (error) {
        assert.ok(error instanceof StreamFrameError);
        assert.throws(() => decoder.push(new Uint8Array(60)), StreamFrameError);
      }
    });
    for (const length of [0, 13, MAX_STREAM_FRAME_BYTES + 1, 0xffffffff]) {
      const header = Buffer.alloc(4);
      header.writeUInt32BE(length);
      assert.throws(() => new StreamFrameDecoder().push(header), StreamFrameError);
    }
    assert.equal(new StreamFrameDecoder().push(encodeStreamFrame(new Uint8Array(MAX_STREAM_FRAME_BYTES))).length, 1);
  });
});

describe("published ports", () => {
  test("are written as Docker's are", () => {
    const cases: [string, string | null][] = [
      ["8080:80", "8080 -> 80/tcp"],
      ["8080:80/tcp", "8080 -> 80/tcp"],
      ["127.0.0.1:8080:80", "127.0.0.1:8080 -> 80/tcp"],
      ["5353:53/udp", "5353 -> 53/udp"],
      ["80", null],
      ["0:80", null],
      ["80:65536", null],
      ["300.0.0.1:80:80", null],
      ["localhost:80:80", null],
      ["80:80/sctp", null],
      [" 80:80", null],
      ["1:2:3:4", null],
    ];
    for (const [text, shown] of cases) {
      const port = parsePublished(text);
      assert.equal(port === null ? null : publishedText(port), shown, text);
    }
  });

  test("that are taken are refused with one sentence, for TCP and UDP", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    const socket = createSocket("udp4").bind(0, "127.0.0.1");
    await Promise.all([
      new Promise((resolve) => server.once("listening", resolve)),
      new Promise((resolve) => socket.once("listening", resolve)),
    ]);
    const tcp = (server.address() as { port: number }).port;
    const udp = socket.address().port;
    try {
      for (const text of [`127.0.0.1:${tcp}:80`, `${udp}:53/udp`]) {
        await assert.rejects(checkPublishedPorts([parsePublished(text) as PublishedPort]), (error: unknown) => {
          return error instanceof SteadfastError && error.code === "PORT_TAKEN" && !/\{\w+\}/.test(error.message);
        });
      }
      await assert.rejects(checkPublishedPorts([parsePublished(`192.0.2.99:${tcp}:80`) as PublishedPort]), { code: "PORT_UNUSABLE" });
    } finally {
      server.close();
      socket.close();
    }
    await checkPublishedPorts([parsePublished(`127.0.0.1:${tcp}:80`) as PublishedPort, parsePublished(`${tcp}:80/udp`) as PublishedPort]);
  });

  test("that were given up just now are waited for", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    setTimeout(() => server.close(), 200);
    await checkPublishedPorts([parsePublished(`127.0.0.1:${port}:80`) as PublishedPort]);
  });

  test("become parameters of passt, with an interface named only where no route tells one", () => {
    const publish = ["127.0.0.1:8080:80", "5353:53/udp"].map((text) => parsePublished(text) as PublishedPort);
    const line = passtParameters(options(publish), true).join(" ");
    assert.match(line, /--tcp-ports 127\.0\.0\.1\/8080:80 --udp-ports 5353:53$/);
    assert.doesNotMatch(line, /--interface/);
    const bare = passtParameters(options([]), false).join(" ");
    assert.match(bare, /--interface lo/);
    assert.match(bare, /--no-map-gw/, "without datagrams to answer, this host's loopback is closed to the guest");
  });
});

/** An echo on every UDP port, as a guest of three functions would have it; what else comes is only counted. */
function echo(port: UserPort, frame: Uint8Array): void {
  const bytes = Buffer.from(frame);
  if (bytes.readUInt16BE(12) !== 0x0800 || bytes[23] !== 17) return;
  const reply = Buffer.from(bytes);
  reply.set(bytes.subarray(6, 12), 0);
  reply.set(parseMac(GUEST_MAC), 6);
  reply.set(bytes.subarray(30, 34), 26);
  reply.set(bytes.subarray(26, 30), 30);
  reply.set(bytes.subarray(36, 38), 34);
  reply.set(bytes.subarray(34, 36), 36);
  reply.writeUInt16BE(0, 40);
  port.send(reply);
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** Whether somebody listens there. */
function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true));
    socket.once("error", () => resolve(false));
    socket.once("close", () => socket.destroy());
    socket.once("connect", () => socket.destroy());
  });
}

describe("the port with a real passt", { skip: whyNoPasst() }, () => {
  const ports: UserPort[] = [];
  const directories: string[] = [];

  afterEach(() => {
    for (const port of ports.splice(0)) port.close();
    for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
  });

  function open(with_: UserPortOptions, onFrame: (port: UserPort, frame: Uint8Array) => void = () => undefined): [UserPort, PortNotice[]] {
    const port = new UserPort(with_);
    const notices: PortNotice[] = [];
    ports.push(port);
    port.start(
      (frames) => frames.forEach((frame) => onFrame(port, frame)),
      (notice) => notices.push(notice),
    );
    return [port, notices];
  }

  /** A program in passt's place. */
  function pretender(script: string): string {
    const directory = mkdtempSync(join(tmpdir(), "steadfast-passt-"));
    directories.push(directory);
    const path = join(directory, "passt");
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
    return path;
  }

  test("carries datagrams both ways for this host's own clients", async () => {
    const number = await freePort();
    const [port] = open(options([parsePublished(`127.0.0.1:${number}:7/udp`) as PublishedPort]), echo);
    port.setActive(true);
    const client = createSocket("udp4");
    const answers: string[] = [];
    client.on("message", (message) => answers.push(message.toString()));
    try {
      await until("an answer", () => {
        client.send("hello", number, "127.0.0.1");
        return answers.length > 0;
      });
      assert.equal(answers[0], "hello");
    } finally {
      client.close();
    }
  });

  test("the frames of a connection are for the guest from the first on", async () => {
    const number = await freePort();
    const seen: string[] = [];
    const [port] = open(options([parsePublished(`127.0.0.1:${number}:80`) as PublishedPort]), (_, frame) => {
      if (Buffer.from(frame).readUInt16BE(12) === 0x0800) seen.push(Buffer.from(frame.subarray(0, 12)).toString("hex"));
    });
    port.setActive(true);
    await until("passt listens", () => listens(number));
    await until("a frame", () => seen.length > 0);
    assert.equal(seen[0], `${GUEST_MAC}${GATEWAY_MAC}`.replaceAll(":", ""));
  });

  test("only the active module has the ports; its successor gets them as soon as they are free, and says nothing of the wait", async () => {
    const number = await freePort();
    const publish = [parsePublished(`127.0.0.1:${number}:80`) as PublishedPort];
    const [first] = open(options(publish));
    const [second, notices] = open(options(publish));
    assert.equal(first.pid, null, "a standby starts nothing");
    first.setActive(true);
    await until("passt listens", () => listens(number));
    second.setActive(true);
    await until("the successor has tried", () => second.counters.starts >= 2);
    first.setActive(false);
    assert.equal(first.pid, null);
    await until("the successor has the port", () => second.pid !== null && listens(number));
    assert.deepEqual(notices, []);
    second.setActive(false);
    await until("nobody has the port", async () => !(await listens(number)));
  });

  test("a passt that is killed comes back, and that is said", async () => {
    const number = await freePort();
    const [port, notices] = open(options([parsePublished(`127.0.0.1:${number}:80`) as PublishedPort]));
    port.setActive(true);
    await until("passt listens", () => listens(number));
    // Long enough to count as one that works.
    await new Promise((resolve) => setTimeout(resolve, 1100));
    process.kill(port.pid as number, "SIGKILL");
    await until("it is noticed", () => notices.length === 1);
    await until("it is back", () => notices.length === 2);
    assert.deepEqual(
      notices.map((notice) => notice.code),
      ["USER_NETWORK_DOWN", "USER_NETWORK_UP"],
    );
    assert.match(notices[0]?.text ?? "", /SIGKILL/);
    assert.ok(await listens(number));
  });

  test("ports that stay taken, a missing program and a program that talks garbage are said, once, with what is wrong", async () => {
    const blocker = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => blocker.once("listening", resolve));
    const taken = (blocker.address() as { port: number }).port;
    try {
      const cases: [UserPortOptions, RegExp][] = [
        [options([parsePublished(`127.0.0.1:${taken}:80`) as PublishedPort]), /Failed to bind/],
        [options([], { program: "/no/such/passt" }), /ENOENT/],
        [options([], { program: pretender("printf 'this is not a frame' >&3; exec sleep 60") }), /what is no frame/],
      ];
      for (const [each, wanted] of cases) {
        const [port, notices] = open(each);
        port.setActive(true);
        await until("it is said", () => notices.length > 0);
        assert.match(notices[0]?.text ?? "", wanted);
        await until("it tries again", () => port.counters.starts >= 6);
        assert.equal(notices.length, 1);
        port.close();
        assert.equal(port.pid, null);
      }
    } finally {
      blocker.close();
    }
  });

  test("one that does not read costs a bounded queue, then it is replaced", async () => {
    const [port, notices] = open(options([], { program: pretender("exec sleep 60") }));
    port.setActive(true);
    for (let each = 0; each < 3000; each += 1) port.send(new Uint8Array(1514));
    assert.ok(port.counters.framesDropped > 1000, "what does not fit is dropped");
    const { pid } = port;
    await until("it is replaced", () => notices.length === 1 && port.pid !== null && port.pid !== pid);
    assert.match(notices[0]?.text ?? "", /does not read/);
  });

  test("SIGKILL of whoever holds the port ends its passt", async () => {
    const number = await freePort();
    const script =
      `import { UserPort } from ${JSON.stringify(PORT_MODULE)};` +
      `const port = new UserPort(${JSON.stringify(options([parsePublished(`127.0.0.1:${number}:80`) as PublishedPort]))});` +
      `port.start(() => {}); port.setActive(true);`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: "inherit" });
    try {
      await until("passt listens", () => listens(number));
      assert.equal(passtProcesses(`/${number}:80`).length, 1);
    } finally {
      child.kill("SIGKILL");
    }
    await until("passt is gone", async () => passtProcesses(`/${number}:80`).length === 0 && !(await listens(number)));
  });
});
