// What a transformer block does besides products: norms, rotations, attention, activations, on rows of float32.
//
// Included once for each instruction set, within a namespace and compiled for it. The code is plain C++ over vectors
// of the machine's own size, REGISTER bytes, of which there are REGISTERS: larger ones GCC keeps in memory. No result
// depends on how rows are shared out: a row goes through the same operations in the same order whether it is alone or
// among others.

constexpr int LANES = REGISTER / sizeof(float);
constexpr bool MANY = REGISTERS == 32;

using lanes = float __attribute__((vector_size(REGISTER)));
using ints = int32_t __attribute__((vector_size(REGISTER)));
using loose = float __attribute__((vector_size(REGISTER), aligned(4), may_alias));  // at any address
using loose_ints = int32_t __attribute__((vector_size(REGISTER), aligned(1), may_alias));

INLINE lanes load(const float* from) { return *(const loose*)from; }
INLINE void store(float* to, lanes value) { *(loose*)to = value; }
INLINE lanes all(float value) { return value - lanes{}; }

#ifdef SMALLER
INLINE lanes smaller(lanes a, lanes b) { return SMALLER(a, b); }
INLINE lanes larger(lanes a, lanes b) { return LARGER(a, b); }
INLINE bool any_larger(lanes a, lanes b) { return ANY_LARGER(a, b); }
#else
INLINE lanes smaller(lanes a, lanes b) { return a < b ? a : b; }
INLINE lanes larger(lanes a, lanes b) { return a > b ? a : b; }
INLINE bool any_larger(lanes a, lanes b) {
    const ints larger = a > b;
    int32_t any = 0;
    for (int i = 0; i < LANES; i++) any |= larger[i];
    return any;
}
#endif

#ifdef WIDE
INLINE lanes load(const half* from) { return WIDE(from); }
INLINE void store(half* to, lanes value) { NARROW(to, value); }
#else
INLINE lanes load(const half* from) {
    lanes result;
    for (int i = 0; i < LANES; i++) result[i] = half_to_float(from[i].bits);
    return result;
}
INLINE void store(half* to, lanes value) {
    for (int i = 0; i < LANES; i++) to[i] = float_to_half(value[i]);
}
#endif

// All lanes in one: halves of them down to four, then one by one. `both` says what becomes of two.
template <class Both> INLINE float folded(lanes x, const Both& both) {
    float values[LANES];
    std::memcpy(values, &x, sizeof values);
#pragma GCC unroll 2
    for (int n = LANES / 2; n >= 4; n /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < n; i++) values[i] = both(values[i], values[i + n]);
    return both(both(both(values[0], values[1]), values[2]), values[3]);
}

INLINE float total(lanes x) {
    return folded(x, [](float a, float b) { return a + b; });
}
INLINE float highest(lanes x) {
    return folded(x, [](float a, float b) { return std::max(a, b); });
}

// 2 to the power x, within 2e-7 of it; 0 far below -126, and never infinite.
INLINE lanes power_of_2(lanes x) {
#ifdef SCALED
    const lanes inside = larger(smaller(x, all(126.0f)), all(-200.0f)), whole = ROUNDED(inside), part = inside - whole;
#else
    const lanes inside = larger(smaller(x, all(126.0f)), all(-126.0f));
    const lanes shifted = inside + 12582912.0f;  // adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits
    const lanes part = inside - (shifted - 12582912.0f);
#endif
    lanes power = part * 1.54035304e-4f + 1.33335581e-3f;
    power = power * part + 9.61812911e-3f;
    power = power * part + 5.55041087e-2f;
    power = power * part + 2.40226507e-1f;
    power = power * part + 6.93147181e-1f;
    power = power * part + 1.0f;
#ifdef SCALED
    return SCALED(power, whole);
#else
    ints bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    ints result;
    std::memcpy(&result, &power, sizeof result);
    result += (bits - 0x4b400000) << 23;
    result &= (ints)(x >= -126.0f);
    std::memcpy(&power, &result, sizeof power);
    return power;
#endif
}

constexpr float LOG2E = 1.44269504f;

INLINE lanes tanh(lanes x) {
    const lanes bound = x < 9.0f ? x : all(9.0f), inside = bound > -9.0f ? bound : all(-9.0f);
    const lanes power = power_of_2(inside * (2 * LOG2E));
    return (power - 1.0f) / (power + 1.0f);
}

