/** The image that QEMU boots beside us: the very one that our server runs. */
import { SteadfastError } from "../foundation/errors.js";
import { listImages } from "../image/index.js";
import type { QemuImage } from "./qemu.js";
import type { ServerView } from "./server-view.js";

export function imageOf(view: ServerView): QemuImage {
  const image = listImages().find((each) => each.digest === view.image.digest);
  if (image === undefined)
    throw new SteadfastError("BENCH_FAILED", { what: `The search for image ${view.image.digest}`, why: "it is not in the cache" });
  return { kernelPath: image.kernelPath, initrdPath: image.initrdPath, commandLine: image.commandLine, memoryMiB: view.memoryMiB };
}
