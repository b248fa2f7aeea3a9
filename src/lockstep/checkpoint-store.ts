/** Where a CPU module writes checkpoints down: files in a CPU module, arrays in the simulator. Synchronous: it is part of a hold. */
import type { ImagePiece } from "../machine/machine.js";

export interface StoredCheckpoint {
  readonly seq: number;
  /** Highest configuration seen when it was marked. */
  readonly configuration: number;
}

/** Every method may throw when the place is full or broken; the module then says so and goes on without. */
export interface CheckpointStore {
  /** Begins an empty one and gives it a name of its own. */
  open(): string;
  /** Pieces of the next checkpoint; what is not put again is as in the one before. The bytes are views: copied at once. */
  put(pieces: readonly ImagePiece[]): void;
  /** All pieces of the next checkpoint are in. */
  seal(checkpoint: StoredCheckpoint): void;
  /** The sealed one is verified: from now on it is what `load` gives, and the former one's pieces may be overwritten. */
  verified(): void;
  /** `retire`: what is verified stays for whoever knows the name. */
  close(retire: boolean): void;
  /** The verified checkpoint of that name, of another module's making too; its state record comes last. */
  load(name: string, restore: (piece: ImagePiece) => void): StoredCheckpoint;
}
