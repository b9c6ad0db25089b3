// Attention, included by rows.h once for each instruction set.
//
// Softmax over the keys goes by chunks of them from position 0 on, the highest score so far kept beside the sum and the
// weighted values, all rescaled when a higher one comes (Dao et al., 2022). Every SPLIT keys it starts anew, and what
// the splits found is merged in order, so that threads may share a long text and come to the same bits as one alone.
//
// Where the processor multiplies bfloat16 (DOT), numbers of 16 bits stay what they are: a lane holds a pair of them, and
// queries and weights are rounded to bfloat16, too. Otherwise a lane holds one number, widened to float32.

constexpr int KEYS = 64;        // of a chunk
constexpr bool WIDEST = LANES == 16;
constexpr int QUERIES = MANY && !WIDEST ? 8 : 6;  // rows whose scores are summed up in registers at a time,
constexpr int SCORES = WIDEST ? 4 : 2;            // and registers for each of them
constexpr int GATHERED = WIDEST ? 4 : 2;          // registers of weighted values

#ifdef DOT
template <class T> constexpr int IN_LANE = sizeof(T) == 2 ? 2 : 1;  // numbers
#else
template <class T> constexpr int IN_LANE = 1;
#endif

template <int IN_LANE> INLINE lanes add_product(lanes sum, lanes a, lanes b) {
#ifdef DOT
    if constexpr (IN_LANE == 2) return DOT(sum, a, b);
#endif
    return sum + a * b;
}

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

template <class T> INLINE void transpose(const T* from, int64_t step, int64_t count, int64_t width, float* to) {
    lanes rows[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) {
        if constexpr (IN_LANE<T> == 2) rows[i] = i < count ? load_some((const float*)(from + i * step), width / 2) : lanes{};
        else rows[i] = i < count ? load(from + i * step) : lanes{};
    }
    swap_blocks<LANES / 2>(rows);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) store(to + i * KEYS, rows[i]);
}

// scores [rows][KEYS] = q [rows][width] · keys [width][KEYS]
template <int N, int M> INLINE void score(const float* q, const float* keys, int64_t width, float* scores) {
    for (int part = 0; part < KEYS; part += SCORES * LANES) {
        lanes sums[M][SCORES] = {};
        for (int64_t d = 0; d < width; d++) {
            lanes key[SCORES];
            for (int i = 0; i < SCORES; i++) key[i] = load(keys + d * KEYS + part + i * LANES);
#pragma GCC unroll 8
            for (int m = 0; m < M; m++) {
                const lanes query = all(q[m * width + d]);
                for (int i = 0; i < SCORES; i++) sums[m][i] = add_product<N>(sums[m][i], query, key[i]);
            }
        }
        for (int m = 0; m < M; m++)
            for (int i = 0; i < SCORES; i++) store(scores + m * KEYS + part + i * LANES, sums[m][i]);
    }
}

// sums [rows][width] += weights [rows][KEYS] · values [keys][width], some columns of them
template <int N, int M, int R>
INLINE void gather(const float* weights, const float* values, int64_t keys, int64_t width, float* sums) {
    lanes parts[M][R];
    for (int m = 0; m < M; m++)
        for (int n = 0; n < R; n++) parts[m][n] = load(sums + m * width + LANES * n);
    for (int64_t s = 0; s < keys; s++) {
        lanes value[R];
        for (int n = 0; n < R; n++) value[n] = load(values + s * width + LANES * n);
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) {
            const lanes weight = all(weights[m * KEYS + s]);
            for (int n = 0; n < R; n++) parts[m][n] = add_product<N>(parts[m][n], weight, value[n]);
        }
    }
    for (int m = 0; m < M; m++)
        for (int n = 0; n < R; n++) store(sums + m * width + LANES * n, parts[m][n]);
}

// Asks for rows that will be read soon: on a long text what is waited for is memory, and the machine sees no pattern.
// A little at a time, and into the second-level cache, since the first can only ask for so much at once.
template <class T> INLINE void fetch(const T* from, int64_t step, int64_t rows, int64_t width) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t d = 0; d < width; d += 64 / sizeof(T)) __builtin_prefetch(from + r * step + d, 0, 2);
}

// Values as they are multiplied: widened; or of two keys side by side, the one behind the last being zero.
template <class T> INLINE void line_up(const T* from, int64_t step, int64_t keys, int64_t width, bool goes_on, float* to) {
    constexpr int N = IN_LANE<T>;
    for (int64_t s = 0; s < keys; s += N, to += width, from += N * step) {
        if (goes_on) fetch(from + KEYS * step, step, N, width);
        for (int64_t d = 0; d < width; d += LANES) {
#ifdef DOT
            if constexpr (N == 2) store(to + d, PAIRED(from + d, s + 1 < keys ? from + step + d : nullptr));
            else
#endif
                store(to + d, load(from + d));
        }
    }
}

