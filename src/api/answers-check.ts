/** Does not compile when a schema of an answer and the interface that the program works with differ, in any field at any depth. */
import type { z } from "zod";
import type { VerifyAnswer } from "../modules/management-api.js";
import type { LoggedEvent } from "../modules/management-events.js";
import type { FaultDone } from "../modules/management-faults.js";
import type { RecordingDone } from "../modules/management-recordings.js";
import type { ServerReport } from "../modules/management-status.js";
import type { eventSchema, faultDoneSchema, recordingDoneSchema, statusSchema, verifySchema } from "./answers.js";

/** Without `readonly`, all the way down: a schema's types are writable, the program's are not. */
type Writable<T> = T extends object ? { -readonly [Key in keyof T]: Writable<T[Key]> } : T;
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Twins<Schema extends z.ZodType, Interface> = Same<Writable<z.output<Schema>>, Writable<Interface>>;
/** Of answers that say `ok` or name the module beside what the interface has. */
type TwinsBeside<Schema extends z.ZodType, Interface> = Same<Writable<Omit<z.output<Schema>, "ok" | "module">>, Writable<Interface>>;
type Holds<T extends true> = T;

export type AnswersAreTwins = readonly [
  Holds<Twins<typeof statusSchema, ServerReport>>,
  Holds<Twins<typeof eventSchema, LoggedEvent>>,
  Holds<Twins<typeof verifySchema, VerifyAnswer>>,
  Holds<TwinsBeside<typeof faultDoneSchema, FaultDone>>,
  Holds<TwinsBeside<typeof recordingDoneSchema, RecordingDone>>,
];
