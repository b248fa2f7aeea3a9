/** Entry point of every module process: `node main.js <cpu|io|management> <config.json>`. */
import { SteadfastError } from "../foundation/errors.js";
import { readModuleConfig } from "./config.js";
import { collectLessOften } from "./v8-flags.js";

async function main(): Promise<void> {
  const [kind, path] = process.argv.slice(2);
  if (kind === undefined || path === undefined) throw new SteadfastError("USAGE", { what: "usage: main.js cpu|io|management CONFIG.json" });
  const config = readModuleConfig(path);
  if (config.kind !== kind) throw new SteadfastError("MODULE_CONFIG", { where: path, field: "kind" });
  process.title = `steadfast ${config.server} ${config.name}`;
  // A module outlives the terminal and the process that started it; a reader that went away is an error of one connection only.
  process.on("SIGHUP", () => undefined);
  process.on("SIGPIPE", () => undefined);
  if (config.kind !== "management") collectLessOften();
  switch (config.kind) {
    case "cpu":
      return (await import("./cpu.js")).runCpu(config);
    case "io":
      return (await import("./io.js")).runIo(config);
    case "management":
      return (await import("./management.js")).runManagement(config);
  }
}

main().catch((error: unknown) => {
  if (error instanceof SteadfastError) {
    console.error(`${error.code}: ${error.message}`);
    process.exit(error.exit);
  }
  console.error(error);
  process.exit(1);
});
