// A stack of blocks as a list of steps, run by one call: threads go through the steps together, and what lies between
// the steps stays in one arena. `limelight/quant/compiler.py` makes the list.

struct Step {                    // as `Step` in compiler.py
    enum Kind : int32_t { product, norm, turn, attention, activation };
    Kind kind;
    int32_t joined;              // the next step does not read what this one writes: nobody waits
    int32_t add;                 // product, norm: to what is there
    int32_t group;               // columns to a scale of the codes that are written, 16 or 32
    Activation activate;
    int32_t heads, kv_heads;     // turn, attention
    int32_t rotary;              // turn: which table, -1: none
    int32_t biased;              // attention: which of the biases, -1: none
    int32_t own;                 // turn, attention: the keys and values are of the stream, not of a source
    int32_t layer;
    float scale, cap;            // attention
    int64_t width;               // of the rows that are read; turn, attention: of a head
    int64_t rows;                // product: of the weights
    int64_t window;              // attention: how far a position sees, back or, if not causal, both ways; 0: all the way
    int64_t first, second, third; // places, see `Call`: what is read; activation: up; turn: keys, values
    int64_t to, codes;           // places: what is written, as float32 and as codes
    Norm norm_of, norm_of_keys;  // turn: of the heads of the queries and of the keys
    Layout layout;               // product
    const uint8_t* data;
    const float* bias;
};

constexpr int64_t NOWHERE = -1, STREAM = -2;  // places that are not in the arena

struct Memory {                  // keys and values, [B, K, room, D], of each layer
    char* const* layers;         // keys and values, in turn
    int64_t bytes;               // of a number: 4, float32, or 2, what `Rows::narrow` writes
    int64_t row, head, step;     // numbers from one row, head, position to the next
    const int64_t* lengths;      // [B]: positions that are there; if causal, before the call
    const int64_t* origin;       // [B]: whose keys and values a row hears; null: its own

    char* keys(int64_t layer, int64_t b, int64_t h) const {
        return layers[2 * layer] + ((origin ? origin[b] : b) * row + h * head) * bytes;
    }
    char* values(int64_t layer, int64_t b, int64_t h) const { return keys(layer, b, h) - layers[2 * layer] + layers[2 * layer + 1]; }
};

struct Table {                   // cosines and signed sines [T, width], or one such for each row
    const float *cos, *sin;
    int64_t width, row;          // row: numbers from one row's to the next, 0: all stand at the same positions
};

struct Bias {                    // of each head [2 * reach]: what is added to the score of a key that stands s places
    const float* added;          // behind the query is at reach + s
    int64_t reach;
};

struct Call {                    // what differs from call to call
    float* stream;               // [B, T, W], or [N, W] where rows are of different lengths; changed in place
    char* arena;                 // a place is a number of bytes for each position
    int64_t size;                // bytes of the arena for each position; of a single one there is one for each thread
    int64_t batch, length;       // B; T, of the longest row
    const int64_t* begins;       // [B + 1]: where each row begins in the stream, and N; null: all are as long
    int64_t causal;              // a position of the stream sees no later one
    Memory own, heard;           // of the stream itself, and of a source
    const Table* tables;
    const Bias* biases;

    int64_t begin(int64_t b) const { return begins ? begins[b] : b * length; }
    int64_t steps(int64_t b) const { return begins ? begins[b + 1] - begins[b] : length; }
    int64_t row(int64_t n) const { return begins ? std::upper_bound(begins, begins + batch, n) - begins - 1 : n / length; }
    int64_t count() const { return begin(batch); }
    float* floats(int64_t place) const { return place == STREAM ? stream : (float*)(arena + place * count()); }
    int8_t* codes(int64_t place) const { return (int8_t*)(arena + place * count()); }
    Group* groups(int64_t place, int64_t width) const { return (Group*)(arena + (place + width) * count()); }
};

class Program {
    const Kernels& kernels;
    const Call& call;
    const int threads;
    std::vector<float> found;            // by splits of long texts that threads share
    std::vector<std::atomic<int>> done;  // splits of each task of an attention

    static constexpr int64_t SPLIT = 512, BLOCK = 96;

    // Rows that are one task where rows are worked on one by one: each thread gets some, if there are enough.
    int64_t few() const { return std::clamp<int64_t>(call.count() / (2 * threads), 1, 8); }

    template <class Work> void by_rows(int64_t task, const Work& work) const {
        for (int64_t n = task * few(); n < std::min(call.count(), (task + 1) * few()); n++) work(n);
    }

    void quantise(const Step& s, const float* row, int64_t n, const Call& mine) const {
        if (s.codes != NOWHERE)
            kernels.quantise(row, false, s.group, s.width, mine.codes(s.codes) + n * s.width,
                             mine.groups(s.codes, s.width) + n * (s.width / s.group));
    }

