// Products with weights of 4 and 8 bits, y = x · Wᵀ + bias, and looking rows up. Called through ctypes; needs nothing
// but a C++17 compiler. Every function has a twin in plain torch (`limelight/quant/kernels.py`).

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#endif

namespace {

#include "tiles.h"

#include "threads.h"

// y = x · Wᵀ + bias for `count` rows of x, cut into tasks: some rows, which stay in the second-level cache, times some
// tiles of W. Several tasks per thread, so that one that is held up elsewhere does not keep the others waiting.
struct Product {
    const Kernels& kernels;
    const Matrix& w;
    int64_t count, slices, spans;           // spans of tiles, as equal as can be

    Product(const Kernels& kernels, const Matrix& w, int64_t count, int threads)
        : kernels(kernels), w(w), count(count), slices((count + CHUNK - 1) / CHUNK) {
        spans = std::min(w.tiles(), (4 * threads + slices - 1) / std::max<int64_t>(1, slices));
    }
    int64_t tasks() const { return slices * spans; }
    int64_t first(int64_t task) const { return task / spans * CHUNK; }                    // row of x
    int64_t rows(int64_t task) const { return std::min(CHUNK, count - first(task)); }

    // codes, groups: of all of x.
    template <class T>
    void run(int64_t task, const int8_t* codes, const Group* groups, const T* bias, T* y, bool add) const {
        multiply(task, codes + first(task) * w.columns, groups + first(task) * w.groups, bias, y, add);
    }

    // codes, groups: of the task's rows of x.
    template <class T>
    void multiply(int64_t task, const int8_t* codes, const Group* groups, const T* bias, T* y, bool add) const {
        const int64_t span = task % spans, from = w.tiles() * span / spans, to = w.tiles() * (span + 1) / spans;
        const int64_t count = rows(task);
        for (int64_t tile = from; tile < to; tile++) {
            const int64_t column = tile * ROWS, columns = std::min<int64_t>(ROWS, w.rows - column);
            for (int64_t m = 0, step; m < count; m += step) {
                for (step = kernels.most; step > count - m;) step /= 2;
                float out[16 * ROWS];
                kernels.tile(w.layout, int(step))(w, w.tile(tile), codes + m * w.columns, groups + m * w.groups, out);
                for (int64_t i = 0; i < step; i++) {
                    T* row = y + (first(task) + m + i) * w.rows + column;
                    const auto put = [&](int64_t columns) {
                        for (int64_t c = 0; c < columns; c++) {
                            const float value = out[i * ROWS + c] + (bias ? to_float(bias[column + c]) : 0.0f);
                            assign(row[c], add ? to_float(row[c]) + value : value);
                        }
                    };
                    if (columns == ROWS) put(ROWS);  // a loop of known length
                    else put(columns);
                }
            }
        }
    }
};

template <class T>
void multiply(const Kernels& kernels, const Matrix& w, const T* x, int64_t count, const T* bias, T* y, int threads) {
    const int64_t work = w.tiles() * w.groups * w.stride * count;
    if (work < 32768) threads = 1;
    if (count == 1) threads = contest.team(threads);
    const Product product(kernels, w, count, threads);
    std::vector<std::atomic<int64_t>> stretches(static_cast<size_t>(threads));
    on_threads(threads, work > 1 << 24, [&](const Thread& thread) {
        thread_local std::vector<int8_t> codes;
        thread_local std::vector<Group> groups;
        int64_t quantised = -1;
        thread.share(product.tasks(), stretches.data(), [&](int64_t task) {
            const int64_t first = product.first(task), rows = product.rows(task);
            if (first != quantised) {
                codes.resize(std::max<size_t>(codes.size(), rows * w.columns));
                groups.resize(std::max<size_t>(groups.size(), rows * w.groups));
                for (int64_t m = 0; m < rows; m++)
                    kernels.quantise(x + (first + m) * w.columns, sizeof(T) == 2, w.layout.group, w.columns,
                                     &codes[m * w.columns], &groups[m * w.groups]);
                quantised = first;
            }
            product.multiply(task, codes.data(), groups.data(), bias, y, false);
        });
    });
}

// y = x · Wᵀ + bias, the inputs not rounded. A task is a tile, whose weights are widened once for all rows of x.
void multiply_exactly(const Kernels& kernels, const Matrix& w, const float* x, int64_t count, const float* bias,
                      float* y, int threads) {
    std::vector<std::atomic<int64_t>> stretches(static_cast<size_t>(threads));
    on_threads(threads, true, [&](const Thread& thread) {
        thread_local std::vector<float> weights;
        float out[CHUNK * ROWS];
        weights.resize(std::max(weights.size(), size_t(w.columns * ROWS)));
        thread.share(w.tiles(), stretches.data(), [&](int64_t tile) {
            const int64_t column = tile * ROWS, columns = std::min<int64_t>(ROWS, w.rows - column);
            kernels.rows.widen_tile(w, w.tile(tile), weights.data());
            for (int64_t first = 0; first < count; first += CHUNK) {
                const int64_t rows = std::min(CHUNK, count - first);
                kernels.rows.dot(x + first * w.columns, rows, weights.data(), w.columns, out);
                for (int64_t m = 0; m < rows; m++)
                    for (int64_t c = 0; c < columns; c++)
                        y[(first + m) * w.rows + column + c] = out[m * ROWS + c] + (bias ? bias[column + c] : 0.0f);
            }
        });
    });
}

#include "program.h"

template <class T> void widen_row(const Matrix& w, int64_t index, T* y) {
    const Layout& layout = w.layout;
    const int row = int(index % ROWS), half = layout.group / 2;
    const uint8_t* group = w.tile(index / ROWS);
    for (int64_t g = 0; g < w.groups; g++, group += w.stride, y += layout.group) {
        const float scale = scale_of(group + w.codes, row, layout.wide);
        const float minimum = layout.minima ? scale_of(group + w.codes + w.scales, row, layout.wide) : -0.0f;
        const auto weight = [=](int code) { return scale * float(code - layout.zero) + minimum; };
        for (int c = 0; c < (layout.bits == 8 ? layout.group : half); c++) {
            const uint8_t byte = group[c / 4 * 64 + row * 4 + c % 4];
            assign(y[c], weight(layout.bits == 8 ? byte : byte & 15));
            if (layout.bits == 4) assign(y[c + half], weight(byte >> 4));
        }
    }
}

template <class T> void widen(const Matrix& w, const int64_t* index, int64_t count, T* y, int threads) {
    constexpr int64_t STEP = 64;
    if (count <= STEP) threads = 1;
    std::vector<std::atomic<int64_t>> stretches(static_cast<size_t>(threads));
    on_threads(threads, count * w.columns > 1 << 20, [&](const Thread& thread) {
        thread.share((count + STEP - 1) / STEP, stretches.data(), [&](int64_t task) {
            for (int64_t i = STEP * task; i < std::min(count, STEP * task + STEP); i++)
                widen_row(w, index[i], y + i * w.columns);
        });
    });
}

}  // namespace

