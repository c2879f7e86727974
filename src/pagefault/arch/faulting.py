"""
Can an instruction raise an exception at all, and by what? An entry on one that cannot is a mistake or needs a reason.

    causes(X86_64, instruction)          # (Cause.MSR,)

Only exceptions that lead to an exception table's fixup are meant: faults and traps of the instruction itself, not its
fetch, breakpoints put on it, single steps or interrupts.
"""

from __future__ import annotations

import re
from enum import Enum

from .disassembly import Disassembled, disassemble
from .platform import Platform


class Cause(Enum):
    """Why an instruction may raise an exception."""

    MEMORY = "accesses memory"
    SEGMENT = "loads a segment register"
    MSR = "reads or writes a model-specific register"
    PRIVILEGED = "is privileged, or there on some CPUs only"
    FPU = "is a floating-point or vector instruction"
    TRAP = "is there to trap"
    DIVISION = "divides, or overflows"
    TRANSFER = "transfers control to another segment or mode"
    LATE = "follows an instruction that may fault; the address reported is this one"


X86 = {
    Cause.SEGMENT: r"mov[wlq]? .*, %[c-gs]s$|pop[wlq]? %[d-gs]s$|l[defgs]s[lqw]? |lkgs",
    Cause.MSR: r"rdmsr|wrmsr|rdpmc|xsetbv|xgetbv|rdpkru|wrpkru|urdmsr|uwrmsr",
    Cause.PRIVILEGED: (
        r"encl[suv]|vm(call|mcall|gexit|launch|resume|xo|read|write|ptr|clear|func|run|load|save)|stgi|clgi|skinit"
        r"|inv(d|ept|vpid|pcid|lpg)|wbn?oinvd|wbinvd|cli|sti|hlt|in[bwl]? |out[bwl]? |l[ig]dt|lldt|ltr|lmsw|clts|swapgs"
        r"|mov\w* .*%[cd]r\d|(rd|wr)[fg]sbase|rdtsc|rdpid|monitor|mwait|umonitor|umwait|tpause|psmash|pvalidate"
        r"|rmp(update|adjust|query)|tdcall|seamcall|getsec|(set|clr)ssbsy|incssp|rdssp|rsm"
    ),
    Cause.FPU: r"f[a-z]|wait|emms|.*%([xyz]?mm|k|st)\(?\d",
    Cause.TRAP: r"ud[012]|int\d?|into|bound",
    Cause.DIVISION: r"i?div|aam",
    Cause.TRANSFER: r"iret|lcall|ljmp|lret|retf|syscall|sysret|sysenter|sysexit|eret[su]",
}
ARM64 = {
    Cause.PRIVILEGED: (
        r"msr|mrs|eret|sysl?|at |tlbi|ic |dc |wf[ei]t|smstart|smstop|pac[dig]|aut[dig]|(ret|bl?r)a[ab]|xpac"
    ),
    Cause.TRAP: r"brk|hlt|hvc|svc|smc|udf|dcps|tcancel",
    Cause.FPU: r".*\b[bhsdqvzp]\d+\b",
}
ARM = {
    Cause.PRIVILEGED: r"mcr|mrc|mrs|msr|cps|rfe|srs|eret|wf[ei]|movs pc|subs pc",
    Cause.TRAP: r"bkpt|udf|svc|hvc|smc",
    Cause.DIVISION: r"[su]div",
    Cause.FPU: r"v[a-z]|.*\b[sdq]\d+\b",
}
RISCV = {
    Cause.PRIVILEGED: r"csr|[msu]ret|wfi|sfence|hfence|sinval|hinval|rd(cycle|time|instret)",
    Cause.TRAP: r"(c\.)?ebreak|ecall|unimp",
    Cause.FPU: r"f[a-z]+\.|v[a-z]+\.|vset",
}
MIPS = {
    Cause.TRAP: r"t(eq|ge|lt|ne)i?u?\b|break|syscall|sdbbp",
    Cause.PRIVILEGED: r"d?m[ft]h?c0|tlb|eret|deret|wait|di\b|ei\b|d?m[ft]gc0|hypcall|rdhwr|rdpgpr|wrpgpr|ginv|dvp|evp",
    Cause.DIVISION: r"d?addi?\b|d?sub\b",
    Cause.FPU: r"d?[mc][ft]h?c1|.*\$f\d+|bc1|.*\$w\d+",
}
POWERPC = {
    Cause.TRAP: r"t[wd]|trap|scv?\b|attn",
    Cause.PRIVILEGED: (
        r"m[tf](spr|msrd?|pvr|sr|dcr|tb|pmr|ctrl|hid|lpcr|dec|dar|dsisr|srr|sprg|asr|sdr|vrsave)|h?rfid?|rfscv|rf[cm]+i"
        r"|slb|tlb|stop|nap|doze|sleep|msgs|wrtee|tbegin"
    ),
    Cause.FPU: r"f[a-z]|v[a-z]|xv|xs|xx|m[tf]fs|m[tf]v(sr|scr)|.*\bv(s|\d)\w*",
}
S390 = {
    Cause.PRIVILEGED: (
        r"diag|[ls]ctl|lctlg|stctg?|lpswe?|lpp|ssm|st[no]sm|s[pc]k|spt|st(ck|si|idp|ap|fle?|zp|sch|am)\b|sclp|servc"
        r"|pci|clp|sic|rpcit|sigp|sie|ptlb|ipte|idte|crdte|cspg?\b|essa|pfmf|sske|iske|rrb|ivsk|tprot|lra|lura|stura|sacf?\b"
        r"|epair|esair|ssar|p[crt]\b|[mtxhrc]?ssch|[mtxhrc]sch|chsc|schm|qsi|qctri|l[cp]ctl|ec[cp]tr|stcctm|lsctl|uvc"
        r"|tbegin|tend|etnd|[ndp]qap|mvc[psk]\b|mvc[ds]k|iac|lamy?\b|ipk|rp\b|ptff|kmc?\b|km[acfo]|kmctr|k[il]md|prno|pcc"
    ),
    Cause.TRAP: r"svc|mc\b|trap",
    Cause.DIVISION: r"dr?\b|dlg?r?\b|dsgf?r?\b|cvb|[asmd]p\b",
    Cause.FPU: r".*%[fv]\d|[sle]fpc|srnm|[sl]fas",
}
OTHERWISE = {
    machine: tuple((cause, re.compile(pattern)) for cause, pattern in patterns.items())
    for machine, patterns in {
        "EM_X86_64": X86,
        "EM_386": X86,
        "EM_AARCH64": ARM64,
        "EM_ARM": ARM,
        "EM_RISCV": RISCV,
        "EM_MIPS": MIPS,
        "EM_PPC": POWERPC,
        "EM_PPC64": POWERPC,
        "EM_S390": S390,
    }.items()
}
"""
What raises an exception other than by an access to memory, as patterns for the beginning of its text.

Manual: Intel SDM vol. 2 ("Exceptions" of each instruction); Arm ARM C5, C6; MIPS64 (MD00087); Power ISA book III;
Principles of Operation chapter 10 (control instructions) and each "Program exceptions" list.
"""
HINT = re.compile(r"prefetch|prfu?m|pld|pli|pref|dcbtst|dcbt\b|prefetchit|pfd|nop|lea[wlq]?$|invlpg$")
"""
What names memory, or computes its address, and raises nothing for it. Flushing a cache line is an access.

Manual: Intel SDM vol. 2A LEA, INVLPG (against CLFLUSH, CLWB: #PF), vol. 2B PREFETCHh; Arm ARM C6.2 PRFM, F6.1 PLD;
MIPS64 PREF; Power ISA book II 4.3.2 dcbt.
"""


