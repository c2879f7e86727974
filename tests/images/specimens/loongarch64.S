# A loongarch64 kernel, or with --defsym MODULE=1 a module: nothing but an exception table, and the code that it is about.
    .include "extable.inc"

    .section .head.text, "ax"
    .long   0x5a4d                  # "MZ"
    .balign 8
    .dword  0
    .dword  0x10000
    .dword  0
    .zero   0x1c
    .long   0x40
    .ascii  "PE\0\0"
    .short  0x6264                  # IMAGE_FILE_MACHINE_LOONGARCH64
    .zero   0x3a

    .text
place plain
    ld.d    $t0, $a0, 0
place after_plain
    ret
place user_load
    ld.w    $a4, $a1, 0
place after_user_load
    ret
place user_store
    st.w    $a4, $a1, 4
place after_user_store
    ret
    .ifndef MODULE
    ex      plain, after_plain
    .endif
    ex      user_load, after_user_load, 2, (9 | 8 << 5)
    ex      user_store, after_user_store, 2, (9 | 0 << 5)
    .rept   36
    .balign 128
1:  ld.d    $t1, $a2, 8
    ret
    ex      1b, after_plain
    .endr

    .section .init.text, "ax"
place early
    ld.d    $t2, $a3, 0
    ret
    ex      early, after_plain
    .ifdef MODULE
    ex      plain, after_plain
    .endif

    .section .rodata, "a"
place linux_banner
    .ifdef ABSOLUTE
    .asciz  "Linux version 6.1.0 (specimen)\n"
    .else
    .asciz  "Linux version 6.12.0 (specimen)\n"
    .endif

    .section .modinfo, "a"
    .asciz  "name=specimen"
