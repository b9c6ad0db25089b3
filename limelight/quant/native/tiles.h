// Weights, inputs rounded to 8 bits, and the loops that multiply them, for each set of instructions.
//
// A weight is w = scale * (code - zero) + minimum, with one scale (and perhaps one minimum) per group of columns.
// Its bytes are ordered for the loop that reads them: 16 rows make a tile, and a tile is read from its first byte to
// its last. For each group of columns a tile holds
//
//     codes    8 bit: [group / 4][16 rows][4 columns]
//              4 bit: the same with two columns to a byte, column c in the low half and c + group / 2 in the high half
//     scales   [16 rows], float16 ("wide": float32)
//     minima   [16 rows], likewise, where the format has them
//
// so that 64 bytes of codes are 16 rows times the 4 columns that one instruction multiplies by 4 inputs and adds up.
// Inputs are rounded to 8 bits, one scale per group, as llama.cpp's Q8_1 does; products and sums within a group are
// exact in int32. The order of the additions depends neither on the number of rows of x nor on the threads: a row's
// result is the same bits whether it is computed alone or among others.

#define INLINE inline __attribute__((always_inline))

constexpr int ROWS = 16;         // rows of a tile
constexpr int64_t CHUNK = 128;   // rows of x that a task quantises and keeps in the second-level cache

struct Layout {                  // as `Layout` in native.py
    int32_t bits, group, zero, minima, wide;
};

struct Matrix {
    const uint8_t* data;
    int64_t rows, columns;
    Layout layout;
    int64_t groups, codes, scales, stride;  // groups in a row; bytes of a group's codes, of its scales, of all of it

    Matrix(const uint8_t* data, int64_t rows, int64_t columns, const Layout& layout)
        : data(data), rows(rows), columns(columns), layout(layout), groups(columns / layout.group),
          codes(ROWS * layout.group * layout.bits / 8), scales(ROWS * (layout.wide ? 4 : 2)),
          stride(codes + scales * (layout.minima ? 2 : 1)) {}
    int64_t tiles() const { return (rows + ROWS - 1) / ROWS; }
    const uint8_t* tile(int64_t index) const { return data + index * groups * stride; }
};

struct Group {                   // what is known of a group of a row's inputs, besides its codes
    float scale;                 // input = scale * code
    float sum;                   // of the inputs, as rounded: what a minimum is multiplied by
    int32_t codes;               // sum of the codes, which makes up for weights' codes counted from another zero
};

// ---- numbers

struct bfloat16 { uint16_t bits; };
struct half { uint16_t bits; };  // float16

template <class To, class From> INLINE To bits_of(const From& value) {
    static_assert(sizeof(To) == sizeof(From), "the same bits in another type");
    To result;
    std::memcpy(&result, &value, sizeof result);
    return result;
}

INLINE float to_float(float value) { return value; }
INLINE float to_float(bfloat16 value) { return bits_of<float>(uint32_t(value.bits) << 16); }
INLINE void assign(float& to, float value) { to = value; }
INLINE void assign(bfloat16& to, float value) {  // to the nearest, ties to even; NaN stays NaN
    const uint32_t bits = bits_of<uint32_t>(value);
    to.bits = value != value ? 0x7fc0 : uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

INLINE float half_to_float(uint16_t half) {
    const uint32_t sign = uint32_t(half & 0x8000) << 16, rest = half & 0x7fff;
    if (rest >= 0x7c00) return bits_of<float>(sign | 0x7f800000 | (rest & 0x3ff) << 13);  // infinity, NaN
    // Shifted into a float's place, the exponent is too small by 112: a multiplication puts that right, subnormals too.
    return bits_of<float>(sign | bits_of<uint32_t>(bits_of<float>(rest << 13) * 0x1p112f));
}

INLINE half float_to_half(float value) {  // to the nearest, ties to even
    const uint32_t bits = bits_of<uint32_t>(value), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) return {uint16_t(sign | 0x7e00)};
    if (rest >= 0x477ff000) return {uint16_t(sign | 0x7c00)};
    // Below 2^-14 halves are multiples of 2^-24: adding 1/2 rounds to one, which the low bits then count.
    if (rest < 0x38800000) return {uint16_t(sign | (bits_of<uint32_t>(bits_of<float>(rest) + 0.5f) - 0x3f000000))};
    return {uint16_t(sign | (rest - 0x38000000 + 0xfff + (rest >> 13 & 1)) >> 13)};
}

