// SPDX-License-Identifier: MIT
/* The frame that a signal's handler finds on the user's stack, and the FPU's state in it. The layout is the ABI's. */
#include "uaccess.h"

#define REDZONE			128
#define FRAME_ALIGNMENT		16
#define FXREGS			512
#define XSTATE_HEADER		64
#define SW_RESERVED		464
#define FP_XSTATE_MAGIC1	0x46505853
#define FP_XSTATE_MAGIC2	0x46505845
#define FPSSE			3

#define UC_FP_XSTATE		1
#define UC_SIGCONTEXT_SS	2
#define UC_STRICT_RESTORE_SS	4

#define SA_SIGINFO		0x00000004
#define SA_RESTORER		0x04000000
#define SA_ONSTACK		0x08000000
#define SA_RESTART		0x10000000
#define SS_AUTODISARM		(1u << 31)

#define EINTR			4
#define ERESTARTSYS		512
#define ERESTARTNOINTR		513
#define ERESTARTNOHAND		514
#define ERESTART_RESTARTBLOCK	516

#define EFLAGS_TF_DF_RF		(1 << 8 | 1 << 10 | 1 << 16)
#define USER_CS			0x33
#define USER_DS			0x2b
#define TRAP_PF			14

struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

struct sigaction {
	unsigned long handler, flags, restorer, mask;
};

struct kernel_siginfo {
	u8 bytes[48];
};

struct ksignal {
	struct sigaction sa;
	struct kernel_siginfo info;
	int sig;
};

struct stack {
	unsigned long ss_sp;
	u32 ss_flags;
	unsigned long ss_size;
};

struct sigcontext {
	unsigned long r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, ip, flags;
	u16 cs, gs, fs, ss;
	unsigned long err, trapno, oldmask, cr2, fpstate, reserved[8];
};

struct ucontext {
	unsigned long uc_flags, uc_link;
	struct stack uc_stack;
	struct sigcontext uc_mcontext;
	unsigned long uc_sigmask;
};

struct rt_sigframe {
	unsigned long pretcode;
	struct ucontext uc;
	u8 info[128];
};

/* What follows the FPU's state proper: how much of it there is. */
struct fpx_sw_bytes {
	u32 magic1;
	u32 extended_size;
	unsigned long xfeatures;
	u32 xstate_size;
	u32 padding[7];
};

int fpregs_to_user(unsigned long to, unsigned long mask);
int fpregs_from_user(unsigned long from, unsigned long mask);
int fxregs_from_user(unsigned long from, unsigned long mask);

static inline const struct fpstate *fpstate(void)
{
	return current()->thread.fpu.fpstate;
}

static inline _Bool has_xsave(void)
{
	return fpstate()->user_size > FXREGS;
}

static inline unsigned long sigframe_size(void)
{
	return fpstate()->user_size + (has_xsave() ? sizeof(u32) : 0);
}

static inline _Bool on_stack(unsigned long sp, unsigned long start, unsigned long size)
{
	return sp > start && sp - start <= size;
}

static inline _Bool on_sig_stack(unsigned long sp)
{
	const struct task_struct *task = current();

	return !(task->sas_ss_flags & SS_AUTODISARM) && on_stack(sp, task->sas_ss_sp, task->sas_ss_size);
}

/* The words that tell what of the state is there. */
static _Bool describe_fpstate(unsigned long to)
{
	struct fpx_sw_bytes about = {
		.magic1 = FP_XSTATE_MAGIC1,
		.extended_size = fpstate()->user_size + sizeof(u32),
		.xfeatures = fpstate()->user_xfeatures,
		.xstate_size = fpstate()->user_size,
	};
	unsigned long saved;

	if (_copy_to_user((void *)(to + SW_RESERVED), &about, sizeof(about)))
		return 0;
	if (!has_xsave())
		return 1;
	if (__put_user((u32)FP_XSTATE_MAGIC2, to + fpstate()->user_size))
		return 0;
	/* Old programs expect that these two are there. */
	return !__get_user(saved, to + FXREGS) && !__put_user(saved | FPSSE, to + FXREGS);
}

/* Save the registers themselves, where no page is brought in; where one is missing, clear it all, and again. */
static _Bool copy_fpstate_to_sigframe(unsigned long to)
{
	int error;

	if (!access_ok((void *)to, sigframe_size()))
		return 0;
	if (has_xsave() && clear_user((void *)(to + FXREGS), XSTATE_HEADER))
		return 0;
	for (;;) {
		pagefault_disable();
		error = fpregs_to_user(to, fpstate()->user_xfeatures);
		pagefault_enable();
		if (!error)
			return describe_fpstate(to);
		if (clear_user((void *)to, fpstate()->user_size))
			return 0;
	}
}

/* Where the frame goes, and the FPU's state above it, which is saved here. 0: it does not fit, or cannot be written. */
static unsigned long get_sigframe(const struct ksignal *signal, const struct pt_regs *regs, unsigned long *state)
{
	const struct task_struct *task = current();
	unsigned long sp = regs->sp - REDZONE;
	_Bool other_stack = on_sig_stack(regs->sp);

	if ((signal->sa.flags & SA_ONSTACK) && task->sas_ss_size && !on_sig_stack(sp)) {
		sp = task->sas_ss_sp + task->sas_ss_size;
		other_stack = 1;
	}
	*state = (sp - sigframe_size()) & -64ul;
	sp = ((*state - sizeof(struct rt_sigframe)) & -(unsigned long)FRAME_ALIGNMENT) - 8;
	if (other_stack && !on_stack(sp, task->sas_ss_sp, task->sas_ss_size))
		return 0;
	return copy_fpstate_to_sigframe(*state) ? sp : 0;
}

