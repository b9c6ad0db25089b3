// Threads: how tasks are shared, how they wait for each other, and with how many on a busy machine.

using Stretches = std::atomic<int64_t>*;  // how much of each thread's stretch of the tasks is taken, 0 at first

struct Thread {
    int number, team;            // team: how many there really are

    // Does tasks of a job that all threads have a share in. A thread takes those of its own stretch one after the other,
    // so that it reads weights without a jump, and then those that the others have not begun.
    template <class Task> void share(int64_t tasks, Stretches taken, const Task& task) const {
        for (int n = 0; n < team; n++) {
            const int64_t owner = (number + n) % team, begin = tasks * owner / team, end = tasks * (owner + 1) / team;
            for (int64_t i; (i = begin + taken[owner].fetch_add(1, std::memory_order_relaxed)) < end;) task(i);
        }
    }
};

// Runs `work(thread)` once on each of `threads` threads, this one among them. They are those of the OpenMP that torch
// has loaded: a second pool would fight for the same cores with torch's, whose threads wait by spinning. Without an
// OpenMP (macOS), threads are made for the call, which only a large product repays.
template <class Work> void on_threads(int threads, bool large, const Work& work) {
    std::atomic<int> arrived{0};
    const auto begin = [&](int team) { work(Thread{arrived++, team}); };
    using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
    static const Parallel openmp = (Parallel)dlsym(RTLD_DEFAULT, "GOMP_parallel");
    static const auto team_size = (int (*)())dlsym(RTLD_DEFAULT, "omp_get_num_threads");
    if (threads > 1 && openmp && team_size) {
        openmp([](void* data) { (*(decltype(&begin))data)(team_size()); }, (void*)&begin, unsigned(threads), 0);
    } else if (threads > 1 && large) {
        std::vector<std::thread> others;
        for (int i = 1; i < threads; i++) others.emplace_back(begin, threads);
        begin(threads);
        for (auto& other : others) other.join();
    } else {
        begin(1);
    }
}

// Where another program wants a core, a thread there holds all others up, token after token: they do without it for a
// few tokens, for twice as many if it then comes late again, and try again. Shared by all that runs in the process.
struct Contest {
    static constexpr int LEAST = 2, MOST = 64;
    std::atomic<int> without{0}, next{LEAST};  // tokens: of these few, and of the next

    int team(int threads) const { return threads > 1 && without > 0 ? threads - 1 : threads; }

    void token(bool all, bool late) {
        if (!all) without--;
        else if (late) next = std::min(MOST, 2 * (without = next.load()));
        else next = std::max(LEAST, next - 1);
    }
} contest;

INLINE void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Threads wait for each other by looking, since the wait is shorter than a system call; but not for long, since the one
// that is waited for may need the core.
class Barrier {
    std::atomic<int> arrived{0}, round{0};

  public:
    std::atomic<bool> late{false};  // somebody was waited for so long that another program must have its core

    void wait(int threads) {
        const int now = round.load(std::memory_order_relaxed);
        if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
            arrived.store(0, std::memory_order_relaxed);
            round.store(now + 1, std::memory_order_release);
        } else {
            using Clock = std::chrono::steady_clock;
            Clock::time_point begin;
            for (int spins = 0; round.load(std::memory_order_acquire) == now; spins++) {
                if (spins < 4096) {
                    pause();
                } else {
                    if (spins == 4096) begin = Clock::now();
                    std::this_thread::yield();
                    if (Clock::now() - begin > std::chrono::milliseconds(1)) late.store(true, std::memory_order_relaxed);
                }
            }
        }
    }
};