template <class T> INLINE T read(const void* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

INLINE float scale_of(const uint8_t* scales, int row, bool wide) {
    return wide ? read<float>(scales + 4 * row) : half_to_float(read<uint16_t>(scales + 2 * row));
}

// ---- inputs to 8 bits; plain loops, which each instruction set's copy turns into its own instructions

template <class T, int GROUP> INLINE void quantise(const T* x, int64_t columns, int8_t* codes, Group* groups) {
    for (int64_t at = 0; at < columns; at += GROUP) {
        float values[GROUP];
        int32_t peak_bits = 0;  // magnitudes compare as integers, and NaN is above them all: it reaches the output
        for (int i = 0; i < GROUP; i++) {
            values[i] = to_float(x[at + i]);
            peak_bits = std::max(peak_bits, bits_of<int32_t>(values[i]) & 0x7fffffff);
        }
        const float peak = bits_of<float>(peak_bits), inverse = peak > 1e-30f ? 127.0f / peak : 0.0f;
        int32_t sum = 0;
        for (int i = 0; i < GROUP; i++) {  // adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits
            const int32_t code = bits_of<int32_t>(values[i] * inverse + 12582912.0f) - 0x4b400000;
            codes[at + i] = int8_t(code);
            sum += code;
        }
        const float scale = peak / 127.0f;
        *groups++ = {scale, scale * float(sum), sum};
    }
}

// ---- what a block does besides products, see rows.h

#pragma GCC diagnostic ignored "-Wpsabi"  // about vectors as arguments, but these functions are always inlined

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, ints{__VA_ARGS__})
#endif

enum class Activation : int32_t { relu, gelu, gelu_tanh, silu, relu_squared };

struct Norm {                    // as `NormOf` in compiler.py
    enum Kind : int32_t { none, rms, layer, scaled, clipped };
    Kind kind;
    float eps, shift;            // what is multiplied by is shift + weight; scaled: shift; clipped: to ±shift
    const float *weight, *bias;  // bias may be null
};

struct Heads {                   // one head's keys and values of one row of a batch
    const void *keys, *values;   // [positions][step], float32 or the set's own 16 bits
    int64_t step, width;
    float cap;                   // 0: scores are not capped
};

struct Rows {
    void (*norm)(const Norm&, const float* x, int64_t width, bool add, float* y);
    void (*activate)(Activation, const float* gate, const float* up, int64_t width, float* y);
    void (*turn)(const Norm&, float* x, int64_t width, const float* cos, const float* sin, int64_t rotated);
    using Attend = void (*)(const Heads&, const float* q, int64_t rows, const int64_t* first, const int64_t* last,
                            const float* const* bias, int64_t begin, int64_t end, float* most, float* weight, float* sums);
    Attend attend, attend_halves;
    void (*merge)(const float* most, const float* weight, const float* sums, int64_t stride, int64_t splits,
                  int64_t width, float* y);
    void (*narrow)(const float* from, int64_t count, half* to);
    void (*widen_tile)(const Matrix&, const uint8_t* tile, float* to);
    void (*dot)(const float* x, int64_t count, const float* weights, int64_t columns, float* out);
};

// ---- one tile times a few rows of inputs: out [rows of x][16]

using Tile = void (*)(const Matrix&, const uint8_t* tile, const int8_t* x, const Group* groups, float* out);
using Quantise = void (*)(const void* x, bool half, int group, int64_t columns, int8_t* codes, Group* groups);

struct Kernels {
    const char* name;
    int most;                               // rows of x that the registers hold, 4, 8 or 16
    Quantise quantise;
    Tile (*tile)(const Layout&, int rows);  // the loop for so many rows of x: `most`, half of it and so on
    const Rows& rows;
};

#define QUANTISE(NAME, TARGET)                                                                                        \
    TARGET void NAME(const void* x, bool half, int group, int64_t columns, int8_t* codes, Group* groups) {            \
        if (half && group == 32) quantise<bfloat16, 32>((const bfloat16*)x, columns, codes, groups);                  \
        else if (half) quantise<bfloat16, 16>((const bfloat16*)x, columns, codes, groups);                            \
        else if (group == 32) quantise<float, 32>((const float*)x, columns, codes, groups);                           \
        else quantise<float, 16>((const float*)x, columns, codes, groups);                                            \
    }