    // mine: with this thread's arena, where it writes.
    void norm(const Step& s, int64_t task, const Call& mine) const {
        by_rows(task, [&](int64_t n) {
            const float* from = call.floats(s.first) + n * s.width;
            if (s.norm_of.kind != Norm::none) {
                float* to = mine.floats(s.to) + n * s.width;
                kernels.rows.norm(s.norm_of, from, s.width, s.add, to);
                from = to;
            }
            quantise(s, from, n, mine);
        });
    }

    void activate(const Step& s, int64_t task, const Call& mine) const {
        by_rows(task, [&](int64_t n) {
            float* to = mine.floats(s.to) + n * s.width;
            const float* up = s.second == NOWHERE ? nullptr : call.floats(s.second) + n * s.width;
            kernels.rows.activate(s.activate, call.floats(s.first) + n * s.width, up, s.width, to);
            quantise(s, to, n, mine);
        });
    }

    void write(const float* row, int64_t width, char* memory, int64_t position) const {
        char* const to = memory + position * call.own.step * call.own.bytes;
        if (call.own.bytes == 2) kernels.rows.narrow(row, width, (half*)to);
        else std::copy(row, row + width, (float*)to);
    }

    // Of row n, the heads of queries that share a head of keys, and that head, which goes to the memory.
    void turn(const Step& s, int64_t n, int64_t h) const {
        const int64_t b = call.row(n), t = n - call.begin(b), G = s.heads / s.kv_heads;
        Table table = {nullptr, nullptr, 0, 0};
        if (s.rotary >= 0) table = call.tables[s.rotary];
        const int64_t at = b * table.row + t * table.width;
        for (int64_t g = 0; g < G; g++)
            kernels.rows.turn(s.norm_of, call.floats(s.first) + (n * s.heads + h * G + g) * s.width, s.width,
                              table.cos + at, table.sin + at, table.width);
        if (!s.own) return;
        const int64_t position = (call.causal ? call.own.lengths[b] : 0) + t;
        float* key = call.floats(s.second) + (n * s.kv_heads + h) * s.width;
        const float* value = call.floats(s.third) + (n * s.kv_heads + h) * s.width;
        kernels.rows.turn(s.norm_of_keys, key, s.width, table.cos + at, table.sin + at, table.width);
        write(key, s.width, call.own.keys(s.layer, b, h), position);
        write(value, s.width, call.own.values(s.layer, b, h), position);
    }

    // ---- attention: a task is one row of the batch, one head of keys, a block of positions and, if shared, a split

    const Memory& memory(const Step& s) const { return s.own ? call.own : call.heard; }
    bool causal(const Step& s) const { return s.own && call.causal; }
    int64_t positions(const Step& s) const { return std::max<int64_t>(1, BLOCK / (s.heads / s.kv_heads)); }
    int64_t blocks(const Step& s) const { return (call.length + positions(s) - 1) / positions(s); }
    int64_t splits(const Step& s) const {
        int64_t longest = 0;
        for (int64_t b = 0; b < call.batch; b++) longest = std::max(longest, memory(s).lengths[b]);
        return (longest + (causal(s) ? call.length : 0) + SPLIT - 1) / SPLIT;
    }
    int64_t size(const Step& s) const { return positions(s) * (s.heads / s.kv_heads) * (s.width + 2); }
    // Few tasks: threads share the splits of each.
    bool shared(const Step& s) const {
        return threads > 1 && call.batch * s.kv_heads * blocks(s) < 4 * threads && splits(s) > 1;
    }

    // One position of each row: whoever attends turns the heads first, and nobody waits in between.
    bool turns(const Step& s) const { return call.length == 1 && !shared(s); }

