/**
 * Regions that mirrors may disagree on since a controller or a loss of power cut off writes. Until they were compared nobody reads or
 * writes there: else a later loss of one mirror could bring an older state back.
 */
import { REGION_BYTES } from "./limits.js";
import type { MirrorRow } from "./mirror-rows.js";
import { RegionSet, regionCount, regionsOf } from "./region-set.js";

/** The two bitmaps in the answer to `configure` and `inspect`. */
export function logsOf(bytes: Uint8Array, sizeBytes: number): { logged: RegionSet; doubtful: RegionSet } {
  const regions = regionCount(sizeBytes);
  const half = bytes.length / 2;
  return { logged: new RegionSet(regions, bytes.subarray(0, half)), doubtful: new RegionSet(regions, bytes.subarray(half)) };
}

export class Settlement {
  #unsettled = new RegionSet(0);
  /** By mirror: regions in which a write may have been cut off. */
  readonly #doubtful = new Map<string, RegionSet>();

  /** Of what the mirrors in sync say when the controller begins with them. */
  begin(sizeBytes: number, mirrors: readonly { readonly row: MirrorRow; readonly bytes: Uint8Array }[]): void {
    this.#unsettled = new RegionSet(regionCount(sizeBytes));
    for (const { row, bytes } of mirrors) {
      const { logged, doubtful } = logsOf(bytes, row.header.sizeBytes);
      this.#doubtful.set(row.name, doubtful);
      // One alone has nobody to disagree with.
      this.#unsettled.addAll(mirrors.length > 1 ? logged : doubtful);
    }
  }

  /** A mirror that is the only one left came back. */
  returned(row: MirrorRow, bytes: Uint8Array): RegionSet {
    const { doubtful } = logsOf(bytes, row.header.sizeBytes);
    this.#doubtful.set(row.name, doubtful);
    this.#unsettled.addAll(doubtful);
    return doubtful;
  }

  grow(sizeBytes: number): void {
    this.#unsettled = new RegionSet(regionCount(sizeBytes), this.#unsettled.bits);
  }

  get size(): number {
    return this.#unsettled.size;
  }

  get first(): number | null {
    return this.#unsettled.next();
  }

  has(region: number): boolean {
    return this.#unsettled.has(region);
  }

  *within(offset: number, lengthBytes: number): Generator<number> {
    for (const region of regionsOf(offset, lengthBytes)) if (this.#unsettled.has(region)) yield region;
  }

  /** Whether a write of this mirror's may have been cut off there. */
  isDoubtful(name: string, region: number): boolean {
    return this.#doubtful.get(name)?.has(region) ?? false;
  }

  settled(region: number): void {
    this.#unsettled.delete(region);
    for (const doubtful of this.#doubtful.values()) doubtful.delete(region);
  }
}

export function regionStart(region: number): number {
  return region * REGION_BYTES;
}
