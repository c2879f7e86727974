# SPDX-License-Identifier: MIT
# Assembler macros. Assembly files include this file; C files do so with asm(".include ..."), so that both write
# the same tables.

# An entry of the exception table: a fault at \insn continues at \fixup, after what \data says was done.
# The linker script gathers the entries; sort_ex_table.py puts them in order.
.macro EXTABLE insn:req, fixup:req, data:req
	.pushsection __ex_table, "a"
	.balign	4
	.long	\insn - .
	.long	\fixup - .
	.long	\data
	.popsection
.endm

# A struct alt_instr of 6.1: where to patch, with what, for which CPU feature, how long the two are.
.macro ALT_INSTR feature:req
	.pushsection .altinstructions, "a"
	.long	771b - .
	.long	773f - .
	.word	\feature
	.byte	772b - 771b
	.byte	774f - 773f
	.popsection
.endm

# \old stands in the code, with nops up to the length of \new, which replaces it on a CPU that has \feature.
# Replacements are copied, never run where they lie: their section is not executable, for it shares a page with data.
.macro ALTERNATIVE old, new, feature:req
771:	\old
770:	.skip	-(((774f - 773f) - (770b - 771b)) > 0) * ((774f - 773f) - (770b - 771b)), 0x90
772:	ALT_INSTR \feature
	.pushsection .altinstr_replacement, "ax"
773:	\new
774:	.popsection
.endm

# The same with two replacements; where a CPU has both features, the second wins. All three must be equally long.
.macro ALTERNATIVE_2 old:req, new1:req, feature1:req, new2:req, feature2:req
771:	\old
772:	ALT_INSTR \feature1
	.pushsection .altinstr_replacement, "ax"
773:	\new1
774:	.popsection
	ALT_INSTR \feature2
	.pushsection .altinstr_replacement, "ax"
773:	\new2
774:	.popsection
.endm

.macro FUNC name:req
	.globl	\name
	.type	\name, @function
	.balign	16, 0x90
\name:
.endm

.macro END name:req
	.size	\name, . - \name
.endm