    void attend(const Step& s, int64_t task) {
        const int64_t count = splits(s), parts = shared(s) ? count : 1, part = task % parts, whole = task / parts;
        const int64_t block = whole % blocks(s), k = whole / blocks(s) % s.kv_heads, b = whole / blocks(s) / s.kv_heads;
        const int64_t G = s.heads / s.kv_heads, t0 = block * positions(s);
        const int64_t rows = std::min(positions(s), call.steps(b) - t0) * G;
        if (rows <= 0) return;
        thread_local std::vector<float> space;
        thread_local std::vector<int64_t> bounds;
        thread_local std::vector<const float*> added;
        space.resize(std::max(space.size(), size_t(rows * s.width + (parts > 1 ? 0 : count * size(s)))));
        bounds.resize(std::max(bounds.size(), size_t(2 * rows)));
        added.resize(std::max(added.size(), size_t(rows)));
        int64_t *const first = bounds.data(), *const last = first + rows;
        const Bias bias = s.biased < 0 ? Bias{nullptr, 0} : call.biases[s.biased];
        if (turns(s)) turn((&s)[-1], b, k);
        for (int64_t r = 0; r < rows; r++) {
            const int64_t t = t0 + r / G, there = memory(s).lengths[b], position = causal(s) ? there + t : t;
            added[r] = bias.added ? bias.added + (k * G + r % G) * 2 * bias.reach + bias.reach - position : nullptr;
            first[r] = 0, last[r] = causal(s) ? there + t + 1 : there;
            if (s.window && causal(s)) {
                first[r] = std::max<int64_t>(0, last[r] - s.window);
            } else if (s.window) {  // padding behind a row's end sees its last position, lest its numbers be none
                first[r] = std::clamp<int64_t>(t - s.window + 1, 0, there - 1), last[r] = std::min(there, t + s.window);
            }
            const float* query = call.floats(s.first) + ((call.begin(b) + t) * s.heads + k * G + r % G) * s.width;
            for (int64_t d = 0; d < s.width; d++) space[r * s.width + d] = query[d] * (s.scale * 1.44269504f);
        }
        const Heads heads = {memory(s).keys(s.layer, b, k), memory(s).values(s.layer, b, k), memory(s).step, s.width, s.cap};
        const auto attend = memory(s).bytes == 2 ? kernels.rows.attend_halves : kernels.rows.attend;
        float* const at = parts > 1 ? &found[whole * count * size(s)] : &space[rows * s.width];
        for (int64_t i = part; i < count; i += parts)
            attend(heads, space.data(), rows, first, last, added.data(), std::max(i * SPLIT, first[0]),
                   std::min(i * SPLIT + SPLIT, last[rows - 1]), at + i * size(s), at + i * size(s) + rows,
                   at + i * size(s) + 2 * rows);
        if (parts > 1 && done[whole].fetch_add(1, std::memory_order_acq_rel) + 1 < parts) return;
        for (int64_t r = 0; r < rows; r++)
            kernels.rows.merge(at + r, at + rows + r, at + 2 * rows + r * s.width, size(s), count, s.width,
                               call.floats(s.to) + ((call.begin(b) + t0 + r / G) * s.heads + k * G + r % G) * s.width);
        if (parts > 1) done[whole].store(0, std::memory_order_relaxed);
    }

    int64_t tasks(const Step& s) const {
        if (s.kind == Step::attention)
            return call.batch * s.kv_heads * blocks(s) * (shared(s) ? splits(s) : 1);
        return (call.count() + few() - 1) / few() * (s.kind == Step::turn ? s.kv_heads : 1);
    }

    // Of a single row, what several threads read is made by each of them: that is sooner done than waited for.
    bool alone(const Step& s) const {
        return call.count() == 1 && (s.kind == Step::activation || (s.kind == Step::norm && s.to != STREAM));
    }

    // A thread's part of a step.
    void work(const Step& s, const Thread& thread, Stretches stretches, const Call& mine) {
        const auto share = [&](int64_t tasks, const auto& task) { thread.share(tasks, stretches, task); };
        switch (s.kind) {
            case Step::product: {
                const Matrix w(s.data, s.rows, s.width, s.layout);
                const Product product(kernels, w, call.count(), threads);
                return share(product.tasks(), [&](int64_t i) {
                    product.run(i, mine.codes(s.first), mine.groups(s.first, s.width), s.bias, call.floats(s.to), s.add);
                });
            }
            case Step::norm: return share(tasks(s), [&](int64_t i) { norm(s, i, mine); });
            case Step::activation: return share(tasks(s), [&](int64_t i) { activate(s, i, mine); });
            case Step::attention: return share(tasks(s), [&](int64_t i) { attend(s, i); });
            case Step::turn:
                return share(tasks(s), [&](int64_t i) {
                    by_rows(i / s.kv_heads, [&](int64_t n) { turn(s, n, i % s.kv_heads); });
                });
        }
    }

  public:
    Program(const Kernels& kernels, const Call& call, int threads) : kernels(kernels), call(call), threads(threads) {}

    void run(const Step* steps, int64_t count) {
        int64_t most = 0, tasks_shared = 0;
        for (int64_t i = 0; i < count; i++)
            if (steps[i].kind == Step::attention && shared(steps[i])) {
                const int64_t whole = call.batch * steps[i].kv_heads * blocks(steps[i]);
                most = std::max(most, whole * splits(steps[i]) * size(steps[i]));
                tasks_shared = std::max(tasks_shared, whole);
            }
        const bool single = call.count() == 1;
        const int team = single ? contest.team(threads) : threads;
        found.resize(size_t(most));
        done = std::vector<std::atomic<int>>(size_t(tasks_shared));
        std::vector<std::atomic<int64_t>> stretches(static_cast<size_t>(count * threads));
        Barrier barrier;
        on_threads(team, true, [&](const Thread& thread) {
            Call mine = call;
            if (single) mine.arena += thread.number * call.size;
            for (int64_t i = 0; i < count; i++) {
                const Step& s = steps[i];
                if (s.kind == Step::turn && turns(steps[i + 1])) continue;
                if (alone(s)) {
                    s.kind == Step::norm ? norm(s, 0, mine) : activate(s, 0, mine);
                    continue;
                }
                work(s, thread, &stretches[i * threads], mine);
                if (!s.joined && thread.team > 1) barrier.wait(thread.team);
            }
        });
        if (single && threads > 1) contest.token(team == threads, barrier.late);
    }
};
