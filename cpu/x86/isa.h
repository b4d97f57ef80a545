/* Which instruction sets a CPU model has: Zydis's ISA sets against CPUID features, so that an absent extension raises #UD. */
#ifndef CPU_X86_ISA_H
#define CPU_X86_ISA_H

#include <Zydis/Zydis.h>

#include "arch/x86/model.h"

bool isa_allowed(const struct x86_model *model, const ZydisDecodedInstruction *zi);
/* MMX, SSE, AVX and their kin: what runs on the vector unit. */
bool isa_vector(const ZydisDecodedInstruction *zi);

#endif
