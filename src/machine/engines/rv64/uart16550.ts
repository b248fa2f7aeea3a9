/**
 * A 16550A serial port. Output leaves at once, so the transmitter is always empty; input waits in a ring that is deeper than the real
 * chip's 16 bytes (what finds no room is lost, and the line status says overrun). The interrupt logic is what Linux's 8250 driver needs:
 * "transmitter empty" is raised when a byte was sent or when its interrupt is switched on, and reading it from IIR takes it away.
 */
import type { Rv64Core } from "./core.js";
import type { GuestMemory } from "./guest-memory.js";
import { UART_INPUT_BYTES } from "./device-layout.js";
import type { Plic } from "./plic.js";

const IER = 0;
const LCR = 1;
const MCR = 2;
const SCR = 3;
const DLL = 4;
const DLM = 5;
const FCR = 6;
const TRANSMIT_PENDING = 7;
const INPUT_HEAD = 8;
const INPUT_COUNT = 9;
const OVERRUN = 10;
const WORDS = 11;

const IER_RECEIVE = 1;
const IER_TRANSMIT = 2;
const IER_LINE = 4;
const IIR_NONE = 1;
const IIR_TRANSMIT = 2;
const IIR_RECEIVE = 4;
const IIR_LINE = 6;
const IIR_FIFO = 0xc0;
const LSR_DATA_READY = 0x01;
const LSR_OVERRUN = 0x02;
const LSR_TRANSMITTER_EMPTY = 0x60;
const LCR_DIVISOR = 0x80;
const MCR_LOOPBACK = 0x10;
const MSR_READY = 0xb0; // carrier, data set ready, clear to send

export class Uart16550 {
  private readonly words: Uint32Array;
  private readonly input: Uint8Array;

  constructor(
    memory: GuestMemory,
    private readonly core: Rv64Core,
    private readonly plic: Plic,
    private readonly interrupt: number,
    stateAddress: number,
    inputAddress: number,
    private readonly send: (value: number) => void,
  ) {
    this.words = memory.words(stateAddress, WORDS);
    this.input = memory.bytes.subarray(inputAddress, inputAddress + UART_INPUT_BYTES);
  }

  /** Bytes that arrive on the line. */
  receive(bytes: Uint8Array): void {
    for (const value of bytes) this.push(value);
    this.update();
  }

  /** Takes one received byte, or -1: the legacy SBI console reads past the registers. */
  takeInput(): number {
    const words = this.words;
    if (words[INPUT_COUNT] === 0) return -1;
    const value = this.input[words[INPUT_HEAD]!]!;
    words[INPUT_HEAD] = (words[INPUT_HEAD]! + 1) % UART_INPUT_BYTES;
    words[INPUT_COUNT]!--;
    this.update();
    return value;
  }

  read(offset: number, _size: number): number {
    const words = this.words;
    const divisor = (words[LCR]! & LCR_DIVISOR) !== 0;
    switch (offset) {
      case 0:
        return divisor ? words[DLL]! : Math.max(this.takeInput(), 0);
      case 1:
        return divisor ? words[DLM]! : words[IER]!;
      case 2: {
        const cause = this.cause();
        if (cause === IIR_TRANSMIT) {
          words[TRANSMIT_PENDING] = 0;
          this.update();
        }
        return cause | ((words[FCR]! & 1) !== 0 ? IIR_FIFO : 0);
      }
      case 3:
        return words[LCR]!;
      case 4:
        return words[MCR]!;
      case 5:
        return this.lineStatus();
      case 6:
        return this.modemStatus();
      case 7:
        return words[SCR]!;
      default:
        this.core.accessFault();
        return 0;
    }
  }

  write(offset: number, _size: number, value: number): void {
    const words = this.words;
    const byte = value & 0xff;
    const divisor = (words[LCR]! & LCR_DIVISOR) !== 0;
    switch (offset) {
      case 0:
        if (divisor) words[DLL] = byte;
        else this.transmit(byte);
        return;
      case 1:
        if (divisor) words[DLM] = byte;
        else this.setInterruptEnable(byte & 0x0f);
        return;
      case 2:
        if ((byte & 2) !== 0 || ((byte ^ words[FCR]!) & 1) !== 0) words[INPUT_COUNT] = 0;
        words[FCR] = byte & 0xc9;
        this.update();
        return;
      case 3:
        words[LCR] = byte;
        return;
      case 4:
        words[MCR] = byte & 0x1f;
        return;
      case 5:
      case 6:
        return; // read-only
      case 7:
        words[SCR] = byte;
        return;
      default:
        this.core.accessFault();
    }
  }

  private transmit(byte: number): void {
    if ((this.words[MCR]! & MCR_LOOPBACK) !== 0) this.push(byte);
    else this.send(byte);
    this.words[TRANSMIT_PENDING] = 1;
    this.update();
  }

  private setInterruptEnable(value: number): void {
    if ((value & IER_TRANSMIT) !== 0 && (this.words[IER]! & IER_TRANSMIT) === 0) this.words[TRANSMIT_PENDING] = 1;
    this.words[IER] = value;
    this.update();
  }

  private push(value: number): void {
    const words = this.words;
    if (words[INPUT_COUNT]! >= UART_INPUT_BYTES) {
      words[OVERRUN] = 1;
      return;
    }
    this.input[(words[INPUT_HEAD]! + words[INPUT_COUNT]!) % UART_INPUT_BYTES] = value;
    words[INPUT_COUNT]!++;
  }

  private lineStatus(): number {
    const words = this.words;
    let status = LSR_TRANSMITTER_EMPTY;
    if (words[INPUT_COUNT]! > 0) status |= LSR_DATA_READY;
    if (words[OVERRUN] !== 0) {
      status |= LSR_OVERRUN;
      words[OVERRUN] = 0;
      this.update();
    }
    return status;
  }

  private modemStatus(): number {
    const control = this.words[MCR]!;
    if ((control & MCR_LOOPBACK) === 0) return MSR_READY;
    // In loopback the outputs of the modem control register come back: RTS as CTS, DTR as DSR, OUT1 as RI, OUT2 as DCD.
    return ((control & 2) << 3) | ((control & 1) << 5) | ((control & 4) << 4) | ((control & 8) << 4);
  }

  private cause(): number {
    const words = this.words;
    const enabled = words[IER]!;
    if ((enabled & IER_LINE) !== 0 && words[OVERRUN] !== 0) return IIR_LINE;
    if ((enabled & IER_RECEIVE) !== 0 && words[INPUT_COUNT]! > 0) return IIR_RECEIVE;
    if ((enabled & IER_TRANSMIT) !== 0 && words[TRANSMIT_PENDING] !== 0) return IIR_TRANSMIT;
    return IIR_NONE;
  }

  private update(): void {
    this.plic.setLevel(this.interrupt, this.cause() !== IIR_NONE);
  }
}
