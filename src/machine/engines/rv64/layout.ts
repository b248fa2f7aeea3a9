/**
 * Where everything lives in the engine's one linear memory. Shared by the AssemblyScript core and the TypeScript board, hence
 * only literal constants. Three kinds of region: STATE (part of every image and digest), RAM (the same, by page) and CACHE
 * (provably invisible to the guest: never in an image or a digest).
 */

// ---- STATE: 0x1_0000 up to 0xB_0000 ----
export const STATE_BASE = 0x10000;
/** Machine-wide record, 4 KiB. All i64 unless said otherwise. */
export const GLOBAL = 0x10000;
export const G_INSTRET = 0x10000; // instructions retired, all harts
export const G_TIME = 0x10008; // guest time (ns) at the instruction count in G_TIME_AT
export const G_TIME_AT = 0x10010;
export const G_RAM_BYTES = 0x10018;
export const G_EPOCH_NS = 0x10020;
export const G_HARTS = 0x10028;
export const G_DIRECT = 0x10030; // 1: booted straight into S-mode, the engine answers SBI calls; 0: bare metal, M-mode
export const G_POWERED = 0x10038; // 1 after powerOn until powerOff/reset
export const G_SCRUB = 0x10040; // next page of the rotating RAM window

/** Per-hart record, 4 KiB each, four of them. Offsets from the hart's base. */
export const HART0 = 0x11000;
export const HART_SIZE = 0x1000;
export const MAX_HARTS = 4;
export const H_X = 0; // x0..x31, then slot 32: where writes to x0 go (always written as 0 at the end of a run)
export const H_F = 0x110; // f0..f31 (raw bits, NaN-boxed)
export const H_PC = 0x210;
export const H_PRIV = 0x218; // 0 U, 1 S, 3 M
export const H_MSTATUS = 0x220;
export const H_MIE = 0x228;
export const H_MIP = 0x230; // software-visible pending bits; see core
export const H_MTVEC = 0x238;
export const H_MEPC = 0x240;
export const H_MCAUSE = 0x248;
export const H_MTVAL = 0x250;
export const H_MSCRATCH = 0x258;
export const H_MEDELEG = 0x260;
export const H_MIDELEG = 0x268;
export const H_MCOUNTEREN = 0x270;
export const H_MENVCFG = 0x278;
export const H_STVEC = 0x280;
export const H_SEPC = 0x288;
export const H_SCAUSE = 0x290;
export const H_STVAL = 0x298;
export const H_SSCRATCH = 0x2a0;
export const H_SCOUNTEREN = 0x2a8;
export const H_SENVCFG = 0x2b0;
export const H_SATP = 0x2b8;
export const H_STIMECMP = 0x2c0;
export const H_MTIMECMP = 0x2c8;
export const H_FCSR = 0x2d0; // fflags | frm << 5
export const H_RESERVATION = 0x2d8; // physical address of LR, or -1
export const H_WFI = 0x2e0; // 1: waiting for an interrupt
export const H_STARTED = 0x2e8; // SBI HSM: 1 running, 0 stopped
export const H_MHARTID = 0x2f0;
export const H_MCOUNTINHIBIT = 0x2f8;
export const H_MCYCLE_OFFSET = 0x300; // mcycle = instret + offset
export const H_MINSTRET_OFFSET = 0x308;
export const H_SUPERPAGES = 0x310; // bit 0: a superpage of the low half is in the TLB, bit 1: of the high half

export const H_LINES = 0x318; // interrupt lines driven by devices (mip bits that software cannot clear)

/** Device registers and small buffers: the board's TypeScript owns this. */
export const DEVICES = 0x18000;
export const DEVICES_END = 0x40000;

/**
 * The TLB is state (Linux can see it): per hart four contexts (U, S, S with SUM, M) of three direct-mapped tables
 * (read, write, execute) with 512 entries of 16 bytes: { tag u64, addend u32 (linear address - virtual), unused u32 }.
 * A write tag may carry TLB_FLAG (write tracking, code protection): cache, masked out of digests and images.
 */
export const TLB = 0x40000;
export const TLB_ENTRIES = 512;
export const TLB_TABLE = 0x2000;
export const TLB_CONTEXT = 0x6000;
export const TLB_HART = 0x18000;
export const TLB_END = 0xa0000;
export const TLB_FLAG = 0x800;
export const STATE_END = 0xa0000;

// ---- CACHE ----
/** For every execute entry of the TLB (table by table: hart, context), the address of its decoded page (u32) or 0. */
export const EXEC_CACHE = 0xa0000;
export const EXEC_CACHE_TABLE = 0x800;
/** Scratch for values that come from devices or from two pages. */
export const SCRATCH = 0xb0000;
/** Device-to-core and digest buffers of the board. */
export const STAGING = 0xc0000;
export const STAGING_END = 0x100000;
/** The running hart's record while `run` is active: same offsets as a hart record (H_X ...), so that the core uses constant addresses. */
export const ACTIVE = 0xb1000;
/**
 * One byte a RAM page: PAGE_DIRTY (changed since a capture last took it), PAGE_CODE (has decoded instructions), PAGE_UNMARKED (changed
 * since a checkpoint last took it).
 */
export const PAGE_FLAGS = 0x100000;
export const PAGE_DIRTY = 1;
export const PAGE_CODE = 2;
export const PAGE_UNMARKED = 4;
/** For every RAM page, the u32 address of its decoded page or 0. */
export const CODE_MAP = 0x200000;
/** Pool of decoded pages. */
export const POOL = 0x800000;
export const POOL_STRIDE = 0x4040; // 16-byte header { u32 RAM page }, 2048 slots of 8 bytes, sentinel slots
export const POOL_HEADER = 16;
export const POOL_PAGES = 4096;
/** Linear address of guest RAM. */
export const RAM = 0x5000000;
/** Guest-physical address of RAM. */
export const DRAM = 0x80000000;
export const MAX_RAM_BYTES = 0xc0000000;