extern "C" {

#ifdef SOURCE
// The checksum of this file when it was built, so that Python does not call a library of another version.
uint32_t limelight_source() { return SOURCE; }
#endif

// The name of the nth best set of kernels that this processor can run; null past the last.
const char* limelight_kernels(int which) {
    const auto found = available();
    return size_t(which) < found.size() ? found[which]->name : nullptr;
}

// y [count, rows] = x [count, columns] · Wᵀ + bias [rows], which may be null; all float32, or all bfloat16 ("half").
// rounded: x to 8 bits; without it all must be float32.
void limelight_linear(int which, const Layout* layout, const void* data, int64_t rows, int64_t columns, const void* x,
                      int64_t count, const void* bias, void* y, int half, int rounded, int threads) {
    static const auto found = available();
    const Kernels& kernels = *found[which];
    const Matrix w((const uint8_t*)data, rows, columns, *layout);
    if (!rounded) multiply_exactly(kernels, w, (const float*)x, count, (const float*)bias, (float*)y, threads);
    else if (half) multiply(kernels, w, (const bfloat16*)x, count, (const bfloat16*)bias, (bfloat16*)y, threads);
    else multiply(kernels, w, (const float*)x, count, (const float*)bias, (float*)y, threads);
}

// y [count, columns] = the rows of W named by index; -1 if there is no such row.
int limelight_rows(const Layout* layout, const void* data, int64_t rows, int64_t columns, const int64_t* index,
                   int64_t count, void* y, int half, int threads) {
    for (int64_t i = 0; i < count; i++)
        if (index[i] < 0 || index[i] >= rows) return -1;
    const Matrix w((const uint8_t*)data, rows, columns, *layout);
    if (half) widen(w, index, count, (bfloat16*)y, threads);
    else widen(w, index, count, (float*)y, threads);
    return 0;
}

// Runs `steps`; what differs from call to call stands in `call`, see program.h.
void limelight_run(int which, const Step* steps, int64_t count, const Call* call, int threads) {
    static const auto found = available();
    Program(*found[which], *call, threads).run(steps, count);
}

}  // extern "C"
