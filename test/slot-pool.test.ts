import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SlotPool } from "../dist/modules/slot-pool.js";
import { holds } from "./support/properties.js";

test("slots that were released are taken again in rising order, and new ones follow one another", () => {
  const pool = new SlotPool(16);
  assert.deepEqual(
    Array.from({ length: 8 }, () => pool.take()),
    [0, 1, 2, 3, 4, 5, 6, 7],
  );
  for (const slot of [5, 2, 4, 3]) pool.release(slot);
  assert.deepEqual(
    Array.from({ length: 4 }, () => pool.take()),
    [2, 3, 4, 5],
  );
  assert.equal(pool.take(), 8);
});

test("a slot is never taken twice, and there are as many as were asked for", () => {
  const CAPACITY = 12;
  holds(
    fc.tuple(fc.array(fc.nat(CAPACITY), { maxLength: 200 })),
    ([choices]) => {
      const pool = new SlotPool(CAPACITY);
      const taken: number[] = [];
      for (const choice of choices) {
        if (choice < taken.length) pool.release(taken.splice(choice, 1)[0] as number);
        else if (taken.length < CAPACITY) {
          const slot = pool.take();
          assert.ok(slot >= 0 && slot < CAPACITY && !taken.includes(slot), `slot ${slot} while ${taken.join(" ")} are taken`);
          taken.push(slot);
        } else assert.throws(() => pool.take());
      }
    },
    200,
  );
});
