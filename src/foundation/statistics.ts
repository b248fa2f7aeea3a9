/** Honest small statistics: medians over rounds, never single runs. Pure. */

/** Middle value; the mean of the two middle ones for an even count; NaN for nothing. */
export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle] ?? Number.NaN;
  return ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

export function minimum(values: readonly number[]): number {
  return values.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY);
}

export function maximum(values: readonly number[]): number {
  return values.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
}

/** Smallest value that at least `share` (0..1) of all values do not exceed. */
export function percentile(values: readonly number[], share: number): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const index = Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1));
  return sorted[index] ?? Number.NaN;
}

/**
 * Ratio of two interleaved series A B A B …: the median of the ratios of neighbouring rounds. A drift of the host's speed hits both
 * of a pair alike, so the ratio of a pair holds where the ratio of two far-apart medians would not.
 */
export function pairedRatio(numerators: readonly number[], denominators: readonly number[]): number {
  const ratios: number[] = [];
  for (let index = 0; index < Math.min(numerators.length, denominators.length); index++) {
    const denominator = denominators[index] ?? 0;
    if (denominator > 0) ratios.push((numerators[index] ?? 0) / denominator);
  }
  return median(ratios);
}
