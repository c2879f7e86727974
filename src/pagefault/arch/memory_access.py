"""
What an instruction does with memory, from its text: which part of the operands is memory, and whether it is read or
written. One function for each instruction set.

    memory_access("EM_AARCH64", "sttr", "w1, [x5]")     # (4, 8), False, True

Hints (prefetches) count as reads, and so does what cleans or invalidates a cache by address: both name memory. What
only computes an address (`lea`, s390's `la`) does neither. Instruction fetches do not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

Access = tuple[tuple[int, int] | None, bool, bool]
"""Range of characters in the operands, reads, writes."""
NOTHING: Access = (None, False, False)


@lru_cache(maxsize=8192)
def memory_access(elf_machine: str, mnemonic: str, operands: str) -> Access:
    """Where in `operands` memory is, and what the instruction does with it."""
    memory, reads, writes = INSTRUCTION_SETS[elf_machine](mnemonic, operands)
    return (memory, reads, writes) if reads or writes else NOTHING


def spanned(pattern: re.Pattern[str], operands: str) -> tuple[int, int] | None:
    """From the first match to the last."""
    found = list(pattern.finditer(operands))
    return (found[0].start(), found[-1].end()) if found else None


def last_operand(operands: str) -> tuple[int, int] | None:
    """The last operand, which is an address in a register."""
    return (operands.rfind(" ") + 1, len(operands)) if operands else None


# ------------------------------------------------------------------------------------------------------------------ x86

X86_OPERAND = re.compile(
    r"""(?:(?<=[\s*])|^)(?:%[c-gs]s:)?            # a segment
        (?:-?(?:0x)?[0-9a-f]+ (?:\([^)]*\))?      # a displacement, alone or with registers
        |\([^)]*\))""",
    re.VERBOSE,
)
X86_NOT = re.compile(r"lea[wlq]?|nop[wlq]?|endbr|ud[012]|int|bnd[lc]|loop|xbegin|(l?ret|enter)")
"""Operands that look like memory and are not accessed."""
X86_BRANCH = re.compile(r"j|call|lcall|ljmp|loop|xbegin")
X86_READ = re.compile(
    r"""cmp(?!xchg)|v?p?test|bt[wlq]?$|v?u?comis|v?pcmp[ei]str|push|call|lcall|l?jmp|i?mul[bwlq]?$|i?div[bwlq]?$
    |f(?!ist|st|x?save|nst|nsave|bst)|ldmxcsr|vldmxcsr|l[gi]dt|lldt|ltr|lmsw|fxrstor|xrstor|ver[rw]
    |clflush|clwb|cldemote|prefetch|invlpg|invept|invvpid|invpcid|vmptrld|vmxon|vmclear|xlat|lods|scas|outs|umwait
    |rstorssp|wrss""",
    re.VERBOSE,
)
"""They read their memory operand, also where it is the last (in AT&T syntax, the destination's place)."""
X86_WRITE = re.compile(
    r"""mov|cmov|set|pop(?!cnt|f)|f(?:ist|st|nst|bst|x?save|nsave)|xsave|s[gi]dt|sldt|smsw|str[wlq]?$|v?stmxcsr|vmptrst
    |vmread|stos|ins[bwlq]?$|v?mov|v?p?extr|vextract|kmov|vpmov|vcvtps2ph|v?p?compress|vpscatter|vscatter|v?maskmov
    |wrss|wruss|rdssp|clrssbsy|movdir|enqcmd""",
    re.VERBOSE,
)
"""They write their destination without reading it."""
X86_PREFIXES = re.compile(r"(?:lock|rep|repe|repne|repz|repnz|bnd|xacquire|xrelease|notrack|data16|addr32) ")
X86_STACK_READ = re.compile(r"pop(?!cnt)|l?ret|iret|leave")
X86_STACK_WRITE = re.compile(r"push|l?call|enter|int[13o]?$|int ")
X86_BOTH = re.compile(r"movs[bwlq]?$|ins[bwlq]?$|outs[bwlq]?$|cmps[bwlq]?$")


def x86(mnemonic: str, operands: str) -> Access:
    """
    AT&T syntax: the destination comes last. Manual: Intel SDM vol. 2, each instruction's "Operation".
    """
    name = X86_PREFIXES.sub("", mnemonic + " ").rstrip()
    pushes, pops = bool(X86_STACK_WRITE.match(name)), bool(X86_STACK_READ.match(name))
    if X86_NOT.match(name) or (X86_BRANCH.match(name) and "*" not in operands):
        return None, pops, pushes
    memory = spanned(X86_OPERAND, operands)
    if memory is None:
        return None, pops or name.startswith("xlat"), pushes
    if name.startswith("movs") and operands.count("(") == 2:
        return memory, True, True
    destination = memory[1] == len(operands)
    if not destination or X86_READ.match(name):
        return memory, True, pushes
    if X86_WRITE.match(name):
        return memory, pops, True
    return memory, True, ", " in operands or not name.startswith(("v", "p"))


# ----------------------------------------------------------------------------------------------------------- arm64, arm

BRACKETS = re.compile(r"(?<![^ ])\[[^]]*\]!?")
"""An address; not the number of a vector's element (`v0.h[1]`)."""
ARM64_ATOMIC = re.compile(r"(ld|st)(add|clr|eor|set|smax|smin|umax|umin)[abhl]*$|swp|cas|rcw")
ARM64_CACHE = re.compile(r"(?:(?!(?:i|c|ci)sw)[^,]+|#\d, c7, c(?!8,)\d+, #\d), (x\d+)$")
"""`sys` is what capstone calls the operations that it has no name for; c8 is address translation (`at`)."""


def arm64(mnemonic: str, operands: str) -> Access:
    """
    Manual: Arm ARM (DDI 0487) C3.2 Loads and stores, C4.1.96; C5.3 A64 System instructions for cache maintenance.
    Differs: `at` translates an address and reports into PAR_EL1; it accesses nothing.
    """
    if mnemonic in ("dc", "ic", "sys"):
        found = ARM64_CACHE.match(operands)
        zeroes = mnemonic == "dc" and operands.startswith(("zva", "gva", "gzva"))
        return (found.span(1), not zeroes, zeroes) if found else NOTHING
    memory = spanned(BRACKETS, operands)
    if memory is None:
        # A literal of the program's: `ldr x0, #0x1234`.
        return (last_operand(operands), True, False) if mnemonic in ("ldr", "ldrsw", "prfm") else NOTHING
    if ARM64_ATOMIC.match(mnemonic) or mnemonic.startswith("cpy"):
        return memory, True, True
    return memory, mnemonic.startswith(("ld", "prfm", "prfum")), mnemonic.startswith(("st", "set"))


ARM_MULTIPLE = re.compile(r"v?(ldm|stm)|rfe|srs")
ARM_CACHE = re.compile(r"p15, #0, (\w+), c7, c(5|6|10|11|14), #1$")


def arm(mnemonic: str, operands: str) -> Access:
    """
    Manual: Arm ARM v7 (DDI 0406) A4.6 Load/store, A4.7 multiple, B4.2.1 cache maintenance by MVA (CP15 c7).
    """
    if mnemonic.startswith("mcr"):
        found = ARM_CACHE.match(operands)
        return (found.span(1), True, False) if found else NOTHING
    if ARM_MULTIPLE.match(mnemonic):
        return (0, max(operands.find(","), 0) or len(operands)), "ld" in mnemonic or "rfe" in mnemonic, "st" in mnemonic
    if mnemonic.startswith(("push", "vpush")):
        return None, False, True
    if mnemonic.startswith(("pop", "vpop")):
        return None, True, False
    memory = spanned(BRACKETS, operands)
    if memory is None:
        return NOTHING
    if mnemonic.startswith("swp"):
        return memory, True, True
    return memory, mnemonic.startswith(("ld", "vld", "pld", "pli", "tb")), mnemonic.startswith(("st", "vst"))


# ---------------------------------------------------------------------------------------------------------------- riscv

PARENTHESES = re.compile(r"(?:-?(?:0x)?[0-9a-f]+)?\([^)]*\)")
RISCV_LOAD = re.compile(r"(c\.)?f?l([bhwdq]u?|[wdq]sp)$|lr\.|hlv|cbo\.(clean|flush|inval)")
RISCV_STORE = re.compile(r"(c\.)?f?s([bhwdq]|[wdq]sp)$|sc\.|hsv|cbo\.zero")


def riscv(mnemonic: str, operands: str) -> Access:
    """Manual: RISC-V unprivileged ISA, RV32I 2.6 Load and store, "A" and "Zicbom" chapters."""
    memory = spanned(PARENTHESES, operands)
    if mnemonic.startswith("amo"):
        return memory, True, True
    reads, writes = bool(RISCV_LOAD.match(mnemonic)), bool(RISCV_STORE.match(mnemonic))
    return memory, reads, writes


# ----------------------------------------------------------------------------------------------------------------- mips

MIPS_LOAD = re.compile(
    r"l([bhw]u?|d|wl|wr|dl|dr|ld?|lde?)$|l[wd]c[123]$|l[uwd]xc1$|l([bh]u?|wl?|wr|l)e$|l(bu?|hu?|wu?|d)x$|ld\.[bhwd]$"
    r"|cachee?$|prefe?$|prefx$|synci$|gsl"
)
MIPS_STORE = re.compile(r"s([bhwd]|wl|wr|dl|dr|cd?)$|s[wd]c[123]$|s[uwd]xc1$|s([bhw]|wl|wr|c)e$|st\.[bhwd]$|gss")
MIPS_ATOMIC = re.compile(r"saad?$|la[acisdw]+d?$")


def mips(mnemonic: str, operands: str) -> Access:
    """
    Manual: MIPS64 instruction set (MD00087), tables 3.1 to 3.4 loads and stores, EVA, CACHE, PREF, SYNCI.
    """
    memory = spanned(PARENTHESES, operands)
    if memory is None:
        return NOTHING
    if MIPS_ATOMIC.match(mnemonic):
        return memory, True, True
    reads, writes = bool(MIPS_LOAD.match(mnemonic)), bool(MIPS_STORE.match(mnemonic))
    return memory, reads, writes


# -------------------------------------------------------------------------------------------------------------- powerpc

POWERPC_LOAD = re.compile(
    r"l(bz|ha|hz|wa|wz|d|fs|fd)(u?x?|br?x)$|l[hwd]brx$|l[bhwdq]arx$|lfiw[az]x$|lmw$|lsw[ix]$|lq$|lfdpx?$"
    r"|lv(e[bhw])?xl?$|lx|plx|pl[bhwdqf]|dcb[fi]l?|dcbt|dcbst|icb[it]|lwat$|ldat$"
)
POWERPC_STORE = re.compile(
    r"st(b|h|w|d|fs|fd)u?x?$|st[hwd]brx$|st[bhwdq]cx|stfiwx$|stmw$|stsw[ix]$|stq$|stfdpx?$|stv(e[bhw])?xl?$|stx|pst"
    r"|dcba$|dcbz|st[wd]at$"
)
POWERPC_INDEXED = re.compile(r"(?:0|r\d+), r\d+$")
POWERPC_BASE = re.compile(r"r\d+$")
POWERPC_STRING = re.compile(r"r\d+(?=, (0x)?[0-9a-f]+$)")


def powerpc(mnemonic: str, operands: str) -> Access:
    """
    Manual: Power ISA 3.0, book I 3.3 Fixed-point storage access, 4.6, 6.7 and 7.6 (floating point and vectors), book II
    4 (storage control, load-and-reserve).
    """
    reads, writes = bool(POWERPC_LOAD.match(mnemonic)), bool(POWERPC_STORE.match(mnemonic))
    if not (reads or writes):
        return NOTHING
    for pattern in (PARENTHESES, POWERPC_INDEXED, POWERPC_STRING, POWERPC_BASE):
        if (memory := spanned(pattern, operands)) is not None:
            return memory, reads, writes
    return None, reads, writes


# ----------------------------------------------------------------------------------------------------------------- s390

S390_OPERAND = re.compile(r"(?<![%\w])-?(?:0x)?[0-9a-f]+\([^)]*\)")
S390_NOT = re.compile(
    r"la(y|e|ey)?$|s[lr][ald][agkl]?[kgl]?$|rllg?$|b|jl?x|lra[gy]?$|diag|sigp|tprot|sacf?$|srnm|trap|ptlb|pfd$|stnop"
)
"""What their operands in parentheses say is a shift count, a branch target, a function code or only an address."""
S390_PLAIN = re.compile(
    r"l[gmhby]?$|l[mc]g?$|ll?g[fhc]$|llc|llh$|lct?lg?$|lpswe?$|lpp$|lamy?$|lfpc$|ld$|le$|st[gmhcyde]?$|stmg$|stctl$|stctg$"
    r"|stamy?$|stpt$|stckf?$|stckc$|stap$|stidp$|stfle?$|stfpc$|spt$|sckc?$|ssm$|st[on]sm$|[acnosx]g?$|clg?$|icm?$"
)
"""The operand of these may be a bare number: an address in the lowest 4 KiB, the lowcore."""
S390_RELATIVE = re.compile(r"(l|lg|lgf|llgf|lh|lgh|llh|llgh|c|cg|cgf|cgh|ch|cl|clg|clgf|clgh|clh|st|stg|sth|ex)rl$")
S390_WRITE = re.compile(r"st(?!osm|nsm)|mv(?!cl)|cvd|unpk|pack|pka|pku|vst|edm?k?$|qsi$|ecctr|qctri|zap$|tsch")
S390_BOTH = re.compile(
    r"[nox]c$|[nox]iy?$|cs[gy]*$|cds[gy]*$|csst|la[anox]g?$|laalg?$|a[lg]{0,2}si$|ts$|tr$|st[on]sm$|mvclu?e?|plo"
)
S390_BY_REGISTER = {
    "mvcl": (True, True), "mvcle": (True, True), "mvclu": (True, True), "mvst": (True, True), "mvpg": (True, True),
    "clcl": (True, False), "clcle": (True, False), "clclu": (True, False), "clst": (True, False),
    "srst": (True, False), "cksm": (True, False), "cuse": (True, False), "km": (True, True), "kmc": (True, True),
    "kimd": (True, True), "klmd": (True, True), "kmac": (True, True), "kmctr": (True, True), "tre": (True, True),
    "pcistb": (False, True), "uvc": (True, True), "chsc": (True, True),
}  # fmt: skip
"""Instructions that find their memory in registers: nothing of it is written out as an operand."""


def s390(mnemonic: str, operands: str) -> Access:
    """
    Manual: z/Architecture Principles of Operation (SA22-7832), chapters 5 (address generation), 7 and 10.
    """
    if mnemonic in S390_BY_REGISTER and "(" not in operands:
        return (None, *S390_BY_REGISTER[mnemonic])
    if S390_RELATIVE.match(mnemonic):
        return last_operand(operands), not mnemonic.startswith("st"), mnemonic.startswith("st")
    if S390_NOT.match(mnemonic):
        return NOTHING
    memory = spanned(S390_OPERAND, operands)
    if (
        memory is None
        and S390_PLAIN.match(mnemonic)
        and operands[-1:] not in ("", ")")
        and "%" not in operands.rsplit(maxsplit=1)[-1]
    ):
        memory = last_operand(operands)
    if memory is None:
        return NOTHING
    if S390_BOTH.match(mnemonic):
        return memory, True, True
    writes = bool(S390_WRITE.match(mnemonic))
    return memory, not writes or operands.count("(") > 1, writes


INSTRUCTION_SETS: dict[str, Callable[[str, str], Access]] = {
    "EM_X86_64": x86,
    "EM_386": x86,
    "EM_AARCH64": arm64,
    "EM_ARM": arm,
    "EM_RISCV": riscv,
    "EM_MIPS": mips,
    "EM_PPC": powerpc,
    "EM_PPC64": powerpc,
    "EM_S390": s390,
}
