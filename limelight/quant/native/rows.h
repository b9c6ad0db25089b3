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
INLINE lanes all(float value) { return lanes{} + value; }

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

// 2 to the power x, within 2e-7 of it; 0 below -126, and never infinite.
INLINE lanes power_of_2(lanes x) {
    const lanes bound = x < 126.0f ? x : all(126.0f), inside = bound > -126.0f ? bound : all(-126.0f);
    const lanes shifted = inside + 12582912.0f;  // adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits
    const lanes part = inside - (shifted - 12582912.0f);
    lanes power = part * 1.54035304e-4f + 1.33335581e-3f;
    power = power * part + 9.61812911e-3f;
    power = power * part + 5.55041087e-2f;
    power = power * part + 2.40226507e-1f;
    power = power * part + 6.93147181e-1f;
    power = power * part + 1.0f;
    ints bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    ints result;
    std::memcpy(&result, &power, sizeof result);
    result += (bits - 0x4b400000) << 23;
    result &= (ints)(x >= -126.0f);
    std::memcpy(&power, &result, sizeof power);
    return power;
}

constexpr float LOG2E = 1.44269504f;

INLINE lanes tanh(lanes x) {
    const lanes bound = x < 9.0f ? x : all(9.0f), inside = bound > -9.0f ? bound : all(-9.0f);
    const lanes power = power_of_2(inside * (2 * LOG2E));
    return (power - 1.0f) / (power + 1.0f);
}

INLINE lanes activated(lanes x, Activation kind) {
    switch (kind) {
        case Activation::relu: return x > 0.0f ? x : all(0.0f);
        case Activation::silu: return x / (1.0f + power_of_2(x * -LOG2E));
        case Activation::gelu_tanh:
            return 0.5f * x * (1.0f + tanh(0.797884561f * (x + 0.044715f * x * x * x)));
        default:
            for (int i = 0; i < LANES; i++) x[i] = 0.5f * x[i] * (1.0f + std::erf(0.707106781f * x[i]));
            return x;
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

// ---- attention
//
// Softmax over the keys goes by chunks of them from position 0 on, the highest score so far kept beside the sum and the
// weighted values, all rescaled when a higher one comes (Dao et al., 2022). Every SPLIT keys it starts anew, and what
// the splits found is merged in order, so that threads may share a long text and come to the same bits as one alone.

constexpr int KEYS = 64;        // of a chunk
constexpr int QUERIES = MANY ? 8 : 6;  // rows whose scores are summed up in registers at a time

// From the first `count` of LANES rows of as many numbers (zeros for the others) to columns, KEYS apart: blocks of half
// the size, then of a quarter and so on change places across the diagonal.
template <int SIZE, int... I> INLINE void swap_blocks(lanes& first, lanes& second, std::integer_sequence<int, I...>) {
    const lanes before = first;
    first = SHUFFLE(before, second, (I & SIZE ? I + LANES - SIZE : I)...);
    second = SHUFFLE(before, second, (I & SIZE ? I + LANES : I + SIZE)...);
}

template <int SIZE> INLINE void swap_blocks(lanes* rows) {
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        if (!(i & SIZE)) swap_blocks<SIZE>(rows[i], rows[i + SIZE], std::make_integer_sequence<int, LANES>());
    if constexpr (SIZE > 1) swap_blocks<SIZE / 2>(rows);
}

template <class T> INLINE void transpose(const T* from, int64_t step, int64_t count, float* to) {
    lanes rows[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) rows[i] = i < count ? load(from + i * step) : lanes{};
    swap_blocks<LANES / 2>(rows);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) store(to + i * KEYS, rows[i]);
}

// scores [rows][KEYS] = q [rows][width] · keys [width][KEYS]
template <int M> INLINE void score(const float* q, const float* keys, int64_t width, float* scores) {
    for (int part = 0; part < KEYS; part += 2 * LANES) {
        lanes sums[M][2] = {};
        for (int64_t d = 0; d < width; d++) {
            const lanes first = load(keys + d * KEYS + part), second = load(keys + d * KEYS + part + LANES);
#pragma GCC unroll 8
            for (int m = 0; m < M; m++) {
                const lanes query = all(q[m * width + d]);
                sums[m][0] += query * first;
                sums[m][1] += query * second;
            }
        }
        for (int m = 0; m < M; m++) {
            store(scores + m * KEYS + part, sums[m][0]);
            store(scores + m * KEYS + part + LANES, sums[m][1]);
        }
    }
}

// sums [rows][width] += weights [rows][KEYS] · values [keys][step], some columns of them
template <int M, int N, class T>
INLINE void gather(const float* weights, const T* values, int64_t step, int64_t keys, int64_t width, float* sums) {
    lanes parts[M][N];
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) parts[m][n] = load(sums + m * width + LANES * n);
    for (int64_t s = 0; s < keys; s++) {
        lanes value[N];
        for (int n = 0; n < N; n++) value[n] = load(values + s * step + LANES * n);
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) {
            const lanes weight = all(weights[m * KEYS + s]);
            for (int n = 0; n < N; n++) parts[m][n] += weight * value[n];
        }
    }
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) store(sums + m * width + LANES * n, parts[m][n]);
}

