/**
 * A program of 25 instructions for the guest, `resize DIRECTORY BLOCKS`: asks the kernel to grow the ext4 that is mounted there to so many
 * blocks (ioctl EXT4_IOC_RESIZE_FS, as linux/fs/ext4 has it), and ends with 0 or the kernel's error number. Debian's resize2fs asks the same,
 * but opens the block device for writing, which a kernel without CONFIG_BLK_DEV_WRITE_MOUNTED, as the hardened one, refuses.
 */

/** What the assembler makes of each line, which test/file-system-growth.test.ts compares. */
export const INSTRUCTIONS: readonly (readonly [word: number, assembly: string])[] = [
  // openat(AT_FDCWD, argv[1], O_RDONLY)
  [0x01013583, "ld a1, 16(sp)"],
  [0xf9c00513, "li a0, -100"],
  [0x00000613, "li a2, 0"],
  [0x03800893, "li a7, 56"],
  [0x00000073, "ecall"],
  [0x04054263, "bltz a0, .+68"],
  // The number in argv[2].
  [0x01813283, "ld t0, 24(sp)"],
  [0x00000313, "li t1, 0"],
  [0x00a00e13, "li t3, 10"],
  [0x0002c383, "lbu t2, 0(t0)"],
  [0x00038c63, "beqz t2, .+24"],
  [0xfd038393, "addi t2, t2, -48"],
  [0x03c30333, "mul t1, t1, t3"],
  [0x00730333, "add t1, t1, t2"],
  [0x00128293, "addi t0, t0, 1"],
  [0xfe9ff06f, "j .-24"],
  // ioctl(directory, EXT4_IOC_RESIZE_FS, &blocks)
  [0xfe613c23, "sd t1, -8(sp)"],
  [0xff810613, "addi a2, sp, -8"],
  [0x400865b7, "lui a1, 0x40086"],
  [0x61058593, "addi a1, a1, 0x610"],
  [0x01d00893, "li a7, 29"],
  [0x00000073, "ecall"],
  // exit(-result)
  [0x40a00533, "neg a0, a0"],
  [0x05d00893, "li a7, 93"],
  [0x00000073, "ecall"],
];

const HEADER_BYTES = 64;
const SEGMENT_BYTES = 56;
const LOAD_ADDRESS = 0x10000n;
const ELF_RISCV = 243;
const READ_EXECUTE = 5;

/** The program as an ELF file with one segment. */
export function resizeProgram(): Uint8Array {
  const start = HEADER_BYTES + SEGMENT_BYTES;
  const bytes = new Uint8Array(start + 4 * INSTRUCTIONS.length);
  const view = new DataView(bytes.buffer);
  // 64-bit, little-endian, version 1.
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, ELF_RISCV, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, LOAD_ADDRESS + BigInt(start), true);
  view.setBigUint64(32, BigInt(HEADER_BYTES), true);
  view.setUint16(52, HEADER_BYTES, true);
  view.setUint16(54, SEGMENT_BYTES, true);
  view.setUint16(56, 1, true);
  view.setUint32(HEADER_BYTES, 1, true);
  view.setUint32(HEADER_BYTES + 4, READ_EXECUTE, true);
  view.setBigUint64(HEADER_BYTES + 16, LOAD_ADDRESS, true);
  view.setBigUint64(HEADER_BYTES + 24, LOAD_ADDRESS, true);
  view.setBigUint64(HEADER_BYTES + 32, BigInt(bytes.length), true);
  view.setBigUint64(HEADER_BYTES + 40, BigInt(bytes.length), true);
  view.setBigUint64(HEADER_BYTES + 48, 0x1000n, true);
  for (const [at, [word]] of INSTRUCTIONS.entries()) view.setUint32(start + 4 * at, word, true);
  return bytes;
}
