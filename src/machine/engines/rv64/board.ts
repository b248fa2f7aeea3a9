/**
 * The board: address decode and the devices, laid out like QEMU's `virt` machine. All device state lives in linear memory, so a board
 * object can be thrown away and made again over the same memory.
 *
 * The power button is a second 16550 port (`/dev/ttyS1` in the guest, at 0x10009000, interrupt 12): pressing it sends the line `poweroff`,
 * which the guest's init reads. A keyboard or GPIO would need drivers that a small kernel does not have.
 *
 * A guest can never make the board throw: absent or misused devices end in `accessFault`, broken rings in DEVICE_NEEDS_RESET.
 */
import { Clint } from "./clint.js";
import type { Rv64Core } from "./core.js";
import {
  CLINT_ADDRESS,
  CLINT_BYTES,
  CONSOLE_SLOT,
  DISK_SLOT,
  ENTROPY_SLOT,
  FINISHER_ADDRESS,
  NETWORK_SLOT,
  PLIC_ADDRESS,
  PLIC_BYTES,
  RTC_ADDRESS,
  UART0_ADDRESS,
  UART0_INPUT,
  UART0_INTERRUPT,
  UART0_STATE,
  UART1_ADDRESS,
  UART1_INPUT,
  UART1_INTERRUPT,
  UART1_STATE,
  UART_BYTES,
  VIRTIO_ADDRESS,
} from "./device-layout.js";
import { GoldfishRtc } from "./goldfish-rtc.js";
import type { GuestMemory } from "./guest-memory.js";
import { clearState } from "./hart-state.js";
import { ACTIVE, G_POWERED, H_MHARTID, HART0, HART_SIZE } from "./layout.js";
import { OutputLog } from "./outputs.js";
import { Plic } from "./plic.js";
import { TestFinisher } from "./test-finisher.js";
import { Uart16550 } from "./uart16550.js";
import { VirtioBlk } from "./virtio-blk.js";
import { VirtioConsole } from "./virtio-console.js";
import { VirtioEntropy } from "./virtio-entropy.js";
import { VirtioNet } from "./virtio-net.js";

export const DEFAULT_MAC_ADDRESS = Uint8Array.of(0x52, 0x54, 0x00, 0x77, 0x00, 0x02);
const POWER_BUTTON_LINE = new TextEncoder().encode("poweroff\n");

/** How a machine ended, beyond what an output says: the code that the test finisher was given. */
export interface BoardEnd {
  readonly kind: "powerOff" | "reset";
  readonly failure: boolean;
  readonly code: number;
}

export interface BoardOptions {
  readonly harts: number;
  readonly macAddress?: Uint8Array;
  /** Size of the disk at first; 0 or absent: none. */
  readonly diskBytes?: number;
  /** Whether there is a virtual port for an agent in the guest. */
  readonly agentPort?: boolean;
}

interface MappedDevice {
  read(offset: number, size: number): number;
  write(offset: number, size: number, value: number): void;
}

export class Board {
  readonly outputs: OutputLog;
  readonly plic: Plic;
  readonly clint: Clint;
  readonly rtc: GoldfishRtc;
  readonly console: Uart16550;
  readonly powerPort: Uart16550;
  readonly network: VirtioNet;
  readonly disk: VirtioBlk;
  readonly entropy: VirtioEntropy;
  readonly agentPort: VirtioConsole;
  readonly harts: number;
  /** While the core runs, the running hart's record is at ACTIVE. */
  running = false;
  end: BoardEnd | null = null;
  private readonly finisher: TestFinisher;
  /** Devices of 4 KiB pages from 0x10001000 on. */
  private readonly virtioSlots: (MappedDevice | undefined)[];

