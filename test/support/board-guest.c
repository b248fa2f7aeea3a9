// A small guest for tests of the rv64 machine, built by the tests with Debian's gcc-riscv64-linux-gnu as a flat Image: it starts in
// supervisor mode like Linux, drives the UART and the virtio network device by interrupt, echoes frames (addresses swapped, counter
// added), echoes console input in upper case, ticks every millisecond, and dirties memory as it goes. Console commands: 'P' power off,
// 'F' power off as failure, 'R' reset, 'B' toggles a busy loop, 'E' asks for entropy and prints it.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

__asm__(
    ".section .head,\"ax\"\n"
    "j start\n.balign 8\n"
    ".dword 0x200000\n"             // text offset
    ".dword image_end - image_start\n"
    ".dword 0\n.word 2\n.word 0\n.dword 0\n.dword 0x5643534952\n.word 0x05435352\n.word 0\n"
    "start:\n"
    "la sp, stack_top\n"
    "mv s0, a1\n"
    "la t0, trap_entry\n csrw stvec, t0\n"
    "li t0, 0x2000\n csrs sstatus, t0\n" // floating point on
    "mv a0, s0\n call guest_main\n"
    ".text\n.balign 4\n"
    "trap_entry:\n"
    "addi sp, sp, -256\n"
    "sd ra,0(sp)\nsd t0,8(sp)\nsd t1,16(sp)\nsd t2,24(sp)\nsd t3,32(sp)\nsd t4,40(sp)\nsd t5,48(sp)\nsd t6,56(sp)\n"
    "sd a0,64(sp)\nsd a1,72(sp)\nsd a2,80(sp)\nsd a3,88(sp)\nsd a4,96(sp)\nsd a5,104(sp)\nsd a6,112(sp)\nsd a7,120(sp)\n"
    "call guest_trap\n"
    "ld ra,0(sp)\nld t0,8(sp)\nld t1,16(sp)\nld t2,24(sp)\nld t3,32(sp)\nld t4,40(sp)\nld t5,48(sp)\nld t6,56(sp)\n"
    "ld a0,64(sp)\nld a1,72(sp)\nld a2,80(sp)\nld a3,88(sp)\nld a4,96(sp)\nld a5,104(sp)\nld a6,112(sp)\nld a7,120(sp)\n"
    "addi sp, sp, 256\nsret\n");

#define REG32(address) (*(volatile u32 *)(address))
#define REG8(address) (*(volatile u8 *)(address))
#define UART 0x10000000UL
#define PLIC 0xc000000UL
#define NET 0x10001000UL
#define RNG 0x10003000UL
#define QUEUE 64
#define SCRATCH_BASE 0x81000000UL
#define SCRATCH_MASK 0x1ffffffUL // 32 MiB

struct descriptor { u64 address; u32 length; u16 flags; u16 next; };
struct available { u16 flags; u16 index; u16 ring[QUEUE]; u16 used_event; };
struct used { u16 flags; u16 index; struct { u32 id; u32 length; } ring[QUEUE]; u16 available_event; };
struct queue { struct descriptor d[QUEUE]; struct available a; struct used u __attribute__((aligned(4096))); u16 seen; };

static struct queue receive __attribute__((aligned(4096)));
static struct queue transmit __attribute__((aligned(4096)));
static struct queue random_queue __attribute__((aligned(4096)));
static u8 receive_buffers[QUEUE][2048] __attribute__((aligned(4096)));
static u8 transmit_buffers[QUEUE][2048] __attribute__((aligned(4096)));
static u8 random_bytes[64];
static volatile u32 frames, ticks;
static volatile int busy;
static u64 seed = 88172645463325252UL;

static void put(char c) { REG8(UART) = c; }
static void text(const char *s) { while (*s) put(*s++); }
static void hex(u64 value, int digits) { while (digits--) put("0123456789abcdef"[(value >> (4 * digits)) & 15]); }

static u64 step(void) {
  seed ^= seed << 13; seed ^= seed >> 7; seed ^= seed << 17;
  return seed;
}
static void dirty(int count) {
  while (count--) { u64 r = step(); *(volatile u64 *)(SCRATCH_BASE + (r & SCRATCH_MASK & ~7UL)) ^= r; }
}
static long sbi(u64 extension, u64 function, u64 a, u64 b, u64 c) {
  register u64 a0 __asm__("a0") = a; register u64 a1 __asm__("a1") = b; register u64 a2 __asm__("a2") = c;
  register u64 a6 __asm__("a6") = function; register u64 a7 __asm__("a7") = extension;
  __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a6), "r"(a7) : "memory");
  return a0;
}
static u64 now(void) { u64 t; __asm__ volatile("rdtime %0" : "=r"(t)); return t; }
static void arm(void) { u64 t = now() + 1000000; __asm__ volatile("csrw 0x14d, %0" ::"r"(t)); }