// The loops of NAME for each number of rows of x up to MOST, and for each kind of layout.
#define TILE_OF_ROWS(NAME, MOST)                                                                                      \
    template <int BITS, int GROUP, bool MINIMA> Tile NAME##_rows(int rows) {                                          \
        return rows == MOST ? NAME<BITS, GROUP, MINIMA, MOST> : rows == 8 ? NAME<BITS, GROUP, MINIMA, std::min(8, MOST)> \
             : rows == 4 ? NAME<BITS, GROUP, MINIMA, 4> : rows == 2 ? NAME<BITS, GROUP, MINIMA, 2>                    \
             : NAME<BITS, GROUP, MINIMA, 1>;                                                                          \
    }                                                                                                                 \
    Tile NAME##_for(const Layout& layout, int rows) {                                                                 \
        if (layout.bits == 4) return layout.minima ? NAME##_rows<4, 32, true>(rows) : NAME##_rows<4, 32, false>(rows); \
        if (layout.group == 16) return layout.minima ? NAME##_rows<8, 16, true>(rows) : NAME##_rows<8, 16, false>(rows); \
        return layout.minima ? NAME##_rows<8, 32, true>(rows) : NAME##_rows<8, 32, false>(rows);                      \
    }

#define REGISTER 16
#if defined(__aarch64__)
#define REGISTERS 32
#define WIDE(FROM) (lanes)vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8((const uint8_t*)(FROM))))
#define NARROW(TO, VALUE) vst1_u8((uint8_t*)(TO), vreinterpret_u8_f16(vcvt_f16_f32((float32x4_t)(VALUE))))
#else
#define REGISTERS 16
#endif
namespace plain_code {
#include "rows.h"
}

// In floats, which hold all integers that there can be within a group: what has no 8-bit products has fast floats.
template <int BITS, int GROUP, bool MINIMA, int M>
void plain(const Matrix& w, const uint8_t* tile, const int8_t* x, const Group* groups, float* out) {
    using namespace plain_code;
    constexpr int BYTES = GROUP * BITS / 8;
    std::fill(out, out + M * ROWS, 0.0f);
    for (int64_t g = 0; g < w.groups; g++, tile += w.stride, x += GROUP, groups++) {
        float inputs[M][GROUP];
        for (int m = 0; m < M; m++)
            for (int c = 0; c < GROUP; c++) inputs[m][c] = x[m * w.columns + c];
        for (int part = 0; part < PARTS; part++) {
            lanes weights[GROUP];
            each_column<BITS>(tile, BYTES, part, [&](int64_t column, lanes codes) { weights[column] = codes; });
            const lanes scales = scales_of(tile + w.codes, part, w.layout.wide);
            const lanes minima = MINIMA ? scales_of(tile + w.codes + w.scales, part, w.layout.wide) : scales;
            lanes sums[M];
            for (int m = 0; m < M; m++) sums[m] = all(float(-w.layout.zero * groups[m * w.groups].codes));
            for (int c = 0; c < GROUP; c++)
                for (int m = 0; m < M; m++) sums[m] += inputs[m][c] * weights[c];
            for (int m = 0; m < M; m++) {
                const Group& group = groups[m * w.groups];
                float* const to = out + m * ROWS + part * LANES;
                lanes found = load(to) + sums[m] * (scales * group.scale);
                if (MINIMA) found += minima * group.sum;
                store(to, found);
            }
        }
    }
}
TILE_OF_ROWS(plain, 4)
QUANTISE(quantise_plain, )
const Kernels PLAIN = {"plain C++", 4, quantise_plain, plain_for, plain_code::ROWS_OF};

#if defined(__x86_64__)
// Functions between the two are compiled for a target.
#define PRAGMA(...) _Pragma(#__VA_ARGS__)
#if defined(__clang__)
#define COMPILED_FOR(TARGET) PRAGMA(clang attribute push(__attribute__((target(TARGET))), apply_to = function))
#define COMPILED_FOR_ALL _Pragma("clang attribute pop")
#else
#define COMPILED_FOR(TARGET) PRAGMA(GCC push_options) PRAGMA(GCC target(TARGET)) PRAGMA(GCC optimize("fp-contract=fast"))
#define COMPILED_FOR_ALL _Pragma("GCC pop_options")
#endif
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define AVX2 __attribute__((target("avx2,fma,f16c")))

AVX512 INLINE __m512 load_scales(const uint8_t* from, bool wide) {
    return wide ? _mm512_loadu_ps(from) : _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from));
}