  constructor(
    readonly memory: GuestMemory,
    readonly core: Rv64Core,
    options: BoardOptions,
  ) {
    const harts = options.harts;
    this.harts = harts;
    this.outputs = new OutputLog(() => core.requestStop());
    this.plic = new Plic(memory, core, harts);
    this.clint = new Clint(memory, core, harts, (hart) => this.hartRecord(hart));
    this.rtc = new GoldfishRtc(memory, core, this.plic);
    this.console = new Uart16550(memory, core, this.plic, UART0_INTERRUPT, UART0_STATE, UART0_INPUT, (value) =>
      this.outputs.consoleByte(value),
    );
    this.powerPort = new Uart16550(memory, core, this.plic, UART1_INTERRUPT, UART1_STATE, UART1_INPUT, () => undefined);
    this.network = new VirtioNet(memory, core, this.plic, this.outputs, options.macAddress ?? DEFAULT_MAC_ADDRESS);
    this.disk = new VirtioBlk(memory, core, this.plic, this.outputs);
    this.disk.install(options.diskBytes ?? 0);
    this.entropy = new VirtioEntropy(memory, core, this.plic, this.outputs);
    this.agentPort = new VirtioConsole(memory, core, this.plic, this.outputs);
    this.agentPort.install(options.agentPort ?? false);
    this.finisher = new TestFinisher(core, (kind, failure, code) => this.powerDown(kind, failure, code));
    this.virtioSlots = [];
    this.virtioSlots[NETWORK_SLOT] = this.network.transport;
    this.virtioSlots[DISK_SLOT] = this.disk.transport;
    this.virtioSlots[ENTROPY_SLOT] = this.entropy.transport;
    this.virtioSlots[CONSOLE_SLOT] = this.agentPort.transport;
  }

  /** Clears devices and harts, as the first step of every power-on. A disk keeps its size, to which it may have grown. */
  clear(): void {
    const diskBytes = this.disk.sizeBytes;
    const hasAgentPort = this.agentPort.isPresent;
    clearState(this.memory);
    this.network.powerOn();
    this.disk.install(diskBytes);
    this.agentPort.install(hasAgentPort);
    this.end = null;
  }

  /** Runs the core; returns why it came back (RUN_…). */
  run(budget: bigint): number {
    this.running = true;
    const ended = this.core.run(budget);
    this.running = false;
    return ended;
  }

  hartRecord(hart: number): number {
    if (this.running && this.memory.view.getUint32(ACTIVE + H_MHARTID, true) === hart) return ACTIVE;
    return HART0 + hart * HART_SIZE;
  }

  mmioRead(signedAddress: number, size: number): number {
    const address = signedAddress >>> 0;
    const device = this.find(address);
    if (device === undefined) {
      this.core.accessFault();
      return 0;
    }
    return device.read(address - this.base, size) | 0;
  }

  mmioWrite(signedAddress: number, size: number, value: number): void {
    const address = signedAddress >>> 0;
    const device = this.find(address);
    if (device === undefined) this.core.accessFault();
    else device.write(address - this.base, size, value >>> 0);
  }

  pressPowerButton(): void {
    this.powerPort.receive(POWER_BUTTON_LINE);
  }

  /** Start of a quantum, after its inputs: what was held back or has become due. */
  beginQuantum(): void {
    this.rtc.checkAlarm();
    this.network.resume();
    this.network.flush();
    this.disk.resume();
    this.agentPort.resume();
  }

  /** The guest asked to be powered off or reset: the machine stands still until the next power-on. */
  powerDown(kind: "powerOff" | "reset", failure: boolean, code = 0): void {
    if (this.memory.view.getUint32(G_POWERED, true) === 0) return;
    this.memory.view.setBigUint64(G_POWERED, 0n, true);
    this.end = { kind, failure, code };
    this.outputs.add({ kind, failure }, 0);
    this.core.requestStop();
  }

  private isAbsent(slot: number): boolean {
    return (slot === DISK_SLOT && !this.disk.isPresent) || (slot === CONSOLE_SLOT && !this.agentPort.isPresent);
  }

  /** Base of the device that `find` returned last. */
  private base = 0;

  private find(address: number): MappedDevice | undefined {
    if (address >= VIRTIO_ADDRESS && address < UART1_ADDRESS) {
      this.base = address & ~0xfff;
      const slot = (address - VIRTIO_ADDRESS) >>> 12;
      return this.isAbsent(slot) ? undefined : this.virtioSlots[slot];
    }
    if (address >= PLIC_ADDRESS && address < PLIC_ADDRESS + PLIC_BYTES) {
      this.base = PLIC_ADDRESS;
      return this.plic;
    }
    if (address >= UART0_ADDRESS && address < UART0_ADDRESS + UART_BYTES) {
      this.base = UART0_ADDRESS;
      return this.console;
    }
    if (address >= UART1_ADDRESS && address < UART1_ADDRESS + UART_BYTES) {
      this.base = UART1_ADDRESS;
      return this.powerPort;
    }
    if (address >= CLINT_ADDRESS && address < CLINT_ADDRESS + CLINT_BYTES) {
      this.base = CLINT_ADDRESS;
      return this.clint;
    }
    this.base = address & ~0xfff;
    if (this.base === FINISHER_ADDRESS) return this.finisher;
    if (this.base === RTC_ADDRESS) return this.rtc;
    return undefined;
  }
}
