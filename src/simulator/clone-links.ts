/** Connections from donors to newcomers, over which images travel: in order, until one of the two closes it or dies. */
import type { SeededRandom } from "../foundation/random.js";
import { encodeMessage } from "../wire/codec.js";
import type { Message } from "../wire/messages.js";
import { decodeFrame, type Links } from "./links.js";
import type { CloneLink, SimulatedCpu } from "./simulated-cpu.js";
import type { Timeline } from "./timeline.js";

const CONNECT_MS = 0.2;
const CLOSE_MS = 0.1;
/** What a killed donor had not handed to the kernel yet is lost: this share of its messages, and all after it. */
const LOST_CHANCE = 0.3;

export class CloneLinks {
  readonly #timeline: Timeline;
  readonly #links: Links;
  readonly #random: SeededRandom;
  /** An image of this donor's memory is on its way. */
  readonly #copied: (donor: SimulatedCpu) => void;

  constructor(timeline: Timeline, links: Links, random: SeededRandom, copied: (donor: SimulatedCpu) => void) {
    this.#timeline = timeline;
    this.#links = links;
    this.#random = random;
    this.#copied = copied;
  }

  /** Null: nobody of that name was ever started. */
  connect(donor: SimulatedCpu, clone: number, find: () => SimulatedCpu | null): void {
    this.#timeline.after(CONNECT_MS, () => {
      const newcomer = find();
      donor.deliver(() => this.#connected(donor, clone, newcomer));
    });
  }

  #connected(donor: SimulatedCpu, clone: number, newcomer: SimulatedCpu | null): void {
    if (newcomer?.alive !== true) return donor.member.step({ kind: "newcomerDisconnected", clone, why: "it does not listen" });
    // One donor at a time: a later one takes the place of an earlier one.
    this.leaveDonor(newcomer, "another donor came");
    const link = { clone, donor, newcomer };
    donor.outgoing = link;
    newcomer.incoming = link;
    donor.member.step({ kind: "newcomerConnected", clone });
    this.#copied(donor);
  }

  #over(link: CloneLink, read: (newcomer: SimulatedCpu) => void): void {
    const { donor, newcomer } = link;
    const deliver = (): void => newcomer.deliver(() => newcomer.incoming === link && read(newcomer));
    this.#links.send(donor.id, newcomer.id, deliver, donor.busyUntilMs);
  }

  send(donor: SimulatedCpu, message: Message): void {
    const link = donor.outgoing;
    if (link === null) return;
    const frame = encodeMessage(message);
    this.#over(link, (newcomer) => {
      if (!donor.alive && this.#random.chance(LOST_CHANCE)) return this.#donorWent(newcomer);
      decodeFrame(frame, (decoded) => newcomer.member.step({ kind: "donorMessage", message: decoded }));
    });
  }

  #donorWent(newcomer: SimulatedCpu): void {
    newcomer.incoming = null;
    newcomer.member.step({ kind: "donorDisconnected" });
  }

  /** The donor closes the connection, or dies. */
  leaveNewcomer(donor: SimulatedCpu): void {
    const link = donor.outgoing;
    donor.outgoing = null;
    if (link !== null) this.#over(link, (newcomer) => this.#donorWent(newcomer));
  }

  /** The newcomer does. */
  leaveDonor(newcomer: SimulatedCpu, why: string): void {
    const link = newcomer.incoming;
    newcomer.incoming = null;
    if (link === null || link.donor.outgoing !== link) return;
    link.donor.outgoing = null;
    const tell = (): void => link.donor.member.step({ kind: "newcomerDisconnected", clone: link.clone, why });
    this.#timeline.after(CLOSE_MS, () => link.donor.deliver(tell));
  }
}
