/** The SiFive test finisher: one register that ends the machine. 0x5555 powers off, 0x7777 resets, 0x3333 powers off as a failure. */
import type { Rv64Core } from "./core.js";

const PASS = 0x5555;
const FAIL = 0x3333;
const RESET = 0x7777;

export class TestFinisher {
  constructor(
    private readonly core: Rv64Core,
    private readonly end: (kind: "powerOff" | "reset", failure: boolean, code: number) => void,
  ) {}

  read(offset: number, _size: number): number {
    if (offset >= 8) this.core.accessFault();
    return 0;
  }

  write(offset: number, _size: number, value: number): void {
    if (offset >= 8) {
      this.core.accessFault();
    } else if (offset === 0) {
      const code = value >>> 16;
      switch (value & 0xffff) {
        case PASS:
          return this.end("powerOff", false, 0);
        case FAIL:
          return this.end("powerOff", true, code);
        case RESET:
          return this.end("reset", false, code);
      }
    }
  }
}