static void save_context(struct ucontext *uc, const struct pt_regs *regs, unsigned long state)
{
	const struct task_struct *task = current();
	struct sigcontext *sc = &uc->uc_mcontext;

	uc->uc_flags = UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS | (has_xsave() ? UC_FP_XSTATE : 0);
	uc->uc_stack.ss_sp = task->sas_ss_sp;
	uc->uc_stack.ss_flags = task->sas_ss_flags;
	uc->uc_stack.ss_size = task->sas_ss_size;
	uc->uc_sigmask = task->blocked;
	sc->r8 = regs->r8, sc->r9 = regs->r9, sc->r10 = regs->r10, sc->r11 = regs->r11;
	sc->r12 = regs->r12, sc->r13 = regs->r13, sc->r14 = regs->r14, sc->r15 = regs->r15;
	sc->di = regs->di, sc->si = regs->si, sc->bp = regs->bp, sc->bx = regs->bx;
	sc->dx = regs->dx, sc->ax = regs->ax, sc->cx = regs->cx;
	sc->sp = regs->sp, sc->ip = regs->ip, sc->flags = regs->flags;
	sc->cs = regs->cs, sc->ss = regs->ss;
	sc->err = task->thread.error_code, sc->trapno = task->thread.trap_nr, sc->cr2 = task->thread.cr2;
	sc->oldmask = task->blocked;
	sc->fpstate = state;
}

/* A system call that the signal cut short fails with -EINTR, or is made again after the handler. */
static void end_system_call(const struct ksignal *signal, struct pt_regs *regs)
{
	if (regs->orig_ax == -1ul)
		return;
	switch (-(long)regs->ax) {
	case ERESTARTSYS:
		if (!(signal->sa.flags & SA_RESTART)) {
			regs->ax = -EINTR;
			break;
		}
		/* fallthrough */
	case ERESTARTNOINTR:
		regs->ax = regs->orig_ax;
		regs->ip -= 2;
		break;
	case ERESTARTNOHAND:
	case ERESTART_RESTARTBLOCK:
		regs->ax = -EINTR;
		break;
	}
}

/* Writes the frame and changes the registers to the handler's start. 0, or -EFAULT: then the registers are as before,
 * but for the system call's end. */
int handle_signal(const struct ksignal *signal, struct pt_regs *regs)
{
	struct rt_sigframe frame;
	unsigned long sp, state;

	end_system_call(signal, regs);
	if (!(signal->sa.flags & SA_RESTORER))
		return -EFAULT;
	sp = get_sigframe(signal, regs, &state);
	if (!sp)
		return -EFAULT;
	memset(&frame, 0, sizeof(frame));
	frame.pretcode = signal->sa.restorer;
	save_context(&frame.uc, regs, state);
	if (_copy_to_user((void *)sp, &frame, __builtin_offsetof(struct rt_sigframe, info)))
		return -EFAULT;
	if (signal->sa.flags & SA_SIGINFO) {
		unsigned long info = sp + __builtin_offsetof(struct rt_sigframe, info), used = sizeof(signal->info);

		if (_copy_to_user((void *)info, &signal->info, used) ||
		    clear_user((void *)(info + used), sizeof(frame.info) - used))
			return -EFAULT;
	}
	regs->di = signal->sig;
	regs->ax = 0;
	regs->si = sp + __builtin_offsetof(struct rt_sigframe, info);
	regs->dx = sp + __builtin_offsetof(struct rt_sigframe, uc);
	regs->ip = signal->sa.handler;
	regs->sp = sp;
	regs->cs = USER_CS;
	regs->ss = USER_DS;
	regs->flags &= ~(unsigned long)EFLAGS_TF_DF_RF;
	return 0;
}

/* What of an extended state a frame holds; 0 if only the legacy part counts; -EFAULT. */
static long xfeatures_in_sigframe(unsigned long from)
{
	struct fpx_sw_bytes about;
	u32 magic2;

	if (_copy_from_user(&about, (void *)(from + SW_RESERVED), sizeof(about)))
		return -EFAULT;
	if (about.magic1 != FP_XSTATE_MAGIC1 || about.xstate_size < FXREGS + XSTATE_HEADER ||
	    about.xstate_size > fpstate()->user_size || about.xstate_size > about.extended_size)
		return 0;
	if (__get_user(magic2, from + about.xstate_size))
		return -EFAULT;
	return magic2 == FP_XSTATE_MAGIC2 ? about.xfeatures & fpstate()->user_xfeatures : 0;
}

/* Load the FPU from a frame. 0: it cannot be read, or is no state that the CPU takes. */
_Bool fpu__restore_sig(unsigned long from, int ia32_frame)
{
	long features = 0;
	int error;

	(void)ia32_frame;
	if (!access_ok((void *)from, sigframe_size()))
		return 0;
	if (has_xsave())
		features = xfeatures_in_sigframe(from);
	if (features < 0)
		return 0;
	for (;;) {
		pagefault_disable();
		error = features ? fpregs_from_user(from, features) : fxregs_from_user(from, FPSSE);
		pagefault_enable();
		if (error != TRAP_PF)
			return !error;
		if (fault_in_readable((void *)from, fpstate()->user_size))
			return 0;
	}
}
