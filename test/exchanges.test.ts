/** The meter of requests: what counts, what does not, and any bytes as a frame. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ExchangeMeter, LONGEST_ANSWER_MS, MAX_OPEN_EXCHANGES } from "../dist/lockstep/exchanges.js";

interface Packet {
  readonly protocol?: number;
  readonly port?: number;
  readonly payloadBytes?: number;
  readonly fragment?: number;
  readonly isFromGuest?: boolean;
}

/** An Ethernet frame of a client 10.77.0.1 with this port, to or from the guest's port 80; short ones are filled up as on a wire. */
function frameOf({ protocol = 6, port = 40_000, payloadBytes = 10, fragment = 0, isFromGuest = false }: Packet): Uint8Array {
  const headerBytes = protocol === 6 ? 20 : 8;
  const bytes = 20 + headerBytes + payloadBytes;
  const frame = new Uint8Array(Math.max(60, 14 + bytes));
  const view = new DataView(frame.buffer);
  view.setUint16(12, 0x0800);
  frame[14] = 0x45;
  view.setUint16(16, bytes);
  view.setUint16(20, fragment);
  frame[23] = protocol;
  const [client, guest] = [
    [10, 77, 0, 1],
    [10, 77, 0, 2],
  ];
  frame.set(isFromGuest ? guest : client, 26);
  frame.set(isFromGuest ? client : guest, 30);
  view.setUint16(34, isFromGuest ? 80 : port);
  view.setUint16(36, isFromGuest ? port : 80);
  if (protocol === 6) frame[46] = 0x50;
  return frame;
}

const answer = (packet: Packet = {}): Uint8Array => frameOf({ ...packet, isFromGuest: true });

test("an answer counts from the request's first bytes, over TCP and UDP, for each client apart", () => {
  const meter = new ExchangeMeter();
  meter.toGuest(frameOf({}), 100);
  meter.toGuest(frameOf({ protocol: 17, port: 53_000 }), 101);
  // Sent again, or more of it.
  meter.toGuest(frameOf({}), 150);
  meter.fromGuest(answer(), 103);
  meter.fromGuest(answer({ protocol: 17, port: 53_000 }), 106);
  // The rest of an answer.
  meter.fromGuest(answer(), 110);
  assert.deepEqual(meter.counters, { requests: 2, answerMs: 8 });
});

test("a request that was never answered does not stand in the way of the next one from the same port", () => {
  const meter = new ExchangeMeter();
  meter.toGuest(frameOf({}), 100);
  const laterMs = 100 + LONGEST_ANSWER_MS + 1;
  meter.toGuest(frameOf({}), laterMs);
  meter.fromGuest(answer(), laterMs + 4);
  assert.deepEqual(meter.counters, { requests: 1, answerMs: 4 });
});

test("acknowledgements without bytes, later parts of packets, other protocols and late words do not count", () => {
  const meter = new ExchangeMeter();
  for (const packet of [{ payloadBytes: 0 }, { protocol: 17, payloadBytes: 0 }, { fragment: 0x2001 }, { protocol: 1 }]) {
    meter.toGuest(frameOf(packet), 0);
    meter.fromGuest(answer(packet), 1);
    meter.fromGuest(answer({ protocol: 17 }), 1);
  }
  meter.toGuest(frameOf({}), 0);
  meter.fromGuest(answer({ payloadBytes: 0 }), 1);
  meter.fromGuest(answer(), LONGEST_ANSWER_MS + 1);
  meter.fromGuest(answer(), LONGEST_ANSWER_MS + 2);
  assert.deepEqual(meter.counters, { requests: 0, answerMs: 0 });
});

test("of too many that wait, the one that waits for longest is let go", () => {
  const meter = new ExchangeMeter();
  for (let port = 1; port <= MAX_OPEN_EXCHANGES + 1; port += 1) meter.toGuest(frameOf({ port }), port);
  meter.fromGuest(answer({ port: 1 }), 9000);
  assert.equal(meter.counters.requests, 0);
  meter.fromGuest(answer({ port: 2 }), 9000);
  meter.fromGuest(answer({ port: MAX_OPEN_EXCHANGES + 1 }), 9000);
  assert.equal(meter.counters.requests, 2);
});

test("any bytes are a frame, cut anywhere", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(60), (garbage, cut) => {
      const meter = new ExchangeMeter();
      for (const frame of [garbage, frameOf({}).subarray(0, cut)]) {
        meter.toGuest(frame, 0);
        meter.fromGuest(frame, 1);
      }
      meter.toGuest(frameOf({}), 2);
      assert.ok(meter.counters.requests <= 1);
    }),
  );
});
