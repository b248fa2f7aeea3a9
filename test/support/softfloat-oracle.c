// Answers floating-point questions as a RISC-V processor does: run by qemu-riscv64-static for test/softfloat.test.ts. Reads
// records {operation u32, rounding mode u32, a u64, b u64, c u64}, writes {result u64, fflags u32, 0 u32} for each. No C library:
// the cross compiler's package alone is enough. OPERATIONS is a file that the test writes, one line of the kind
//   OPERATION(number, SINGLE, "fadd.s ft3, ft0, ft1, dyn", SINGLE)
// for each operation: what the operands are, the instruction, what the result is.
#include <stdint.h>

struct question {
  uint32_t operation, rounding_mode;
  uint64_t a, b, c;
};
struct answer {
  uint64_t result;
  uint32_t flags, zero;
};

#define BATCH 16384
static struct question questions[BATCH];
static struct answer answers[BATCH];

#define LOAD_SINGLE "fmv.w.x ft0, %[a]\n fmv.w.x ft1, %[b]\n fmv.w.x ft2, %[c]\n"
#define LOAD_DOUBLE "fmv.d.x ft0, %[a]\n fmv.d.x ft1, %[b]\n fmv.d.x ft2, %[c]\n"
#define LOAD_INTEGER "mv t0, %[a]\n"
// A single-precision result leaves its register sign-extended: the two shifts clear the upper half.
#define STORE_SINGLE "fmv.x.w %[result], ft3\n slli %[result], %[result], 32\n srli %[result], %[result], 32\n"
#define STORE_DOUBLE "fmv.x.d %[result], ft3\n"
#define STORE_INTEGER "mv %[result], t1\n"

#define OPERATION(number, source, instruction, target)                                                            \
  case number:                                                                                                    \
    __asm__ volatile("fsrm %[mode]\n" LOAD_##source "fsflags zero\n" instruction "\n frflags %[flags]\n" STORE_##target \
                     : [result] "=&r"(result), [flags] "=&r"(flags)                                               \
                     : [mode] "r"((uint64_t)question->rounding_mode), [a] "r"(question->a), [b] "r"(question->b), \
                       [c] "r"(question->c)                                                                       \
                     : "t0", "t1", "ft0", "ft1", "ft2", "ft3");                                                   \
    break;

static void reply(const struct question *question, struct answer *answer) {
  uint64_t result = 0, flags = 0xffffffff;
  switch (question->operation) {
#include OPERATIONS
  }
  answer->result = result;
  answer->flags = (uint32_t)flags;
  answer->zero = 0;
}

static long system_call(long number, long first, long second, long third) {
  register long a0 __asm__("a0") = first;
  register long a1 __asm__("a1") = second;
  register long a2 __asm__("a2") = third;
  register long a7 __asm__("a7") = number;
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a7) : "memory");
  return a0;
}
#define READ 63
#define WRITE 64
#define EXIT 93

static void leave(int status) {
  for (;;) system_call(EXIT, status, 0, 0);
}

void _start(void) {
  for (;;) {
    long got = 0;
    while (got < (long)sizeof questions) {
      long count = system_call(READ, 0, (long)questions + got, sizeof questions - got);
      if (count < 0) leave(1);
      if (count == 0) break;
      got += count;
    }
    long whole = got / (long)sizeof questions[0];
    if (whole * (long)sizeof questions[0] != got) leave(2);
    for (long index = 0; index < whole; index++) reply(&questions[index], &answers[index]);
    long length = whole * (long)sizeof answers[0];
    for (long sent = 0; sent < length;) {
      long count = system_call(WRITE, 1, (long)answers + sent, length - sent);
      if (count <= 0) leave(3);
      sent += count;
    }
    if (got < (long)sizeof questions) leave(0);
  }
}
