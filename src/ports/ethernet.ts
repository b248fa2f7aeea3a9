/** The little that I/O modules know of Ethernet: whose frame it is, and how to tell switches behind which port a station is now. */

const ADDRESS_BYTES = 6;
/** Without the frame check sequence. */
const LEAST_FRAME_BYTES = 60;
const ETHERTYPE_RARP = 0x8035;
const RARP_REQUEST = 3;

/** "52:54:00:77:00:02" as bytes. */
export function parseMac(text: string): Uint8Array {
  return Uint8Array.from(text.split(":").map((part) => parseInt(part, 16)));
}

/** Whether a frame is for this station: its own address, or a group's. */
export function isFor(frame: Uint8Array, mac: Uint8Array): boolean {
  if (frame.length < ADDRESS_BYTES) return false;
  if (((frame[0] as number) & 1) === 1) return true;
  for (let at = 0; at < ADDRESS_BYTES; at += 1) if (frame[at] !== mac[at]) return false;
  return true;
}

/**
 * A reverse-ARP request (RFC 903) of the station itself, to all: needs no IP address, asks nobody anything that matters, and every
 * switch on its way learns the port that it came from. Virtual machines that have moved announce themselves like this.
 */
export function announcement(mac: Uint8Array): Uint8Array {
  const frame = new Uint8Array(LEAST_FRAME_BYTES);
  const view = new DataView(frame.buffer);
  frame.fill(0xff, 0, ADDRESS_BYTES);
  frame.set(mac, 6);
  view.setUint16(12, ETHERTYPE_RARP);
  // Ethernet addresses of 6 bytes for IPv4 addresses of 4.
  view.setUint16(14, 1);
  view.setUint16(16, 0x0800);
  frame[18] = ADDRESS_BYTES;
  frame[19] = 4;
  view.setUint16(20, RARP_REQUEST);
  frame.set(mac, 22);
  frame.set(mac, 32);
  return frame;
}
