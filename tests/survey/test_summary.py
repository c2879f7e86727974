"""Counts of entries."""

from __future__ import annotations

from pagefault.survey.described import SourceLine
from pagefault.survey.summary import Count, Subsystem, summarize
from survey.made_up import entry, several

HEADER = SourceLine("__get_user", "arch/x86/include/asm/uaccess.h", 12)


def written_in(file: str) -> tuple[SourceLine, ...]:
    return HEADER, SourceLine("outer", file, 7)


def test_counts_by_type_section_table_and_function_are_largest_first() -> None:
    entries = [
        *several("beta", "<movq {(%rdi)}, %rax", ">movq %rax, {(%rdi)}"),
        *several("alpha", "<movq {(%rdi)}, %rax", ">movq %rax, {(%rdi)}"),
        entry("gamma", "rdmsr", "rdmsr_safe", section=".init.text", table="other"),
        entry(None, None, "fault", section=None),
    ]
    found = summarize(entries)
    assert found.total == Count("all", 6, 5)
    assert found.types == (Count("uaccess", 4, 4), Count("fault", 1, 1), Count("rdmsr_safe", 1, 0))
    assert found.functions == (
        Count("alpha", 2, 2),
        Count("beta", 2, 2),
        Count("(no symbol)", 1, 1),
        Count("gamma", 1, 0),
    )
    assert found.sections == (Count(".text", 4, 4), Count("(no section)", 1, 1), Count(".init.text", 1, 0))
    assert found.tables == (Count("__ex_table", 5, 5), Count("other", 1, 0))


def test_an_instruction_that_accesses_no_memory_is_no_user_access() -> None:
    assert summarize([entry("f", "movl %eax, %fs", "default")]).total == Count("all", 1, 0)


def test_subsystems_are_folders_of_the_outermost_function_s_source() -> None:
    files = (
        ["arch/x86/kvm/vmx/nested.c"] * 2
        + ["fs/ext4/inode.c", "fs/read_write.c", "drivers/gpu/drm/drm_ioctl.c", "mm/gup.c"]
    ) + ["Makefile", "/elsewhere/x.c"]
    entries = [entry(f"f{i}", "<movq {(%rdi)}, %rax", source=written_in(file)) for i, file in enumerate(files)]
    found = summarize([*entries, entry("g", "<movq {(%rdi)}, %rax")])
    assert found.grouped_by == "source"
    assert [(each.name, each.entries, each.user) for each in found.subsystems] == [
        ("(outside the source)", 2, 2),
        ("arch/x86/kvm", 2, 2),
        ("(no source line)", 1, 1),
        ("drivers/gpu", 1, 1),
        ("fs", 1, 1),
        ("fs/ext4", 1, 1),
        ("mm", 1, 1),
    ]
    assert found.subsystems[1].functions == (Count("f0", 1, 1), Count("f1", 1, 1))


def test_without_source_the_groups_are_modules_or_sections() -> None:
    modules = summarize([entry("f", "rdmsr", module="kvm"), entry("g", "rdmsr")])
    assert modules.grouped_by == "module"
    assert [each.name for each in modules.subsystems] == ["(the kernel)", "kvm"]
    plain = summarize([entry("f", "rdmsr"), entry("g", "rdmsr", section=".init.text")])
    assert (plain.grouped_by, plain.subsystems[1]) == ("section", Subsystem(".text", (Count("f", 1, 0),)))


def test_nothing_is_counted_as_nothing() -> None:
    found = summarize([])
    assert (found.total, found.subsystems, found.types) == (Count("all", 0, 0), (), ())