def causes(platform: Platform, instruction: Disassembled, *, before: bytes = b"") -> tuple[Cause, ...]:
    """
    All that may make this instruction raise an exception, empty if it cannot. `before` are the bytes before it: on s390
    an instruction that is suppressed or terminated, not nullified, leaves the address of the next one in the PSW.

    Manual: Principles of Operation (SA22-7832), chapter 5, "Types of instruction ending".
    Kernel: arch/s390/include/asm/uaccess.h __put_user_asm() lists both the access and what follows it, v6.1.
    """
    found = [Cause.MEMORY] if (instruction.reads or instruction.writes) and not HINT.match(instruction.mnemonic) else []
    text = instruction.text
    found += [cause for cause, pattern in OTHERWISE.get(platform.elf_machine, ()) if pattern.match(text)]
    if platform.elf_machine == "EM_S390" and any(
        causes(platform, previous) for previous in previous_s390(platform, before, instruction.address)
    ):
        found.append(Cause.LATE)
    return tuple(found)


def can_fault(platform: Platform, instruction: Disassembled, *, before: bytes = b"") -> bool:
    """May it raise an exception? See `causes`."""
    return bool(causes(platform, instruction, before=before))


def previous_s390(platform: Platform, before: bytes, address: int) -> list[Disassembled]:
    """
    The instructions that may end where `before` does, at `address`.

    Manual: Principles of Operation, chapter 5, "Instruction Formats": the first two bits say how long one is.
    """
    found = []
    for length in (2, 4, 6):
        piece = before[-length:]
        instruction = disassemble(platform, piece, address - length) if len(piece) == length else None
        if instruction is not None and instruction.length == length:
            found.append(instruction)
    return found
