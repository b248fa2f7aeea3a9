# Runs whatever follows it in memory as code. The trap handler steps over what traps, and now and then starts again elsewhere with
# fresh registers that point at devices, RAM and nowhere.
.section .head,"ax"
  j start
  .balign 8
  .dword 0x200000
  .dword 0x100000
  .dword 0
  .word 2
  .word 0
  .dword 0
  .dword 0x5643534952
  .word 0x05435352
  .word 0
start:
  la t0, handler
  csrw stvec, t0
  li t0, 0x6000
  csrs sstatus, t0
  la t0, state
  csrw sscratch, t0
  j again
  .balign 4
handler:
  la t0, state
  ld t1, 0(t0)
  slli t2, t1, 13
  xor t1, t1, t2
  srli t2, t1, 7
  xor t1, t1, t2
  slli t2, t1, 17
  xor t1, t1, t2
  sd t1, 0(t0)
  andi t2, t1, 7
  beqz t2, again
  csrr t2, sepc
  la t3, code
  bltu t2, t3, again
  li t4, 0x40000
  add t3, t3, t4
  bgeu t2, t3, again
  addi t2, t2, 2
  csrw sepc, t2
  li t2, 0x100
  csrs sstatus, t2
  la t0, handler
  csrw stvec, t0
  li x5, 0x10001070
  li x6, 11
  sret
again:
  la t0, state
  ld t1, 0(t0)
  li t2, 0x3fffe
  and t2, t1, t2
  la t3, code
  add t2, t2, t3
  csrw sepc, t2
  li t2, 0x100
  csrs sstatus, t2
  csrw satp, zero
  la t0, handler
  csrw stvec, t0
  li x1, 0x10001000
  li x2, 0x10000000
  li x3, 0x0c201004
  li x4, 0x0c002080
  li x8, 0x10001044
  li x9, 0x10003070
  li x10, 0x81000000
  li x11, 1
  li x12, 0x10001050
  li x13, 0x02004000
  li x14, 0x101008
  li x15, 0x7fffffff
  li x16, 0
  li x17, 0x4442434e
  li x18, 0x10001080
  li x19, 0x10001038
  li x20, 16
  li x21, 0x10009000
  li x22, -1
  li x23, 0x83ff0000
  li x24, 0x10001020
  li x25, 15
  li x26, 0x10003044
  li x27, 0x10003050
  sret
  .balign 8
state: .dword 88172645463325252
  .balign 8
code:
