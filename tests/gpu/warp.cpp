// Runs a CUDA kernel's source on the CPU: the threads of a warp are 32 fibres, which take turns and meet wherever the
// kernel calls a function of the whole warp. Uneven meetings (a thread that has ended, or another function) stop the run.

#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>

namespace {
struct Index { unsigned x; };
Index threadIdx, blockIdx;
constexpr unsigned kThreads = 32, kStack = 1 << 18;
unsigned posted[kThreads], seen[kThreads];
int meeting[kThreads], current;
bool ended[kThreads];
ucontext_t scheduler, fibres[kThreads];
std::function<void()> body;
char stacks[kThreads][kStack];

unsigned meet(int kind, unsigned value) {
    int lane = current;
    posted[lane] = value;
    meeting[lane] = kind;
    swapcontext(&fibres[lane], &scheduler);
    return lane;
}
unsigned __ballot_sync(unsigned, bool predicate) {
    meet(1, predicate);
    unsigned mask = 0;
    for (unsigned i = 0; i < kThreads; ++i) mask |= (seen[i] & 1u) << i;
    return mask;
}
unsigned __shfl_sync(unsigned, unsigned value, unsigned from) {
    meet(2, value);
    return seen[from % kThreads];
}
unsigned __shfl_xor_sync(unsigned, unsigned value, unsigned mask) {
    unsigned lane = meet(3, value);
    return seen[lane ^ mask];
}
void __syncwarp() { meet(4, 0); }
int __popc(unsigned value) { return __builtin_popcount(value); }
int __ffs(unsigned value) { return __builtin_ffs(static_cast<int>(value)); }

void start() {
    body();
    ended[current] = true;
    swapcontext(&fibres[current], &scheduler);
}

void run_block(unsigned block) {
    blockIdx.x = block;
    for (unsigned i = 0; i < kThreads; ++i) {
        ended[i] = false;
        getcontext(&fibres[i]);
        fibres[i].uc_stack.ss_sp = stacks[i];
        fibres[i].uc_stack.ss_size = kStack;
        fibres[i].uc_link = &scheduler;
        makecontext(&fibres[i], start, 0);
    }
    for (;;) {
        for (unsigned i = 0; i < kThreads; ++i) {
            current = i;
            threadIdx.x = i;
            meeting[i] = 0;
            swapcontext(&scheduler, &fibres[i]);
        }
        for (unsigned i = 1; i < kThreads; ++i) {
            if (ended[i] != ended[0] || meeting[i] != meeting[0]) {
                std::fprintf(stderr, "the threads of the warp do not meet\n");
                std::abort();
            }
        }
        if (ended[0]) return;
        std::memcpy(seen, posted, sizeof seen);
    }
}
}  // namespace

#define __global__
#define __device__
#define __shared__ static
#include "rans.cu"
#include "latents.cu"

extern "C" void run_decode_step(
    unsigned blocks, Decoder* a, const u8* b, const u8* c, const u8* d, i16* e, u32* f, u32 g, u32 h, u32 i, u32 j, u32 k,
    u32 l, const u32* m, const i32* n, const i32* o, const i32* p, u32 q
) {
    body = [=] { ptp_decode_step(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q); };
    for (unsigned block = 0; block < blocks; ++block) run_block(block);
}

extern "C" void run_encode_lanes(
    unsigned blocks, const u32* a, const u32* b, u32 c, u32 d, const u32* e, u32* f, u16* g, u32* h
) {
    body = [=] { ptp_encode_lanes(a, b, c, d, e, f, g, h); };
    for (unsigned block = 0; block < blocks; ++block) run_block(block);
}

extern "C" void run_widen(unsigned blocks, const i16* a, float* b, u32 c) {
    body = [=] { ptp_widen(a, b, c); };
    for (unsigned block = 0; block < blocks; ++block) run_block(block);
}

extern "C" void run_write_decoded(
    unsigned blocks, const i16* a, const void* b, u32 c, float* d, u32 e, u32 f, u32 g, u32 h, u32 i, u32 j, u32 k, u32 l,
    u32 m
) {
    body = [=] { ptp_write_decoded(a, b, c, d, e, f, g, h, i, j, k, l, m); };
    for (unsigned block = 0; block < blocks; ++block) run_block(block);
}

extern "C" void run_crop(unsigned blocks, const float* a, float* b, u32 c, u32 d, u32 e, u32 f, u32 g) {
    body = [=] { ptp_crop(a, b, c, d, e, f, g); };
    for (unsigned block = 0; block < blocks; ++block) run_block(block);
}

extern "C" void run_crc_of_means(unsigned blocks, const void* a, u32 b, u32* c, u32 d, u32 e, u32 f, u32 g, u32 h) {
    body = [=] { ptp_crc_of_means(a, b, c, d, e, f, g, h); };
    for (unsigned block = 0; block < blocks; ++block) run_block(block);
}

extern "C" void run_join_crc(unsigned blocks, const u32* a, u32* b, u32 c, u32 d) {
    body = [=] { ptp_join_crc(a, b, c, d); };
    for (unsigned block = 0; block < blocks; ++block) run_block(block);
}

extern "C" unsigned decoder_size() { return sizeof(Decoder); }
