/** How a build tells its caller where it stands. */

export interface BuildProgress {
  /** Short name of the step, the same for its whole duration. */
  readonly step: string;
  /** 0 to 1 within the step; absent where the step cannot say. */
  readonly fraction?: number;
  /** A sentence that the operator should see, such as a mirror that answered only in part. */
  readonly warning?: string;
}

export type OnProgress = (progress: BuildProgress) => void;
