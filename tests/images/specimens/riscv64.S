# A riscv64 kernel, or with --defsym MODULE=1 a module: nothing but an exception table, and the code that it is about.
    .option norvc
    .option norelax                 # as modules are built
    .include "extable.inc"

    .section .head.text, "ax"
    j       plain
    .balign 8
    .dword  0x200000                # the load offset of a 64-bit kernel
    .dword  0x10000
    .dword  0
    .long   2, 0
    .dword  0
    .ascii  "RISCV\0\0\0"
    .ascii  "RSC\005"
    .long   0

    .text
place plain
    ld      t0, 0(a0)
place after_plain
    ret
place user_load
    lw      a4, 0(a1)
place after_user_load
    ret
place user_store
    sw      a4, 4(a1)
place after_user_store
    ret
place word
    ld      a0, 0(a1)
place after_word
    ret
    .ifndef MODULE
    ex      plain, after_plain
    .endif
    ex      user_load, after_user_load, 3, (15 | 14 << 5)
    ex      user_store, after_user_store, 3, (15 | 0 << 5)
    ex      word, after_word, 4, (10 | 11 << 5)
    .rept   36
    .balign 128
1:  ld      t1, 8(a2)
    ret
    ex      1b, after_plain
    .endr

    .section .init.text, "ax"
place early
    ld      t2, 0(a3)
    ret
    ex      early, after_plain
    .ifdef MODULE
    ex      plain, after_plain
    .endif

    .section .rodata, "a"
place linux_banner
    .ifdef ABSOLUTE
    .asciz  "Linux version 5.16.0 (specimen)\n"
    .else
    .asciz  "Linux version 6.12.0 (specimen)\n"
    .endif

    .section .modinfo, "a"
    .asciz  "name=specimen"
