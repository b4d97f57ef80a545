#include "cpu/x86/isa.h"

/* Feature number + 1; 0: no row, every model has it. */
static const u16 feature_of_ext[ZYDIS_ISA_EXT_MAX_VALUE + 1] = {
#define ISA_EXT(ext, feature) [ZYDIS_ISA_EXT_##ext] = X86F_##feature + 1,
#define ISA_SET(set, feature)
#include "cpu/x86/isa.def"
#undef ISA_EXT
#undef ISA_SET
};

static const u16 feature_of_set[ZYDIS_ISA_SET_MAX_VALUE + 1] = {
#define ISA_EXT(ext, feature)
#define ISA_SET(set, feature) [ZYDIS_ISA_SET_##set] = X86F_##feature + 1,
#include "cpu/x86/isa.def"
#undef ISA_EXT
#undef ISA_SET
};

bool isa_allowed(const struct x86_model *model, const ZydisDecodedInstruction *zi)
{
	u16 ext = feature_of_ext[zi->meta.isa_ext], set = feature_of_set[zi->meta.isa_set];

	/* A NOP where the feature is absent: hints that every processor accepts (LZCNT and TZCNT decode as BSR and BSF there). */
	if (zi->mnemonic == ZYDIS_MNEMONIC_PREFETCHW || zi->mnemonic == ZYDIS_MNEMONIC_LZCNT || zi->mnemonic == ZYDIS_MNEMONIC_TZCNT)
		return true;
	return (!ext || x86_has(model, (enum x86_feature)(ext - 1))) && (!set || x86_has(model, (enum x86_feature)(set - 1)));
}

bool isa_vector(const ZydisDecodedInstruction *zi)
{
	switch (zi->meta.isa_ext) {
	case ZYDIS_ISA_EXT_MMX:
	case ZYDIS_ISA_EXT_SSE:
	case ZYDIS_ISA_EXT_SSE2:
	case ZYDIS_ISA_EXT_SSE3:
	case ZYDIS_ISA_EXT_SSE4:
	case ZYDIS_ISA_EXT_SSE4A:
	case ZYDIS_ISA_EXT_SSSE3:
	case ZYDIS_ISA_EXT_AES:
	case ZYDIS_ISA_EXT_PCLMULQDQ:
	case ZYDIS_ISA_EXT_SHA:
	case ZYDIS_ISA_EXT_GFNI:
	case ZYDIS_ISA_EXT_F16C:
	case ZYDIS_ISA_EXT_FMA:
	case ZYDIS_ISA_EXT_AVX:
	case ZYDIS_ISA_EXT_AVX2:
	case ZYDIS_ISA_EXT_AVX2GATHER:
	case ZYDIS_ISA_EXT_AVXAES:
	case ZYDIS_ISA_EXT_VAES:
	case ZYDIS_ISA_EXT_VPCLMULQDQ:
	case ZYDIS_ISA_EXT_AVX512EVEX:
	case ZYDIS_ISA_EXT_AVX512VEX:
		return true;
	default:
		return false;
	}
}
