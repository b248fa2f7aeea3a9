/** Facts of the host that figures depend on, and what /proc says of a process. */
import { readFileSync } from "node:fs";
import { cpus, loadavg, release } from "node:os";

/** Kernel clock ticks a second in /proc/PID/stat: fixed on Linux for user space. */
const CLOCK_TICKS_PER_SECOND = 100;

export interface HostFacts {
  readonly cores: number;
  readonly processor: string;
  readonly node: string;
  readonly kernel: string;
  readonly loadAverage: number;
}

export function hostFacts(): HostFacts {
  const all = cpus();
  return {
    cores: all.length,
    processor: all[0]?.model ?? "unknown",
    node: process.version,
    kernel: release(),
    loadAverage: loadavg()[0] ?? 0,
  };
}

/** One line for the head of every report. */
export function hostLine(facts: HostFacts = hostFacts()): string {
  const crowded = facts.cores < 4 ? `; ${facts.cores} cores are shared by two CPU modules, the I/O module and the load generator` : "";
  const busy = facts.loadAverage > facts.cores / 2 ? "; the host was busy before we began: do not quote these figures" : "";
  return `host: ${facts.cores} cores (${facts.processor}), Linux ${facts.kernel}, Node ${facts.node}, load average ${facts.loadAverage.toFixed(2)}${crowded}${busy}`;
}

/** Processor seconds that a process has used so far; NaN when it is gone. */
export function cpuSeconds(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The command name, in parentheses, may hold anything; fields are counted from after it: utime is the 14th of all, stime the 15th.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_SECOND;
  } catch {
    return Number.NaN;
  }
}

export interface ProcessMemory {
  readonly residentMiB: number;
  readonly peakMiB: number;
}

export function processMemory(pid: number): ProcessMemory {
  const field = (text: string, name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? Number.NaN) / 1024;
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return { residentMiB: field(status, "VmRSS"), peakMiB: field(status, "VmHWM") };
  } catch {
    return { residentMiB: Number.NaN, peakMiB: Number.NaN };
  }
}
