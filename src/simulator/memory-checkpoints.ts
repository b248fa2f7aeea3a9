/** Checkpoint stores of a simulated server: what all modules of it have written down, by name. */
import { assert } from "../foundation/assert.js";
import type { CheckpointStore, StoredCheckpoint } from "../lockstep/checkpoint-store.js";
import type { ImagePiece } from "../machine/machine.js";

interface Stored {
  checkpoint: StoredCheckpoint | null;
  readonly pieces: Map<number, Uint8Array>;
}

export class MemoryCheckpoints {
  readonly #stored = new Map<string, Stored>();
  /** Nothing more can be written. */
  isFull = false;

  /** Every stored page changes by itself, as on a disk that rots. */
  rot(): void {
    for (const { pieces } of this.#stored.values()) {
      for (const [page, bytes] of pieces) if (page >= 0 && bytes.length > 0) bytes[0] = (bytes[0] as number) ^ 1;
    }
  }

  #demandRoom(): void {
    if (this.isFull) throw new Error("no space left");
  }

  /** The store of one incarnation of a module. */
  storeFor(prefix: string): CheckpointStore {
    let opened = 0;
    let name = "";
    let pending = new Map<number, Uint8Array>();
    let sealed: StoredCheckpoint | null = null;
    let isOpen = false;
    return {
      open: () => {
        assert(!isOpen, "one checkpoint at a time");
        this.#demandRoom();
        isOpen = true;
        opened += 1;
        name = `${prefix}-${opened}`;
        pending = new Map();
        sealed = null;
        this.#stored.set(name, { checkpoint: null, pieces: new Map() });
        return name;
      },
      put: (pieces) => {
        this.#demandRoom();
        for (const { page, bytes } of pieces) pending.set(page, bytes.slice());
      },
      seal: (checkpoint) => {
        sealed = checkpoint;
      },
      verified: () => {
        const stored = this.#stored.get(name);
        if (stored === undefined || sealed === null) return;
        for (const [page, bytes] of pending) stored.pieces.set(page, bytes);
        stored.checkpoint = sealed;
        pending = new Map();
        sealed = null;
      },
      close: (retire) => {
        isOpen = false;
        if (!retire) this.#stored.delete(name);
      },
      load: (wanted, restore) => this.#load(wanted, restore),
    };
  }

  #load(name: string, restore: (piece: ImagePiece) => void): StoredCheckpoint {
    const stored = this.#stored.get(name);
    if (stored === undefined || stored.checkpoint === null) throw new Error(`there is no checkpoint ${name}`);
    const state = stored.pieces.get(-1);
    assert(state !== undefined, "a checkpoint has a state record");
    for (const [page, bytes] of stored.pieces) if (page >= 0) restore({ page, bytes });
    restore({ page: -1, bytes: state });
    return stored.checkpoint;
  }
}