template <int BITS, int GROUP, bool MINIMA, int M>
AVX512 void avx512(const Matrix& w, const uint8_t* tile, const int8_t* x, const Group* groups, float* out) {
    constexpr int UNITS = GROUP / 4;
    const __m512i low = _mm512_set1_epi8(15);
    const bool wide = w.layout.wide;
    const int32_t from_zero = -w.layout.zero;
    __m512 sums[M];
    for (int m = 0; m < M; m++) sums[m] = _mm512_setzero_ps();
    for (int64_t g = 0; g < w.groups; g++, tile += w.stride, x += GROUP, groups++) {
        __m512i codes[UNITS];
        for (int u = 0; u < UNITS * BITS / 8; u++) {
            const __m512i bytes = _mm512_loadu_si512(tile + 64 * u);
            codes[u] = BITS == 8 ? bytes : _mm512_and_si512(bytes, low);
            if (BITS == 4) codes[u + UNITS / 2] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low);
        }
        const __m512 scales = load_scales(tile + w.codes, wide);
        const __m512 minima = MINIMA ? load_scales(tile + w.codes + w.scales, wide) : scales;
        constexpr int TWO = M < 2 ? 1 : 2;  // rows whose chains of sums run side by side
#pragma GCC unroll 8
        for (int m = 0; m < M; m += TWO) {
            __m512i sum[TWO];
            for (int i = 0; i < TWO; i++)
                sum[i] = _mm512_set1_epi32(MINIMA ? 0 : from_zero * groups[(m + i) * w.groups].codes);
#pragma GCC unroll 8
            for (int u = 0; u < UNITS; u++)
#pragma GCC unroll 2
                for (int i = 0; i < TWO; i++) {
                    const int32_t inputs = read<int32_t>(x + (m + i) * w.columns + 4 * u);
                    sum[i] = _mm512_dpbusd_epi32(sum[i], codes[u], _mm512_set1_epi32(inputs));
                }
#pragma GCC unroll 2
            for (int i = 0; i < TWO; i++) {
                const Group& group = groups[(m + i) * w.groups];
                const __m512 scale = _mm512_mul_ps(scales, _mm512_set1_ps(group.scale));
                sums[m + i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[i]), scale, sums[m + i]);
                if (MINIMA) sums[m + i] = _mm512_fmadd_ps(minima, _mm512_set1_ps(group.sum), sums[m + i]);
            }
        }
    }
    for (int m = 0; m < M; m++) _mm512_storeu_ps(out + m * ROWS, sums[m]);
}
TILE_OF_ROWS(avx512, 16)
QUANTISE(quantise_avx512, AVX512)
COMPILED_FOR("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#define REGISTER 64
#define REGISTERS 32
#define WIDE(FROM) (lanes)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)(FROM)))
#define NARROW(TO, VALUE) _mm256_storeu_si256((__m256i*)(TO), _mm512_cvtps_ph((__m512)(VALUE), 0))
#define SMALLER(A, B) (lanes)_mm512_min_ps((__m512)(A), (__m512)(B))
#define LARGER(A, B) (lanes)_mm512_max_ps((__m512)(A), (__m512)(B))
#define ANY_LARGER(A, B) _mm512_cmp_ps_mask((__m512)(A), (__m512)(B), _CMP_GT_OQ)
#define ROUNDED(X) (lanes)_mm512_roundscale_ps((__m512)(X), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define SCALED(X, POWER) (lanes)_mm512_scalef_ps((__m512)(X), (__m512)(POWER))
namespace avx512_code {
#include "rows.h"
}
COMPILED_FOR_ALL
const Kernels AVX512_VNNI = {"avx512-vnni", 16, quantise_avx512, avx512_for, avx512_code::ROWS_OF};

// With products of bfloat16, in which keys and values are kept.
#if defined(__clang__) || __GNUC__ >= 11
#define HAS_BF16
COMPILED_FOR("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")
#define REGISTER 64
#define REGISTERS 32
#define WIDE(FROM) (lanes)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(FROM))), 16)
#define NARROW(TO, VALUE) _mm256_storeu_si256((__m256i*)(TO), (__m256i)_mm512_cvtneps_pbh((__m512)(VALUE)))
#define DOT(SUM, A, B) (lanes)_mm512_dpbf16_ps((__m512)(SUM), (__m512bh)(A), (__m512bh)(B))
INLINE __m512i side_by_side(const half* first, const half* second) {
    const __m256i low = _mm256_loadu_si256((const __m256i*)first);
    const __m256i high = second ? _mm256_loadu_si256((const __m256i*)second) : _mm256_setzero_si256();
    return _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
}
#define PAIRED(FIRST, SECOND) (lanes)side_by_side(FIRST, SECOND)
#define SMALLER(A, B) (lanes)_mm512_min_ps((__m512)(A), (__m512)(B))
#define LARGER(A, B) (lanes)_mm512_max_ps((__m512)(A), (__m512)(B))
#define ANY_LARGER(A, B) _mm512_cmp_ps_mask((__m512)(A), (__m512)(B), _CMP_GT_OQ)
#define ROUNDED(X) (lanes)_mm512_roundscale_ps((__m512)(X), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define SCALED(X, POWER) (lanes)_mm512_scalef_ps((__m512)(X), (__m512)(POWER))
namespace avx512_bf16_code {
#include "rows.h"
}
COMPILED_FOR_ALL
const Kernels AVX512_BF16 = {"avx512-bf16", 16, quantise_avx512, avx512_for, avx512_bf16_code::ROWS_OF};
#endif

AVX2 INLINE __m256 load_half_scales(const uint8_t* from, int half, bool wide) {
    return wide ? _mm256_loadu_ps((const float*)from + 8 * half)
                : _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from + half));
}

