/** What the rv64 engine reads and writes as files: device trees, ELF programs, kernels; and bare-metal runs of them. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { buildDeviceTree } from "../dist/machine/engines/rv64/device-tree.js";
import { parseElf } from "../dist/machine/engines/rv64/elf.js";
import { checkKernel, checkMemory, runElf } from "../dist/machine/engines/rv64/index.js";
import { buildProgram, guestCore, guestKernel, hostTool, sourceFile } from "./support/board-guest.js";
import { randomSource } from "./support/board-stub.js";

const directory = mkdtempSync(join(tmpdir(), "steadfast-files-"));
after(() => rmSync(directory, { recursive: true, force: true }));

test("dtc reads the device tree and complains about nothing that matters", () => {
  for (const harts of [1, 4]) {
    const tree = buildDeviceTree({
      ramBytes: 3072 * 2 ** 20,
      harts,
      hasAgentPort: harts === 1,
      commandLine: "console=ttyS0 quiet",
      initrdStart: 0x1_3000_0000,
      initrdEnd: 0x1_3123_4567,
      randomSeed: new Uint8Array(64).fill(0xab),
      hasDisk: harts === 4,
    });
    const path = join(directory, "tree.dtb");
    writeFileSync(path, tree);
    hostTool("dtc", "device-tree-compiler", ["--version"]);
    const run = spawnSync("dtc", ["-I", "dtb", "-O", "dts", path], { encoding: "utf8" });
    assert.equal(run.status, 0, run.stderr);
    assert.doesNotMatch(run.stderr, /error/i);
    const text = run.stdout;
    for (const expected of [
      /bootargs = "console=ttyS0 quiet"/,
      /linux,initrd-start = <0x0?1 0x30000000>/,
      /linux,initrd-end = <0x0?1 0x31234567>/,
      /memory@80000000[^}]*reg = <0x00 0x80000000 0x00 0xc0000000>/,
      /timebase-frequency = <0x3b9aca00>/,
      /riscv,isa = "rv64imafdc_zicntr_zicsr_zifencei_sstc"/,
      /mmu-type = "riscv,sv39"/,
      /serial@10000000/,
      /serial@10009000/,
      /virtio_mmio@10001000/,
      /virtio_mmio@10003000/,
      /rng-seed = /,
    ]) {
      assert.match(text, expected);
    }
    assert.equal(text.match(/cpu@/g)?.length, harts);
    assert.equal(text.includes("virtio_mmio@10002000"), harts === 4, "only a machine with a disk mentions it");
  }
});

test("an unused RAM disk is not mentioned", () => {
  const tree = buildDeviceTree({
    ramBytes: 1 << 26,
    harts: 1,
    hasAgentPort: false,
    commandLine: "",
    initrdStart: 5,
    initrdEnd: 5,
    randomSeed: new Uint8Array(64),
    hasDisk: false,
  });
  assert.equal(Buffer.from(tree).includes("initrd"), false);
});

const PROGRAM = `
  .globl _start
  _start:
    li t0, 0x10000000
    li t1, 'h'; sb t1, 0(t0)
    li t1, 'i'; sb t1, 0(t0)
    la t0, begin_signature
    li t1, 0x12345678; sw t1, 4(t0)
    la t0, call
    la t1, text; sd t1, 16(t0)
    la t2, tohost; sd t0, 0(t2)
    la t2, fromhost
  1: ld t1, 0(t2); beqz t1, 1b
    ENDING
  2: j 2b
  .data
  .balign 64
  .globl tohost, fromhost
  tohost: .dword 0
  .balign 64
  fromhost: .dword 0
  call: .dword 64, 1, 0, 5
  text: .ascii " host"
  .balign 16
  .globl begin_signature, end_signature
  begin_signature: .dword 0, 0
  end_signature:
`;
const SCRIPT = `
  ENTRY(_start)
  SECTIONS { . = 0x80000000; .text : { *(.text*) } .data : { *(.data*) } .bss : { *(.bss*) } }
`;

function program(ending: string): Buffer {
  const script = join(directory, "program.ld");
  const source = join(directory, "program.S");
  writeFileSync(script, SCRIPT);
  writeFileSync(source, PROGRAM.replace("ENDING", ending));
  return buildProgram(script, [source]).elf;
}

const TO_HOST = (value: number): string => `li t1, ${value}; la t2, tohost; sd t1, 0(t2)`;
const FINISHER = (value: number): string => `li t0, 0x100000; li t1, ${value}; sw t1, 0(t0)`;
const maxInstructions = 100_000;

test("a bare-metal program talks to the host, leaves a signature and ends by tohost", () => {
  const core = guestCore();
  const run = runElf({ core, elf: program(TO_HOST(1)), maxInstructions });
  assert.deepEqual([run.exitCode, run.reason], [0, "tohost"]);
  assert.equal(Buffer.from(run.console).toString(), "hi host");
  assert.equal(Buffer.from(run.signature!).toString("hex"), "00000000785634120000000000000000");
  assert.equal(runElf({ core, elf: program(TO_HOST(15)), maxInstructions }).exitCode, 7);
});

test("the finisher ends it too; and there are limits", () => {
  const core = guestCore();
  const ended = [0x5555, 0x73333].map((value) => runElf({ core, elf: program(FINISHER(value)), maxInstructions }));
  assert.deepEqual(
    ended.map(({ exitCode, reason }) => [exitCode, reason]),
    [
      [0, "finisher"],
      [7, "finisher"],
    ],
  );
  const endless = runElf({ core, elf: program("nop"), maxInstructions });
  assert.deepEqual([endless.exitCode, endless.reason, endless.instructions], [null, "limit", BigInt(maxInstructions)]);
  assert.equal(runElf({ core, elf: program("wfi"), maxInstructions }).reason, "idle");
  // A wait with the machine timer armed goes on when it is due: time jumps there.
  const timed = `la t0, 3f; csrw mtvec, t0; li t0, 0x2004000; li t1, 5000000; sd t1, 0(t0); li t1, 0x80; csrs mie, t1; csrsi mstatus, 8
    4: wfi; j 4b
    .balign 4
    3: ${TO_HOST(5)}`;
  assert.deepEqual((({ exitCode, reason }) => [exitCode, reason])(runElf({ core, elf: program(timed), maxInstructions })), [2, "tohost"]);
});

test("a trace has every instruction and ends with the last one", () => {
  const lines: [number, bigint, number][] = [];
  const run = runElf({ core: guestCore(), elf: program(TO_HOST(1)), maxInstructions, onTrace: (...line) => void lines.push(line) });
  assert.ok(run.instructions - BigInt(lines.length) <= 3n, "all but those between the host's calls");
  assert.deepEqual(lines[0], [0, 0x80000000n, 0x100002b7]);
  const untraced = runElf({ core: guestCore(), elf: program(TO_HOST(1)), maxInstructions });
  assert.deepEqual(untraced.signature, run.signature);
});

test("steadfast engine run: exit code, JSON, signature, errors", () => {
  const path = join(directory, "program.elf");
  const signature = join(directory, "signature");
  const cli = fileURLToPathOfCli();
  const steadfast = (...args: string[]) => spawnSync(process.execPath, [cli, "engine", "run", ...args], { encoding: "utf8" });
  writeFileSync(path, program(TO_HOST(1)));
  const passed = steadfast(path, "--json", "--signature", signature);
  assert.equal(passed.status, 0, passed.stderr);
  const facts = JSON.parse(passed.stdout) as { passed: boolean; reason: string; console: string };
  assert.deepEqual([facts.passed, facts.reason, facts.console], [true, "tohost", "hi host"]);
  assert.equal(readFileSync(signature, "utf8"), "00000000\n12345678\n00000000\n00000000\n");
  const traced = steadfast(path, "--trace");
  assert.equal(traced.stdout, "hi host");
  assert.match(traced.stderr, /^0 0000000080000000 100002b7\n/);
  writeFileSync(path, program(TO_HOST(15)));
  assert.equal(steadfast(path).status, 7);
  writeFileSync(path, program("nop"));
  assert.equal(steadfast(path, "--max-instructions", "5000").status, 124);
  const wrong = steadfast(cli);
  assert.equal(wrong.status, 5);
  assert.match(wrong.stderr, /no ELF file/);
  assert.equal(steadfast(join(directory, "absent")).status, 5);
});

function fileURLToPathOfCli(): string {
  return join(sourceFile(""), "../../bin/steadfast");
}

test("cut and garbled ELF files end in a sentence, never in a crash", () => {
  const elf = program(TO_HOST(1));
  const random = randomSource(5);
  const attempt = (file: Uint8Array): void => {
    try {
      parseElf(file, "x.elf");
    } catch (error) {
      assert.equal((error as { code?: string }).code, "ELF_FORMAT", String(error));
    }
  };
  for (let length = 0; length < elf.length; length += 1 + random(200)) attempt(elf.subarray(0, length));
  for (let round = 0; round < 3000; round++) {
    const garbled = Buffer.from(elf);
    for (let count = 1 + random(4); count > 0; count--) garbled[random(2) === 0 ? random(64) : random(garbled.length)] = random(256);
    attempt(garbled);
  }
  const low = Buffer.from(elf);
  low.writeBigUInt64LE(0x1000n, Number(low.readBigUInt64LE(32)) + 24);
  if (parseElf(low, "x").segments.some((segment) => segment.physicalAddress === 0x1000n)) {
    assert.throws(() => runElf({ core: guestCore(), elf: low, maxInstructions }), { code: "ELF_FORMAT" });
  }
});

test("only flat little-endian RISC-V kernels that fit are taken", () => {
  const good = guestKernel();
  assert.ok(checkKernel(good) > good.length);
  const compressed = execFileSync("gzip", ["-c"], { input: good });
  for (const bad of [new Uint8Array(0), good.subarray(0, 63), compressed, new Uint8Array(4096), Buffer.from(good).fill(0, 0x38, 0x3c)]) {
    assert.throws(() => checkKernel(bad), { code: "KERNEL_FORMAT" });
  }
  const big = Buffer.from(good);
  big.writeBigUInt64LE(1n << 40n, 16);
  assert.throws(() => checkKernel(big), { code: "KERNEL_FORMAT" });
  const files = { kernel: good, initrd: new Uint8Array(60 << 20), commandLine: "" };
  assert.throws(() => checkMemory(64 << 20, files), { code: "GUEST_MEMORY" });
  checkMemory(96 << 20, files);
});
