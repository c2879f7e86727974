"""
The numbers of X86_FEATURE_*: what an alternative is chosen by.

Names are the kernel's in small letters; bug_… are X86_BUG_*, which are numbered after the 22 words of features. Most
words hold CPUID's own bits, the others are Linux's, which moves them now and then. The table holds what the two kernels
below test in an alternative (and smep).

Kernel: arch/x86/include/asm/cpufeatures.h, v6.1 and v6.12.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ..errors import BadInput, Unsupported

NUMBERS = {
    name: int(number)
    for name, _, number in (
        each.partition("=")
        for each in """
    fpu=0 fxsr=24 tsc=4 mtrr=12 pge=13 pat=16 clflush=19 selfsnoop=27 nx=52 gbpages=58 rdtscp=59 zen5=101 syscall32=110
    sysenter32=111 rep_good=112 always=117 aperfmperf=124 mwait=131 vmx=133 cx16=141 pcid=145 popcnt=151 xsave=154
    osxsave=155 rdrand=158 hypervisor=159 3dnowprefetch=200 topoext=214 bpext=218 cpb=226 xcompacted=234 pti=235
    kernel_ibrs=236 msr_spec_ctrl=240 rsb_ctxsw=243 use_ibpb=245 use_ibrs_fw=246 spec_store_bypass_disable=247
    ls_cfg_ssbd=248 zen=252 vmmcall=271 xenpv=272 vmcall=274 vmw_vmmcall=275 pvunlock=276 vcpupreempt=277
    tdx_guest=278 fsgsbase=288 tsc_adjust=289 sgx=290 smep=295 erms=297 invpcid=298 avx512f=304 rdseed=306 smap=308
    clflushopt=311 clwb=312 xsaveopt=320 xsavec=321 xsaves=323 xfd=324 fence_swapgs_user=356 fence_swapgs_kernel=357
    sgx2=361 entry_ibpb=362 retpoline=364 retpoline_lfence=365 rethunk=366 unret=367 use_ibpb_fw=368 call_depth=371
    msr_tsx_ctrl=372 user_shstk=375 srso=376 srso_alias=377 apic_msrs_fence=379 zen2=380 zen3=381 zen4=382 zen1=383
    fsrs=395 lkgs=402 amd_ssbd=440 virt_ssbd=441 cppc=443 ida=449 hwp=455 hwp_notify=456 hwp_highest_perf_change=463
    umip=514 pku=515 ospke=516 waitpkg=517 shstk=519 la57=528 enqcmd=541 sgx_lc=542 overflow_recov=544 succor=545
    smca=547 fsrm=580 srbds_ctrl=585 serialize=590 hybrid_cpu=591 arch_lbr=595 ibt=596 amx_tile=600
    spec_ctrl_ssbd=607 sme_coherent=618 amd_lbr_pmc_freeze=672 clear_bhb_loop=673 clear_bhb_hw=675
    ibpb_exit_to_user=686 bug_11ap=709 bug_fxsave_leak=710 bug_clflush_monitor=711 bug_sysret_ss_attrs=712
    bug_null_seg=714 bug_swapgs_fence=715 bug_monitor=716 bug_div0=737 bug_ibpb_no_ret=740
    """.split()
    )
}
MOVED = {
    "lfence_rdtsc": (114, 642),
    "clear_cpu_buf": (370, 114),
    "indirect_thunk_its": (677, 678),
    "coherency_sfw_no": (261, 260),
}
"""Those that have another number in v6.12 than in v6.1: (v6.1, v6.12)."""
ALWAYS = "always"
UNMODELLED = {
    "call_depth": "call thunks are written into every function's padding at boot",
    "indirect_thunk_its": "the kernel allocates its thunks while it patches",
}


def feature_numbers(names: Iterable[str], *, moved: bool) -> frozenset[int]:
    """
    The numbers of the features called `names`, and of `always`. `moved` picks v6.12's numbers for those that differ.

    Errors: BadInput for an unknown name, Unsupported for one whose patching we do not model.
    """
    numbers = {NUMBERS[ALWAYS]}
    for name in names:
        if name in UNMODELLED:
            raise Unsupported(f"CPU feature {name}", why=UNMODELLED[name])
        if name in MOVED:
            numbers.add(MOVED[name][moved])
        elif name in NUMBERS:
            numbers.add(NUMBERS[name])
        else:
            near = difflib.get_close_matches(name, (*NUMBERS, *MOVED), 3, 0.5) or ["erms", "fsrm", "smap", "la57"]
            raise BadInput("CPU features", expected=f"names of x86 features, such as {', '.join(near)}", got=repr(name))
    return frozenset(numbers)