template <int BITS, int GROUP, bool MINIMA, int M>
AVX2 void avx2(const Matrix& w, const uint8_t* tile, const int8_t* x, const Group* groups, float* out) {
    constexpr int UNITS = GROUP / 4;
    const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1), flip = _mm256_set1_epi8(-128);
    const bool wide = w.layout.wide;
    const int32_t from_zero = (BITS == 8 ? 128 : 0) - w.layout.zero;
    for (int half = 0; half < 2; half++) {  // rows 0 to 7, then 8 to 15
        __m256 sums[M];
        for (int m = 0; m < M; m++) sums[m] = _mm256_setzero_ps();
        for (int64_t g = 0; g < w.groups; g++) {
            const uint8_t* at = tile + g * w.stride;
            __m256i codes[UNITS];
            for (int u = 0; u < UNITS * BITS / 8; u++) {
                const __m256i bytes = _mm256_loadu_si256((const __m256i*)(at + 64 * u + 32 * half));
                codes[u] = BITS == 8 ? _mm256_xor_si256(bytes, flip) : _mm256_and_si256(bytes, low);
                if (BITS == 4) codes[u + UNITS / 2] = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low);
            }
            const __m256 scales = load_half_scales(at + w.codes, half, wide);
            const __m256 minima = MINIMA ? load_half_scales(at + w.codes + w.scales, half, wide) : scales;
#pragma GCC unroll 4
            for (int m = 0; m < M; m++) {
                const Group& group = groups[m * w.groups + g];
                const int8_t* inputs = x + m * w.columns + g * GROUP;
                __m256i sum = _mm256_set1_epi32(from_zero * group.codes), pairs = _mm256_setzero_si256();
#pragma GCC unroll 8
                for (int u = 0; u < UNITS; u++) {
                    const __m256i four = _mm256_set1_epi32(read<int32_t>(inputs + 4 * u));
                    if (BITS == 4) {  // 8 units of 2 * 15 * 127 fit in 16 bits
                        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes[u], four));
                    } else {          // |code| <= 128 as unsigned, its sign on the input: 2 * 128 * 127 fit
                        const __m256i products =
                            _mm256_maddubs_epi16(_mm256_abs_epi8(codes[u]), _mm256_sign_epi8(four, codes[u]));
                        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(products, ones));
                    }
                }
                if (BITS == 4) sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
                const __m256 scale = _mm256_mul_ps(scales, _mm256_set1_ps(group.scale));
                sums[m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, sums[m]);
                if (MINIMA) sums[m] = _mm256_fmadd_ps(minima, _mm256_set1_ps(group.sum), sums[m]);
            }
        }
        for (int m = 0; m < M; m++) _mm256_storeu_ps(out + m * ROWS + 8 * half, sums[m]);
    }
}
TILE_OF_ROWS(avx2, 4)
QUANTISE(quantise_avx2, AVX2)
COMPILED_FOR("avx2,fma,f16c")
#define REGISTER 32
#define REGISTERS 16
#define WIDE(FROM) (lanes)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(FROM)))
#define NARROW(TO, VALUE) _mm_storeu_si128((__m128i*)(TO), _mm256_cvtps_ph((__m256)(VALUE), 0))
namespace avx2_code {
#include "rows.h"
}
COMPILED_FOR_ALL
const Kernels AVX2_FMA = {"avx2", 4, quantise_avx2, avx2_for, avx2_code::ROWS_OF};
#endif