template <class T>
INLINE void gather_all(const float* weights, int64_t rows, const T* values, int64_t step, int64_t keys, int64_t width,
                       float* sums) {
    constexpr int N = MANY ? 4 : 2;
    int64_t d = 0, r;
    for (; d + N * LANES <= width; d += N * LANES) {
        for (r = 0; r + 4 <= rows; r += 4)
            gather<4, N>(weights + r * KEYS, values + d, step, keys, width, sums + r * width + d);
        for (; r + 3 <= rows; r += 3)
            gather<3, N>(weights + r * KEYS, values + d, step, keys, width, sums + r * width + d);
        for (; r < rows; r++)
            gather<1, N>(weights + r * KEYS, values + d, step, keys, width, sums + r * width + d);
    }
    for (; d < width; d += LANES)
        for (r = 0; r < rows; r++)
            gather<1, 1>(weights + r * KEYS, values + d, step, keys, width, sums + r * width + d);
}

// Asks for rows that will be read soon: on a long text what is waited for is memory, and the machine sees no pattern.
template <class T> INLINE void fetch(const T* from, int64_t step, int64_t rows, int64_t width) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t d = 0; d < width; d += 64 / sizeof(T)) __builtin_prefetch(from + r * step + d);
}

// Some rows of queries, of one head's group at neighbouring positions, against the keys [begin, end), which lie in one
// split. q, sums [rows][width], the queries times scale; most, weight [rows]. Row r sees the keys [first[r], last[r]).
template <class T>
void attend_rows(const Heads& heads, const float* q, int64_t rows, const int64_t* first, const int64_t* last,
                 int64_t begin, int64_t end, float* most, float* weight, float* sums) {
    const int64_t width = heads.width, step = heads.step;
    const T *const all_keys = (const T*)heads.keys, *const all_values = (const T*)heads.values;
    thread_local std::vector<float> space;
    space.resize(std::max(space.size(), size_t((2 * width + rows) * KEYS)));
    float *const keys = space.data(), *const values = keys + width * KEYS, *const scores = values + width * KEYS;
    for (int64_t r = 0; r < rows; r++) {
        most[r] = -INFINITY, weight[r] = 0;
        std::fill(sums + r * width, sums + (r + 1) * width, 0.0f);
    }
    for (int64_t chunk = begin / KEYS * KEYS; chunk < end; chunk += KEYS) {
        const int64_t count = std::min<int64_t>(KEYS, end - chunk);
        fetch(all_values + chunk * step, step, count, width);
        for (int64_t s = 0; s < KEYS; s += LANES)
            for (int64_t d = 0; d < width; d += LANES)
                transpose(all_keys + (chunk + s) * step + d, step, count - s, keys + d * KEYS + s);
        if (chunk + KEYS < end) fetch(all_keys + (chunk + KEYS) * step, step, std::min<int64_t>(KEYS, end - chunk - KEYS), width);
        int64_t r = 0;
        for (; r + QUERIES <= rows; r += QUERIES) score<QUERIES>(q + r * width, keys, width, scores + r * KEYS);
        for (; r + 3 <= rows; r += 3) score<3>(q + r * width, keys, width, scores + r * KEYS);
        for (; r < rows; r++) score<1>(q + r * width, keys, width, scores + r * KEYS);

        for (r = 0; r < rows; r++) {
            float* const row = scores + r * KEYS;
            const int64_t from = std::max<int64_t>(first[r] - chunk, 0), to = std::min(last[r] - chunk, count);
            if (from >= to) {
                std::fill(row, row + KEYS, 0.0f);
                continue;
            }
            if (heads.cap)
                for (int s = 0; s < KEYS; s += LANES)
                    store(row + s, tanh(load(row + s) * (1 / (heads.cap * LOG2E))) * (heads.cap * LOG2E));
            std::fill(row, row + from, -INFINITY);
            std::fill(row + to, row + KEYS, -INFINITY);
            lanes top = load(row);
            for (int s = LANES; s < KEYS; s += LANES) top = load(row + s) > top ? load(row + s) : top;
            const float now = std::max(most[r], highest(top));
            lanes sum = {};
            for (int s = 0; s < KEYS; s += LANES) {
                const lanes power = power_of_2(load(row + s) - now);
                store(row + s, power);
                sum += power;
            }
            const float before = power_of_2(all(most[r] - now))[0];
            weight[r] = weight[r] * before + total(sum);
            most[r] = now;
            if (before != 1.0f)
                for (int64_t d = 0; d < width; d++) sums[r * width + d] *= before;
        }

        if (rows <= 4) {
            gather_all(scores, rows, all_values + chunk * step, step, count, width, sums);
        } else {  // many will read them: widened once
            for (int64_t s = 0; s < count; s++)
                for (int64_t d = 0; d < width; d += LANES)
                    store(values + s * width + d, load(all_values + (chunk + s) * step + d));
            gather_all(scores, rows, values, width, count, width, sums);
        }
    }
}

// Joins what the splits of one row found, in their order; each lies `stride` behind the one before. y [width].
void merge_row(const float* most, const float* weight, const float* sums, int64_t stride, int64_t splits, int64_t width,
               float* y) {
    float highest = -INFINITY, whole = 0;
    std::fill(y, y + width, 0.0f);
    for (int64_t i = 0; i < splits; i++, most += stride, weight += stride, sums += stride) {
        if (*weight == 0.0f) continue;  // the row sees nothing of this split
        const float now = std::max(highest, *most);
        const float before = power_of_2(all(highest - now))[0], here = power_of_2(all(*most - now))[0];
        whole = whole * before + *weight * here;
        for (int64_t d = 0; d < width; d++) y[d] = y[d] * before + sums[d] * here;
        highest = now;
    }
    for (int64_t d = 0; d < width; d++) y[d] /= whole;
}

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