// x · Φ(x) as max(x, 0) - |x| · Φ(-|x|), within 5e-8 · |x| of it. The logarithm of Φ(-a) to the base 2 is near a
// polynomial of a, fitted where it matters, up to 6.6; beyond, it only has to go on falling.
INLINE lanes gelu(lanes x) {
    const lanes a = smaller(larger(x, -x), all(20.0f));
    lanes log = a * -5.96657017e-8f + 1.44687522e-6f;
    log = log * a - 1.56093174e-5f;
    log = log * a + 9.60515026e-5f;
    log = log * a - 3.27383576e-4f;
    log = log * a + 6.75652991e-5f;
    log = log * a + 6.89349836e-3f;
    log = log * a - 5.24200164e-2f;
    log = log * a - 4.59224194e-1f;
    log = log * a - 1.15110409f;
    log = log * a - 1.0f;
    return larger(all(0.0f), x) - a * power_of_2(log);  // the second where x is no number
}

INLINE lanes activated(lanes x, Activation kind) {
    switch (kind) {
        case Activation::relu: return x > 0.0f ? x : all(0.0f);
        case Activation::relu_squared: return x > 0.0f ? x * x : all(0.0f);
        case Activation::silu: return x / (1.0f + power_of_2(x * -LOG2E));
        case Activation::gelu_tanh:
            return 0.5f * x * (1.0f + tanh(0.797884561f * (x + 0.044715f * x * x * x)));
        default: return gelu(x);
    }
}

// The first `count` numbers, zeros behind them.
INLINE lanes load_some(const float* from, int64_t count) {
    if (count >= LANES) return load(from);
    lanes value = {};
    std::memcpy(&value, from, size_t(count) * sizeof(float));
    return value;
}

INLINE void store_some(float* to, lanes value, int64_t count) {
    if (count >= LANES) store(to, value);
    else std::memcpy(to, &value, size_t(count) * sizeof(float));
}

INLINE void normalise(const Norm& norm, const float* x, int64_t width, float* y) {
    if (norm.kind == Norm::scaled || norm.kind == Norm::clipped) {
        for (int64_t i = 0; i < width; i++)
            y[i] = norm.kind == Norm::scaled ? x[i] * norm.shift : std::clamp(x[i], -norm.shift, norm.shift);
        return;
    }
    float mean = 0;
    if (norm.kind == Norm::layer) {
        lanes sum = {};
        for (int64_t i = 0; i < width; i += LANES) sum += load_some(x + i, width - i);
        mean = total(sum) / float(width);
    }
    lanes squares = {};
    for (int64_t i = 0; i < width; i += LANES) {
        lanes from_mean = load_some(x + i, width - i) - mean;
        if (width - i < LANES)
            for (int64_t j = width - i; j < LANES; j++) from_mean[j] = 0;
        squares += from_mean * from_mean;
    }
    const float scale = 1.0f / std::sqrt(total(squares) / float(width) + norm.eps);
    for (int64_t i = 0; i < width; i += LANES) {
        const lanes gain = norm.shift + load_some(norm.weight + i, width - i);
        lanes value = (load_some(x + i, width - i) - mean) * scale * gain;
        if (norm.bias) value += load_some(norm.bias + i, width - i);
        store_some(y + i, value, width - i);
    }
}

void norm_row(const Norm& norm, const float* x, int64_t width, bool add, float* y) {
    if (!add) return normalise(norm, x, width, y);
    thread_local std::vector<float> result;
    result.resize(std::max(result.size(), size_t(width)));
    normalise(norm, x, width, result.data());
    for (int64_t i = 0; i < width; i++) y[i] += result[i];
}

void activate_row(Activation kind, const float* gate, const float* up, int64_t width, float* y) {
    for (int64_t i = 0; i < width; i += LANES) {
        lanes value = activated(load_some(gate + i, width - i), kind);
        if (up) value *= load_some(up + i, width - i);
        store_some(y + i, value, width - i);
    }
}

// One head in place: its norm, then the rotation of its first `rotated` features (see `Rotary` in positions.py).
void turn_head(const Norm& norm, float* x, int64_t width, const float* cos, const float* sin, int64_t rotated) {
    if (norm.kind != Norm::none) normalise(norm, x, width, x);
    const int64_t half = rotated / 2;
    for (int64_t i = 0; i < half; i++) {
        const float first = x[i], second = x[i + half];
        x[i] = first * cos[i] + second * sin[i];
        x[i + half] = second * cos[i + half] + first * sin[i + half];
    }
}

