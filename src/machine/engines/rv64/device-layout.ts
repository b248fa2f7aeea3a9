/**
 * Where the board keeps device registers: offsets within DEVICES..DEVICES_END of linear memory (see layout.ts), and the guest-physical
 * addresses and interrupt numbers of the devices, which follow QEMU's `virt` board. No device holds guest-visible state elsewhere.
 */
import { DEVICES } from "./layout.js";

// ---- device state ----
/** Board-wide words: cursors of the rotating digest, drop counters. */
export const BOARD_STATE = DEVICES;
export const BOARD_WORDS = 64;
export const B_QUANTUM = 0; // quanta since power-on, for what is digested only now and then
export const B_DEVICES_CURSOR = 1; // byte offset of the next slice of device state in the quantum digest
export const CLINT_STATE = DEVICES + 0x100;
export const RTC_STATE = DEVICES + 0x200;
export const UART0_STATE = DEVICES + 0x400;
export const UART1_STATE = DEVICES + 0x440;
export const PLIC_STATE = DEVICES + 0x800;
/** One block for each of the eight virtio slots: transport words, then queues, then words of the device itself. */
export const VIRTIO_STATE = DEVICES + 0x1000;
export const VIRTIO_STATE_SIZE = 0x400;
export const UART0_INPUT = DEVICES + 0x4000;
export const UART1_INPUT = DEVICES + 0x5000;
export const UART_INPUT_BYTES = 0x1000;
/** Disk requests that were put out and are not yet answered (virtio-blk.ts). */
export const DISK_REQUESTS = DEVICES + 0x6000;
/** Frames that arrived while the guest had no receive buffer. */
export const NETWORK_BACKLOG = DEVICES + 0x8000;
export const NETWORK_BACKLOG_BYTES = 0x10000;
/** Bytes for the agent that the guest has not taken yet. */
export const AGENT_BACKLOG = DEVICES + 0x18000;
export const AGENT_BACKLOG_BYTES = 0xc000;

// ---- guest-physical addresses ----
export const FINISHER_ADDRESS = 0x100000;
export const RTC_ADDRESS = 0x101000;
export const CLINT_ADDRESS = 0x2000000;
export const CLINT_BYTES = 0x10000;
export const PLIC_ADDRESS = 0xc000000;
export const PLIC_BYTES = 0x600000;
export const UART0_ADDRESS = 0x10000000;
export const UART_BYTES = 0x100;
export const VIRTIO_ADDRESS = 0x10001000;
export const VIRTIO_SLOT_BYTES = 0x1000;
export const VIRTIO_SLOTS = 8;
/** The second serial port carries the power button: see board.ts. QEMU has nothing here. */
export const UART1_ADDRESS = 0x10009000;

// ---- interrupt sources of the PLIC ----
export const VIRTIO_INTERRUPT = 1; // slot i: 1 + i
export const UART0_INTERRUPT = 10;
export const RTC_INTERRUPT = 11;
export const UART1_INTERRUPT = 12;
export const PLIC_SOURCES = 96; // source 0 does not exist

export const NETWORK_SLOT = 0;
export const DISK_SLOT = 1;
export const ENTROPY_SLOT = 2;
export const CONSOLE_SLOT = 3;
