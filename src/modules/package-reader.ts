/**
 * Reads change packages in a thread of its own: a package may be hundreds of megabytes, and whoever leads has to stay quick. The
 * file is also what runs in that thread.
 */
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { fileURLToPath } from "node:url";
import { readPackage, type ChangePackage } from "../certification/change-package.js";
import { SteadfastError } from "../foundation/errors.js";
import { reportedError, type ReportedFacts } from "../foundation/reported-error.js";

export type PackageFacts = Pick<ChangePackage, "manifest" | "digest">;

type Answer = { readonly facts: PackageFacts } | { readonly error: ReportedFacts };

const PURPOSE = "read a change package";

/** @throws SteadfastError as `readPackage` does */
export function readPackageFacts(path: string): Promise<PackageFacts> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { purpose: PURPOSE, path } });
    worker.once("message", (answer: Answer) => ("facts" in answer ? resolve(answer.facts) : reject(reportedError(answer.error))));
    worker.once("error", reject);
    worker.once("exit", () => reject(new Error(`reading ${path} ended without an answer`)));
  });
}

function answer(path: string): Answer {
  try {
    const { manifest, digest } = readPackage(path);
    return { facts: { manifest, digest } };
  } catch (error) {
    if (!(error instanceof SteadfastError)) throw error;
    return { error: { code: error.code, message: error.message, exit: error.exit } };
  }
}

const task = workerData as { readonly purpose?: string; readonly path?: string } | null;
if (!isMainThread && task?.purpose === PURPOSE && task.path !== undefined) parentPort?.postMessage(answer(task.path));
