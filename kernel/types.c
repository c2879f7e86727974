// SPDX-License-Identifier: MIT
/* The image's BTF: all types, no code. It is made from this file alone because ld only strings BTF sections together,
 * which readers do not take; and gcc 12 puts variables into BTF in an order that differs from run to run. */
#include "linux.h"