#include "attention.h"

void narrow_row(const float* from, int64_t count, half* to) {
    for (int64_t i = 0; i < count; i += LANES) store(to + i, load(from + i));
}

// ---- products of inputs that are not rounded

constexpr int PARTS = ROWS / LANES;  // registers for one number of each row of a tile

// The scales or minima of a part of a tile's rows.
INLINE lanes scales_of(const uint8_t* scales, int part, bool wide) {
    lanes result;
    for (int i = 0; i < LANES; i++) result[i] = scale_of(scales, part * LANES + i, wide);
    return result;
}

// The codes of a group for a part of a tile's rows, as floats: put(column, codes).
template <int BITS, class Put> INLINE void each_column(const uint8_t* group, int64_t bytes, int part, const Put& put) {
    for (int64_t c = 0; c < bytes; c++) {
        const ints codes = *(const loose_ints*)(group + c / 4 * 64 + part * sizeof(lanes)) >> int(c % 4 * 8);
        put(c, __builtin_convertvector(codes & (BITS == 8 ? 255 : 15), lanes));
        if (BITS == 4) put(c + bytes, __builtin_convertvector(codes >> 4 & 15, lanes));
    }
}

// A tile's weights, to [columns][16 rows].
template <int BITS> INLINE void widen_columns(const Matrix& w, const uint8_t* tile, float* to) {
    const bool wide = w.layout.wide;
    const float zero = float(w.layout.zero);
    for (int64_t g = 0; g < w.groups; g++, tile += w.stride, to += w.layout.group * ROWS)
        for (int part = 0; part < PARTS; part++) {
            const lanes scale = scales_of(tile + w.codes, part, wide);
            const lanes minimum = w.layout.minima ? scales_of(tile + w.codes + w.scales, part, wide) : all(-0.0f);
            each_column<BITS>(tile, w.codes / ROWS, part, [&](int64_t column, lanes codes) {
                store(to + column * ROWS + part * LANES, (codes - zero) * scale + minimum);
            });
        }
}

void widen_tile(const Matrix& w, const uint8_t* tile, float* to) {
    if (w.layout.bits == 4) widen_columns<4>(w, tile, to);
    else widen_columns<8>(w, tile, to);
}

// out [M rows][16] += x [M rows][step] · weights [width][16], over `width` columns
template <int M> INLINE void dot(const float* x, int64_t step, const float* weights, int64_t width, float* out) {
    lanes sums[M][PARTS] = {};
    for (int64_t c = 0; c < width; c++) {
        lanes weight[PARTS];
        for (int i = 0; i < PARTS; i++) weight[i] = load(weights + c * ROWS + i * LANES);
#pragma GCC unroll 8
        for (int m = 0; m < M; m++)
            for (int i = 0; i < PARTS; i++) sums[m][i] += x[m * step + c] * weight[i];
    }
    for (int m = 0; m < M; m++)
        for (int i = 0; i < PARTS; i++) {
            float* const to = out + m * ROWS + i * LANES;
            store(to, load(to) + sums[m][i]);
        }
}

// out [count rows][16] = x [count rows][columns] · weights [columns][16]. Sums are of blocks of columns, which round less
// than one long sum.
void dot_rows(const float* x, int64_t count, const float* weights, int64_t columns, float* out) {
    constexpr int64_t BLOCK = 64;
    std::fill(out, out + count * ROWS, 0.0f);
    for (int64_t c = 0; c < columns; c += BLOCK, x += BLOCK, weights += BLOCK * ROWS) {
        const int64_t width = std::min(BLOCK, columns - c);
        int64_t r = 0;
        for (; r + 6 <= count; r += 6) dot<6>(x + r * columns, columns, weights, width, out + r * ROWS);
        for (; r + 3 <= count; r += 3) dot<3>(x + r * columns, columns, weights, width, out + r * ROWS);
        for (; r < count; r++) dot<1>(x + r * columns, columns, weights, width, out + r * ROWS);
    }
}

const Rows ROWS_OF = {norm_row, activate_row, turn_head, attend_rows<float>, attend_rows<half>, merge_row, narrow_row,
                      widen_tile, dot_rows};

#undef REGISTER
#undef REGISTERS
#undef WIDE
#undef NARROW
#undef DOT
#undef PAIRED
#undef SMALLER
#undef LARGER
#undef ANY_LARGER
#undef ROUNDED
#undef SCALED
