/** The device tree of our board: what the kernel learns about the machine. */
import {
  CLINT_ADDRESS,
  CLINT_BYTES,
  CONSOLE_SLOT,
  DISK_SLOT,
  ENTROPY_SLOT,
  FINISHER_ADDRESS,
  NETWORK_SLOT,
  PLIC_ADDRESS,
  PLIC_BYTES,
  PLIC_SOURCES,
  RTC_ADDRESS,
  RTC_INTERRUPT,
  UART0_ADDRESS,
  UART0_INTERRUPT,
  UART1_ADDRESS,
  UART1_INTERRUPT,
  UART_BYTES,
  VIRTIO_ADDRESS,
  VIRTIO_INTERRUPT,
  VIRTIO_SLOT_BYTES,
} from "./device-layout.js";
import { cells64, writeDeviceTree } from "./flattened-device-tree.js";
import type { TreeNode } from "./flattened-device-tree.js";
import { DRAM } from "./layout.js";

/** One guest instruction is one ns is one `time` unit. */
export const TIMEBASE_HZ = 1_000_000_000;
const UART_CLOCK_HZ = 3_686_400;
const EXTENSIONS = ["i", "m", "a", "f", "d", "c", "zicntr", "zicsr", "zifencei", "sstc"];

// Cells of interrupts-extended at a hart's own controller.
const HART_SOFTWARE = 3;
const HART_TIMER = 7;
const HART_SUPERVISOR_EXTERNAL = 9;
const HART_MACHINE_EXTERNAL = 11;
const PLIC_PHANDLE = 1;
const hartPhandle = (hart: number): number => 2 + hart;

export interface DeviceTreeOptions {
  readonly ramBytes: number;
  readonly harts: number;
  readonly commandLine: string;
  /** Guest-physical range of the initial RAM disk; equal ends: none. */
  readonly initrdStart: number;
  readonly initrdEnd: number;
  readonly randomSeed: Uint8Array;
  readonly hasDisk: boolean;
  readonly hasAgentPort: boolean;
}

const hex = (value: number): string => value.toString(16);
const range = (address: number, bytes: number): number[] => [...cells64(address), ...cells64(bytes)];

function hartNode(hart: number): TreeNode {
  return {
    name: `cpu@${hex(hart)}`,
    properties: {
      device_type: "cpu",
      reg: [hart],
      status: "okay",
      compatible: "riscv",
      "riscv,isa": "rv64imafdc_zicntr_zicsr_zifencei_sstc",
      "riscv,isa-base": "rv64i",
      "riscv,isa-extensions": EXTENSIONS,
      "mmu-type": "riscv,sv39",
    },
    children: [
      {
        name: "interrupt-controller",
        properties: {
          "#interrupt-cells": [1],
          "interrupt-controller": true,
          compatible: "riscv,cpu-intc",
          phandle: [hartPhandle(hart)],
        },
      },
    ],
  };
}

function serialNode(address: number, interrupt: number): TreeNode {
  return {
    name: `serial@${hex(address)}`,
    properties: {
      compatible: "ns16550a",
      reg: range(address, UART_BYTES),
      interrupts: [interrupt],
      "interrupt-parent": [PLIC_PHANDLE],
      "clock-frequency": [UART_CLOCK_HZ],
    },
  };
}

function virtioNode(slot: number): TreeNode {
  const address = VIRTIO_ADDRESS + slot * VIRTIO_SLOT_BYTES;
  return {
    name: `virtio_mmio@${hex(address)}`,
    properties: {
      compatible: "virtio,mmio",
      reg: range(address, VIRTIO_SLOT_BYTES),
      interrupts: [VIRTIO_INTERRUPT + slot],
      "interrupt-parent": [PLIC_PHANDLE],
    },
  };
}

function busNode({ harts, hasDisk, hasAgentPort }: DeviceTreeOptions): TreeNode {
  const each = Array.from({ length: harts }, (_, hart) => hartPhandle(hart));
  return {
    name: "soc",
    properties: { "#address-cells": [2], "#size-cells": [2], compatible: "simple-bus", ranges: true },
    children: [
      {
        name: `test@${hex(FINISHER_ADDRESS)}`,
        properties: { compatible: ["sifive,test1", "sifive,test0", "syscon"], reg: range(FINISHER_ADDRESS, 0x1000) },
      },
      {
        name: `rtc@${hex(RTC_ADDRESS)}`,
        properties: {
          compatible: "google,goldfish-rtc",
          reg: range(RTC_ADDRESS, 0x1000),
          interrupts: [RTC_INTERRUPT],
          "interrupt-parent": [PLIC_PHANDLE],
        },
      },
      {
        name: `clint@${hex(CLINT_ADDRESS)}`,
        properties: {
          compatible: ["sifive,clint0", "riscv,clint0"],
          reg: range(CLINT_ADDRESS, CLINT_BYTES),
          "interrupts-extended": each.flatMap((phandle) => [phandle, HART_SOFTWARE, phandle, HART_TIMER]),
        },
      },
      {
        name: `plic@${hex(PLIC_ADDRESS)}`,
        properties: {
          phandle: [PLIC_PHANDLE],
          compatible: ["sifive,plic-1.0.0", "riscv,plic0"],
          reg: range(PLIC_ADDRESS, PLIC_BYTES),
          "interrupt-controller": true,
          "#interrupt-cells": [1],
          "#address-cells": [0],
          "riscv,ndev": [PLIC_SOURCES - 1],
          "interrupts-extended": each.flatMap((phandle) => [phandle, HART_MACHINE_EXTERNAL, phandle, HART_SUPERVISOR_EXTERNAL]),
        },
      },
      serialNode(UART0_ADDRESS, UART0_INTERRUPT),
      serialNode(UART1_ADDRESS, UART1_INTERRUPT),
      virtioNode(NETWORK_SLOT),
      ...(hasDisk ? [virtioNode(DISK_SLOT)] : []),
      virtioNode(ENTROPY_SLOT),
      ...(hasAgentPort ? [virtioNode(CONSOLE_SLOT)] : []),
    ],
  };
}

export function buildDeviceTree(options: DeviceTreeOptions): Uint8Array {
  const { harts, initrdStart, initrdEnd } = options;
  const chosen: Record<string, string | number[] | Uint8Array> = {
    bootargs: options.commandLine,
    "stdout-path": `/soc/serial@${hex(UART0_ADDRESS)}`,
    "rng-seed": options.randomSeed,
  };
  if (initrdEnd > initrdStart) {
    chosen["linux,initrd-start"] = cells64(initrdStart);
    chosen["linux,initrd-end"] = cells64(initrdEnd);
  }
  const root: TreeNode = {
    name: "",
    properties: { "#address-cells": [2], "#size-cells": [2], compatible: "riscv-virtio", model: "steadfast,rv64" },
    children: [
      { name: "chosen", properties: chosen },
      {
        name: "aliases",
        properties: {
          serial0: `/soc/serial@${hex(UART0_ADDRESS)}`,
          serial1: `/soc/serial@${hex(UART1_ADDRESS)}`,
        },
      },
      { name: `memory@${hex(DRAM)}`, properties: { device_type: "memory", reg: range(DRAM, options.ramBytes) } },
      {
        name: "cpus",
        properties: { "#address-cells": [1], "#size-cells": [0], "timebase-frequency": [TIMEBASE_HZ] },
        children: Array.from({ length: harts }, (_, hart) => hartNode(hart)),
      },
      busNode(options),
    ],
  };
  return writeDeviceTree(root, 0);
}
