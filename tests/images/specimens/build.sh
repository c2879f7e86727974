#!/bin/sh
# Builds the specimens with GNU binutils 2.40 for riscv64 and LLVM 19 for loongarch64. Run in this folder.
set -e
for era in absolute data; do
    case $era in absolute) absolute="--defsym ABSOLUTE=1" ;; data) absolute= ;; esac
    riscv64-linux-gnu-as -march=rv64gc $absolute --defsym MODULE=1 -o riscv64-$era.ko riscv64.S
    riscv64-linux-gnu-as -march=rv64gc $absolute -o kernel.o riscv64.S
    sed 's/^{$/{ . = 0xffffffff80000000;/' kernel.lds > placed.lds
    riscv64-linux-gnu-ld -N -T placed.lds -o riscv64-$era.vmlinux kernel.o
    riscv64-linux-gnu-objcopy -O binary riscv64-$era.vmlinux riscv64-$era.Image
    llvm-mc-19 -triple=loongarch64 -filetype=obj $absolute --defsym MODULE=1 -o loongarch64-$era.ko loongarch64.S
    llvm-mc-19 -triple=loongarch64 -filetype=obj $absolute -o kernel.o loongarch64.S
    sed 's/^{$/{ . = 0x9000000000200000;/' kernel.lds > placed.lds
    ld.lld-19 -N -T placed.lds -o loongarch64-$era.vmlinux kernel.o
    llvm-objcopy-19 -O binary loongarch64-$era.vmlinux loongarch64-$era.Image
done
rm -f kernel.o placed.lds
