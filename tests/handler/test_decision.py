"""How a question's docstring becomes a line of the trail."""

from __future__ import annotations

from pagefault.handler.context import Context
from pagefault.handler.decision import Answer, citation, question_text, step
from pagefault.handler.kernel_address import DO_KERN_ADDR_FAULT
from pagefault.handler.triage import EXC_GENERAL_PROTECTION, KERNELMODE_FIXUP_OR_OOPS, in_kernel_space
from pagefault.handler.user_address import DO_USER_ADDR_FAULT
from pagefault.vocabulary.fault import Fault
from pagefault.vocabulary.outcome import Spurious


def is_it_a_test(fault: Fault, context: Context) -> Answer | None:
    """
    Is it a test?

    More words.

    Kernel: mm/test.c do_test(),
    do_more(), v6.1.
    Differs: in everything.
    """
    return None


def without_words(fault: Fault, context: Context) -> Answer | None:
    return None


def test_question_and_citation() -> None:
    assert question_text(is_it_a_test) == "Is it a test?"
    assert citation(is_it_a_test) == "mm/test.c do_test(), do_more(), v6.1"
    assert question_text(without_words) == "without_words"
    assert citation(without_words) == ""


def test_a_step_records_the_answer() -> None:
    assert step(is_it_a_test, None).answer == "no"
    assert step(is_it_a_test, Answer(Spurious())).answer == "yes"
    recorded = step(is_it_a_test, Answer(Spurious(), because="it is"))
    assert (recorded.answer, recorded.function) == ("yes: it is", "is_it_a_test")
    assert (recorded.question, recorded.citation) == ("Is it a test?", "mm/test.c do_test(), do_more(), v6.1")


def test_every_question_has_its_text_and_a_citation_with_a_version() -> None:
    every = {
        in_kernel_space,
        *DO_KERN_ADDR_FAULT,
        *DO_USER_ADDR_FAULT,
        *KERNELMODE_FIXUP_OR_OOPS,
        *EXC_GENERAL_PROTECTION,
    }
    for question in every:
        assert question_text(question).endswith("?"), question
        assert ".c " in citation(question), question
        assert ", v" in citation(question), question
