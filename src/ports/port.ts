/**
 * The network-port boundary: Ethernet frames between the I/O module and the world. A port is stateless towards the guest; frames
 * that it drops are lost as on any wire.
 */
export interface NetworkPort {
  /** Begins delivery. `onFrames` gets one batch per wake-up; the arrays belong to the receiver. */
  start(onFrames: (frames: Uint8Array[]) => void): Promise<void> | void;
  /** Sends at once or drops; never blocks, never throws for a full queue. */
  send(frame: Uint8Array): void;
  close(): void;
}
