/** Those who asked for the machines to be compared, and their answer. */
import { SteadfastError } from "../foundation/errors.js";
import type { VerifyAnswer } from "./management-api.js";

const VERIFY_LIMIT_MS = 60_000;

interface Waiter {
  resolve(answer: VerifyAnswer): void;
  reject(error: Error): void;
}

export class VerifyRequests {
  readonly #ask: () => boolean;
  #waiters: Waiter[] = [];

  /** `ask` has the active I/O module compare; false: it is not there. */
  constructor(ask: () => boolean) {
    this.#ask = ask;
  }

  /** All who ask meanwhile get the same answer. */
  add(): Promise<VerifyAnswer> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters = this.#waiters.filter((each) => each !== waiter);
        reject(new SteadfastError("VERIFY_FAILED", { why: `no answer within ${VERIFY_LIMIT_MS / 1000} s` }));
      }, VERIFY_LIMIT_MS);
      const waiter: Waiter = {
        resolve: (answer) => {
          clearTimeout(timer);
          resolve(answer);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      this.#waiters.push(waiter);
      if (this.#waiters.length === 1 && !this.#ask()) this.nobody();
    });
  }

  /** The I/O module is there (again). */
  repeat(): void {
    if (this.#waiters.length > 0) this.#ask();
  }

  nobody(): void {
    this.answered(0, {});
  }

  answered(seq: number, digests: VerifyAnswer["digests"]): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    const values = Object.values(digests);
    const equal = values.length >= 2 && values.every((value) => value === values[0]);
    for (const waiter of waiters) {
      if (values.length > 0) waiter.resolve({ seq, digests, equal });
      else waiter.reject(new SteadfastError("VERIFY_FAILED", { why: "no CPU module could answer, or one was lost meanwhile" }));
    }
  }
}