// clang before 16 knows the dot product only where the whole file is compiled for it, as on macOS.
#if defined(__aarch64__) && (defined(__ARM_FEATURE_DOTPROD) || !defined(__clang__) || __clang_major__ >= 16)
#define HAS_NEON
#if defined(__clang__)
#define DOTPROD __attribute__((target("dotprod")))
#else
#define DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

DOTPROD INLINE float32x4_t load_quarter_scales(const uint8_t* from, int quarter, bool wide) {
    return wide ? vreinterpretq_f32_u8(vld1q_u8(from + 16 * quarter))
                : vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(from + 8 * quarter)));
}

template <int BITS, int GROUP, bool MINIMA, int M>
DOTPROD void neon(const Matrix& w, const uint8_t* tile, const int8_t* x, const Group* groups, float* out) {
    constexpr int UNITS = GROUP / 4;
    const bool wide = w.layout.wide;
    const int32_t from_zero = (BITS == 8 ? 128 : 0) - w.layout.zero;  // 8-bit codes are read as code - 128
    for (int quarter = 0; quarter < 4; quarter++) {
        float32x4_t sums[M];
        for (int m = 0; m < M; m++) sums[m] = vdupq_n_f32(0);
        for (int64_t g = 0; g < w.groups; g++) {
            const uint8_t* at = tile + g * w.stride;
            int8x16_t codes[UNITS];
            for (int u = 0; u < UNITS * BITS / 8; u++) {
                const uint8x16_t bytes = vld1q_u8(at + 64 * u + 16 * quarter);
                codes[u] = vreinterpretq_s8_u8(BITS == 8 ? veorq_u8(bytes, vdupq_n_u8(128))
                                                         : vandq_u8(bytes, vdupq_n_u8(15)));
                if (BITS == 4) codes[u + UNITS / 2] = vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4));
            }
            const float32x4_t scales = load_quarter_scales(at + w.codes, quarter, wide);
            const float32x4_t minima = MINIMA ? load_quarter_scales(at + w.codes + w.scales, quarter, wide) : scales;
#pragma GCC unroll 8
            for (int m = 0; m < M; m++) {
                const Group& group = groups[m * w.groups + g];
                const int8_t* inputs = x + m * w.columns + g * GROUP;
                int32x4_t sum = vdupq_n_s32(from_zero * group.codes);
#pragma GCC unroll 8
                for (int u = 0; u < UNITS; u++)
                    sum = vdotq_s32(sum, codes[u], vreinterpretq_s8_s32(vdupq_n_s32(read<int32_t>(inputs + 4 * u))));
                sums[m] = vfmaq_f32(sums[m], vcvtq_f32_s32(sum), vmulq_n_f32(scales, group.scale));
                if (MINIMA) sums[m] = vfmaq_n_f32(sums[m], minima, group.sum);
            }
        }
        for (int m = 0; m < M; m++) vst1q_f32(out + m * ROWS + 4 * quarter, sums[m]);
    }
}
TILE_OF_ROWS(neon, 8)
QUANTISE(quantise_neon, DOTPROD)
const Kernels NEON = {"neon-dotprod", 8, quantise_neon, neon_for, plain_code::ROWS_OF};
#endif

// What this processor can run, the best first; none that is better than the one that LIMELIGHT_NATIVE names.
std::vector<const Kernels*> available() {
    std::vector<const Kernels*> found;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
#if defined(HAS_BF16)
        if (__builtin_cpu_supports("avx512bf16")) found.push_back(&AVX512_BF16);
#endif
        found.push_back(&AVX512_VNNI);
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(&AVX2_FMA);
#elif defined(HAS_NEON) && defined(__APPLE__)
    found.push_back(&NEON);
#elif defined(HAS_NEON) && defined(__linux__)
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) found.push_back(&NEON);
#endif
    found.push_back(&PLAIN);
    if (const char* const named = std::getenv("LIMELIGHT_NATIVE"))
        for (size_t i = 0; i < found.size(); i++)
            if (std::strcmp(found[i]->name, named) == 0) found.erase(found.begin(), found.begin() + i);
    return found;
}