// A row's scores in a chunk, to which `bias` is added, if there is one: those of keys that it does not see, all but
// [from, to), are made -inf. Where the highest is far above the one that weights are relative to, which is `most`, that
// becomes it and what was found is rescaled.
INLINE void raise(float* row, int64_t from, int64_t to, float cap, const float* bias, int64_t width, float& most,
                  float* weight, float* sums) {
    constexpr float FAR = 8;  // weights are at most 2^8, and hardly any row is rescaled twice
    if (cap)
        for (int s = 0; s < KEYS; s += LANES)
            store(row + s, tanh(load(row + s) * (1 / (cap * LOG2E))) * (cap * LOG2E));
    if (bias)
        for (int s = 0; s < KEYS; s += LANES) store(row + s, load(row + s) + load(bias + s) * LOG2E);
    std::fill(row, row + from, -INFINITY);
    std::fill(row + to, row + KEYS, -INFINITY);
    lanes top = load(row);
    for (int s = LANES; s < KEYS; s += LANES) top = larger(load(row + s), top);
    if (!any_larger(top, all(most + FAR))) return;
    const float now = highest(top), before = power_of_2(all(most - now))[0];
    most = now;
    store(weight, load(weight) * before);
    for (int64_t d = 0; d < width; d += LANES) store(sums + d, load(sums + d) * before);
}

// A chunk's keys and values as they are multiplied, and how many there are; begin: where it begins.
struct Chunk {
    const float *keys, *values;
    int64_t begin, count;
};

// M rows against a chunk. q [M][width / N], sums [M][width].
template <int N, int M>
INLINE void attend_chunk(const Chunk& chunk, const float* q, const int64_t* first, const int64_t* last,
                         const float* const* bias, int64_t width, float cap, float* most, float* weight, float* sums) {
    float scores[M * KEYS];
    score<N, M>(q, chunk.keys, width / N, scores);
    bool sees[M];
    for (int m = 0; m < M; m++) {
        const int64_t from = std::max<int64_t>(first[m] - chunk.begin, 0), to = std::min(last[m] - chunk.begin, chunk.count);
        sees[m] = from < to;
        const float* const added = bias[m] ? bias[m] + chunk.begin : nullptr;
        if (sees[m]) raise(scores + m * KEYS, from, to, cap, added, width, most[m], weight + m * LANES, sums + m * width);
    }
    for (int m = 0; m < M; m++) {
        float* const row = scores + m * KEYS;
        lanes sum = load(weight + m * LANES);
        for (int s = 0; s < KEYS; s += LANES) {
            const lanes power = sees[m] ? power_of_2(load(row + s) - most[m]) : lanes{};
            sum += power;
            if constexpr (N == 2) store((half*)row + s, power);
            else store(row + s, power);
        }
        store(weight + m * LANES, sum);
    }
    const int64_t keys = (chunk.count + N - 1) / N;
    int64_t d = 0;
    for (; d + GATHERED * LANES <= width; d += GATHERED * LANES)
        gather<N, M, GATHERED>(scores, chunk.values + d, keys, width, sums + d);
    for (; d < width; d += LANES) gather<N, M, 1>(scores, chunk.values + d, keys, width, sums + d);
}

// Some rows of queries, of one head's group at neighbouring positions, against the keys [begin, end), which lie in one
// split. q, sums [rows][width], the queries times scale; most, weight [rows]. Row r sees the keys [first[r], last[r]), and
// bias[r][s] is added to its score of key s, up to KEYS behind the last; null: nothing is.
template <class T>
void attend_rows(const Heads& heads, const float* q, int64_t rows, const int64_t* first, const int64_t* last,
                 const float* const* bias, int64_t begin, int64_t end, float* most, float* weight, float* sums) {
    constexpr int N = IN_LANE<T>;
    const int64_t width = heads.width, step = heads.step, padded = (width / N + LANES - 1) / LANES * LANES;
    const T *const all_keys = (const T*)heads.keys, *const all_values = (const T*)heads.values;
    thread_local std::vector<float> space;
    space.resize(std::max(space.size(), size_t((padded + width) * KEYS + rows * (LANES + width / N))));
    float *const keys = space.data(), *const values = keys + padded * KEYS, *const weights = values + width * KEYS;
    std::fill(most, most + rows, -INFINITY);
    std::fill(weights, weights + rows * LANES, 0.0f);
    std::fill(sums, sums + rows * width, 0.0f);
    if constexpr (N == 2) {
        float* const rounded = weights + rows * LANES;
        for (int64_t i = 0; i < rows * width; i += LANES) store((T*)rounded + i, load(q + i));
        q = rounded;
    }
    for (int64_t at = begin / KEYS * KEYS; at < end; at += KEYS) {
        const Chunk chunk = {keys, values, at, std::min<int64_t>(KEYS, end - at)};
        const bool goes_on = at + KEYS < last[rows - 1];
        for (int64_t s = 0; s < KEYS; s += LANES) {
            if (goes_on) fetch(all_keys + (at + KEYS + s) * step, step, LANES, width);
            for (int64_t d = 0; d < width; d += N * LANES)
                transpose(all_keys + (at + s) * step + d, step, chunk.count - s, width - d, keys + d / N * KEYS + s);
        }
        line_up(all_values + at * step, step, chunk.count, width, goes_on, values);
        const auto attend = [&](int64_t r, auto m) {
            attend_chunk<N, m>(chunk, q + r * width / N, first + r, last + r, bias + r, width, heads.cap, most + r,
                               weights + r * LANES, sums + r * width);
        };
        int64_t r = 0;
        for (; r + QUERIES <= rows; r += QUERIES) attend(r, std::integral_constant<int, QUERIES>());
        for (; r + 3 <= rows; r += 3) attend(r, std::integral_constant<int, 3>());
        for (; r < rows; r++) attend(r, std::integral_constant<int, 1>());
    }
    for (int64_t r = 0; r < rows; r++) weight[r] = total(load(weights + r * LANES));
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