static void queue_up(u64 base, u32 number, struct queue *q) {
  REG32(base + 0x30) = number; REG32(base + 0x38) = QUEUE;
  REG32(base + 0x80) = (u32)(u64)q->d; REG32(base + 0x84) = 0;
  REG32(base + 0x90) = (u32)(u64)&q->a; REG32(base + 0x94) = 0;
  REG32(base + 0xa0) = (u32)(u64)&q->u; REG32(base + 0xa4) = 0;
  REG32(base + 0x44) = 1;
}
static void device_up(u64 base, u32 features) {
  REG32(base + 0x70) = 0; REG32(base + 0x70) = 1; REG32(base + 0x70) = 3;
  REG32(base + 0x24) = 0; REG32(base + 0x20) = features;
  REG32(base + 0x24) = 1; REG32(base + 0x20) = 1;
  REG32(base + 0x70) = 11;
}
static void offer(struct queue *q, u16 id) {
  q->a.ring[q->a.index % QUEUE] = id;
  q->a.index++;
}
static void network(void) {
  REG32(NET + 0x64) = REG32(NET + 0x60);
  int sent = 0;
  while (receive.seen != receive.u.index) {
    u32 id = receive.u.ring[receive.seen % QUEUE].id, length = receive.u.ring[receive.seen % QUEUE].length;
    receive.seen++;
    u8 *in = receive_buffers[id], *out = transmit_buffers[frames % QUEUE];
    for (u32 i = 0; i < length; i++) out[i] = in[i];
    out[10] = 0; // a frame that goes out has no buffer count
    for (u32 i = 0; i < 6; i++) { out[12 + i] = in[18 + i]; out[18 + i] = in[12 + i]; }
    out[12 + 14] = frames; out[12 + 15] = frames >> 8;
    transmit.d[frames % QUEUE].length = length;
    offer(&transmit, frames % QUEUE);
    offer(&receive, id);
    frames++; sent++;
    dirty(8);
  }
  if (sent) { REG32(NET + 0x50) = 1; REG32(NET + 0x50) = 0; }
}
static void command(u8 c) {
  switch (c) {
    case 'P': sbi(0x53525354, 0, 0, 0, 0); break;
    case 'F': sbi(0x53525354, 0, 0, 1, 0); break;
    case 'R': sbi(0x53525354, 0, 1, 0, 0); break;
    case 'B': busy = !busy; break;
    case 'E': offer(&random_queue, 0); REG32(RNG + 0x50) = 0; break;
    default: put(c >= 'a' && c <= 'z' ? c - 32 : c);
  }
}
void guest_trap(void) {
  u64 cause; __asm__ volatile("csrr %0, scause" : "=r"(cause));
  if (cause == (1UL << 63 | 5)) { ticks++; dirty(4); arm(); return; }
  if (cause == (1UL << 63 | 9)) {
    u32 source = REG32(PLIC + 0x201004);
    if (source == 10) while (REG8(UART + 5) & 1) command(REG8(UART));
    if (source == 1) network();
    if (source == 3) {
      REG32(RNG + 0x64) = REG32(RNG + 0x60);
      random_queue.seen = random_queue.u.index;
      for (int i = 0; i < 8; i++) hex(random_bytes[i], 2);
      put('\n');
    }
    REG32(PLIC + 0x201004) = source;
    return;
  }
  u64 pc, value; __asm__ volatile("csrr %0, sepc" : "=r"(pc)); __asm__ volatile("csrr %0, stval" : "=r"(value));
  text("trap "); hex(cause, 4); put(' '); hex(pc, 16); put(' '); hex(value, 16); put('\n');
  sbi(0x53525354, 0, 0, 1, 0);
  for (;;) ;
}
void guest_main(u64 tree) {
  text("guest up, tree "); hex(tree, 16); put('\n');
  device_up(NET, 1 << 5 | 1 << 15 | 1 << 16);
  queue_up(NET, 0, &receive); queue_up(NET, 1, &transmit);
  REG32(NET + 0x70) = 15;
  for (int i = 0; i < QUEUE; i++) {
    receive.d[i].address = (u64)receive_buffers[i]; receive.d[i].length = 2048; receive.d[i].flags = 2;
    transmit.d[i].address = (u64)transmit_buffers[i];
    offer(&receive, i);
  }
  REG32(NET + 0x50) = 0;
  device_up(RNG, 0);
  queue_up(RNG, 0, &random_queue);
  REG32(RNG + 0x70) = 15;
  random_queue.d[0].address = (u64)random_bytes; random_queue.d[0].length = sizeof random_bytes; random_queue.d[0].flags = 2;
  REG32(PLIC + 4 * 10) = 1; REG32(PLIC + 4 * 1) = 1; REG32(PLIC + 4 * 3) = 1;
  REG32(PLIC + 0x2080) = 1 << 10 | 1 << 1 | 1 << 3;
  REG32(PLIC + 0x201000) = 0;
  REG8(UART + 1) = 1;
  arm();
  __asm__ volatile("csrs sie, %0" ::"r"(0x220UL));
  double sum = 1.0;
  for (;;) {
    __asm__ volatile("csrs sstatus, 2");
    if (busy) { dirty(100); sum = sum * 1.0000001 + 0.5; *(volatile double *)SCRATCH_BASE = sum; }
    else __asm__ volatile("wfi");
  }
}
