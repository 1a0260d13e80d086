// The entropy coder on a GPU: one warp is one stream, one thread of it one lane. The bytes are the CPU's
// (docs/bitstream-format.md). All that a stream needs between two steps lies in its Decoder in device memory, so nothing
// returns to the host before the end.
//
// Control flow is uniform in a warp: whatever decides a branch around a ballot or shuffle is the same in all its threads.
// NVRTC compiles this without any header.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef short i16;
typedef int i32;

#define WARP 32
#define ALL 0xffffffffu
#define MIX 0x9e3779b1u

enum Status { OK, BAD_INDEX, LOST_POINTER, BAD_ESCAPE, SHORT_TAIL, LOST_LANES };

// What one stream's decoder knows. The host fills it; fields are 32 bits wide, so that an array of u32 describes it.
struct Decoder {
    u32 states[WARP];
    u32 tail_words[WARP];
    u32 lanes;         // 8, 16 or 32
    u32 region_start;  // of words and bypass, in the common array of all streams
    u32 region_size;   // bytes
    u32 tail_step;     // in which the tail begins
    u32 tail_symbols;  // how many symbols of that step belong to it
    u32 tail_least;    // and from which table number on
    u32 skip;
    u32 live_start;    // of the channels' marks
    u32 live_count;    // channels behind are live
    u32 pointer;       // next word
    u32 bit;           // next bit of the bypass
    u32 number;        // symbols decoded so far
    u32 hash;          // of them
    u32 steps_done;
    u32 tail_state;
    u32 tail_pointer;
    u32 written_hash;
    u32 status;        // the first thing that went wrong; nothing is decoded after it
};

// Tables, by table number; `entries` as Tables.decode_entries.
struct Tables {
    const u32* entries;
    const i32* offsets;
    const i32* sizes;
    const i32* orders;
    u32 scale_count;
};

__device__ static u32 below(u32 mask, u32 lane) { return __popc(mask & ((1u << lane) - 1u)); }

__device__ static u32 mixed(i32 value, u32 table) {
    u32 v = ((u32)value & 0xffffu) | (table + 1u) << 16;
    v *= MIX;
    return v ^ v >> 15;
}

__device__ static u32 sum_of_warp(u32 value) {
    for (u32 step = WARP / 2; step; step /= 2) value += __shfl_xor_sync(ALL, value, step);
    return value;
}

// A bit of the bypass, which is read from the end of the region backwards; 2 where there is none.
__device__ static u32 bypass_bit(const u8* region, u32 size, u32 bit) {
    u32 byte = bit >> 3;
    return byte < size ? region[size - 1 - byte] >> (bit & 7) & 1u : 2u;
}

// Reads an escape; false where there is none. `coded` is distance * 2 + sign.
__device__ static bool take_escape(const u8* region, u32 size, u32 order, u32& bit, u32& coded) {
    u32 prefix = 0;
    for (;;) {
        u32 got = bypass_bit(region, size, bit++);
        if (got == 1) break;
        if (got == 2 || ++prefix > 16) return false;
    }
    if ((bit + prefix + order) >> 3 >= size) return false;
    u32 number = 1u << prefix;
    for (u32 shift = 0; shift < prefix; ++shift) number |= bypass_bit(region, size, bit++) << shift;
    // Longer than 17 bits only where the integer is refused: 32 bits hold enough of it to see that.
    u32 distance = order < 15 || number < (1u << 16) ? (number - 1) << order : ALL >> 2;
    for (u32 shift = 0; shift < order; ++shift) distance |= bypass_bit(region, size, bit++) << shift;
    coded = distance * 2 + bypass_bit(region, size, bit++);
    return true;
}

// Turns the members of up to 32 symbols, in stream order one a thread, into integers; reads escapes, hashes, writes.
__device__ static void place(
    Decoder& d, const Tables& t, const u8* region, i16* out, u32 lane, u32 count, u32 member, u32 table, u32 position
) {
    bool mine = lane < count;
    i32 value = mine ? t.offsets[table] + (i32)member : 0;
    u32 escaped = __ballot_sync(ALL, mine && (i32)member == t.sizes[table]);
    u32 status = OK, bit = d.bit;
    for (u32 left = escaped; left && status == OK; left &= left - 1) {
        u32 from = __ffs(left) - 1, coded = 0, of = __shfl_sync(ALL, table, from);
        if (!take_escape(region, d.region_size, t.orders[of], bit, coded)) {
            status = BAD_ESCAPE;
            break;
        }
        i32 distance = coded >> 1, offset = t.offsets[of];
        i32 integer = coded & 1 ? offset - 1 - distance : offset + t.sizes[of] + distance;
        if (integer < -32768 || integer > 32767) status = BAD_ESCAPE;
        if (lane == from) value = integer;
    }
    u32 sum = mine ? mixed(value, table) * (2 * (d.number + lane) + 1) : 0;
    sum = sum_of_warp(sum);
    if (mine && status == OK) out[position] = (i16)value;
    __syncwarp();
    if (lane == 0) {
        d.bit = bit;
        d.number += count;
        d.hash += sum;
        if (status != OK) d.status = status;
    }
    __syncwarp();
}

// Decodes a row: `count` symbols, one a lane, of the tables and positions in the queue.
__device__ static void decode_row(
    Decoder& d, const Tables& t, const u8* region, i16* out, u32 lane, u32 count, const u32* positions, const u32* tables
) {
    u32 limit = d.region_size / 2, pointer = d.pointer;
    bool mine = lane < count;
    if (count && pointer > limit) {
        __syncwarp();
        if (lane == 0) d.status = LOST_POINTER;
        __syncwarp();
        return;
    }
    u32 position = mine ? positions[lane] : 0, table = mine ? tables[lane] : 0, entry = 0, x = d.states[lane];
    if (mine) {
        entry = t.entries[table << 12 | (x & 4095u)];
        x = (entry >> 20) * (x >> 12) + (entry >> 8 & 4095u);
    }
    bool needs = mine && x < 65536u;
    u32 mask = __ballot_sync(ALL, needs);
    if (needs) {
        u32 at = pointer + below(mask, lane);
        u32 word = at < limit ? region[2 * at] | region[2 * at + 1] << 8 : 0;
        x = x << 16 | word;
    }
    __syncwarp();
    d.states[lane] = x;
    if (lane == 0) d.pointer = pointer + __popc(mask);
    __syncwarp();
    place(d, t, region, out, lane, count, entry & 255u, table, position);
}

// Decodes one symbol from the tail's words.
__device__ static void decode_tail(
    Decoder& d, const Tables& t, const u8* region, i16* out, u32 lane, u32 table, u32 position
) {
    u32 x = d.tail_state, pointer = d.tail_pointer, words = d.lanes - 2;
    __syncwarp();
    while (x < 65536u && pointer < words) x = x << 16 | d.tail_words[pointer++];
    u32 entry = t.entries[table << 12 | (x & 4095u)];
    x = (entry >> 20) * (x >> 12) + (entry >> 8 & 4095u);
    while (x < 65536u && pointer < words) x = x << 16 | d.tail_words[pointer++];
    if (lane == 0) {
        d.tail_state = x;
        d.tail_pointer = pointer;
    }
    __syncwarp();
    place(d, t, region, out, lane, 1, entry & 255u, table, position);
}

// The lanes are done: each must be back at its start, and what rode in there comes out.
__device__ static void enter_tail(Decoder& d, u32 lane) {
    u32 x = d.states[lane];
    u32 off = __ballot_sync(ALL, lane < d.lanes && x >> 16 != 1);
    u32 low = __shfl_sync(ALL, x & 0xffffu, 0), high = __shfl_sync(ALL, x & 0xffffu, 1);
    if (lane >= 2) d.tail_words[lane - 2] = x & 0xffffu;
    if (lane == 0) {
        d.written_hash = low | high << 16;
        if (off) d.status = LOST_LANES;
    }
    __syncwarp();
    // The reader's refill before the first symbol belongs to the tail even if no symbol follows.
    u32 pointer = 0, state = 0, words = d.lanes - 2;
    while (state < 65536u && pointer < words) state = state << 16 | d.tail_words[pointer++];
    __syncwarp();
    if (lane == 0) {
        d.tail_state = state;
        d.tail_pointer = pointer;
    }
    __syncwarp();
}

// The positions of a step, 32 at a time in C order: whether mine is looked at, and its table number.
struct Box {
    const u8* indexes;  // null for z, whose table numbers follow from the channel
    const u8* live;
    u32 first_channel, channels, rows, columns, parity;
};

__device__ static bool looked_at(const Box& box, u32 at, u32& channel) {
    u32 plane = box.rows * box.columns;
    if (at >= box.channels * plane) return false;
    channel = at / plane;
    u32 within = at - channel * plane, row = within / box.columns, column = within - row * box.columns;
    return box.parity == 0 || ((row + column) & 1u) == box.parity - 1;
}

__device__ static bool coded(const Box& box, const Decoder& d, const Tables& t, u32 at, u32& table) {
    u32 channel = 0;
    if (!looked_at(box, at, channel)) return false;
    if (!box.indexes) {
        table = t.scale_count + channel;
        return true;
    }
    table = box.indexes[at];
    u32 absolute = box.first_channel + channel;
    return table >= d.skip && (absolute >= d.live_count || box.live[d.live_start + absolute]);
}

// A step of every stream: symbols decoded and written, 0 wherever nothing is coded. Block = one warp = one stream.
//
// indexes: u8 [streams, channels, rows, columns], or null for z. out: i16, same shape, zeros. hashes: u32 [streams, steps]:
// the hash after each step, without witnesses.
extern "C" __global__ void ptp_decode_step(
    Decoder* decoders, const u8* regions, const u8* live, const u8* indexes, i16* out, u32* hashes, u32 steps,
    u32 first_channel, u32 channels, u32 rows, u32 columns, u32 parity, const u32* entries, const i32* offsets,
    const i32* sizes, const i32* orders, u32 scale_count
) {
    __shared__ u32 queued_positions[2 * WARP], queued_tables[2 * WARP];
    u32 lane = threadIdx.x, stream = blockIdx.x, size = channels * rows * columns;
    Decoder& d = decoders[stream];
    if (d.status != OK) return;
    Tables t = {entries, offsets, sizes, orders, scale_count};
    Box box = {indexes ? indexes + (unsigned long long)stream * size : 0, live, first_channel, channels, rows, columns, parity};
    const u8* region = regions + d.region_start;
    i16* mine = out + (unsigned long long)stream * size;
    u32 step = d.steps_done, least = step == d.tail_step ? d.tail_least : 0, late = 0, total = 0;

    // Count first: the tail takes the last of the late symbols, and no index without a table may be used.
    for (u32 base = 0; base < size; base += WARP) {
        u32 table = 0, channel = 0, at = base + lane;
        bool is_coded = coded(box, d, t, at, table);
        bool bad = box.indexes && looked_at(box, at, channel) && box.indexes[at] >= scale_count;
        if (__ballot_sync(ALL, bad)) {
            if (lane == 0) d.status = BAD_INDEX;
            __syncwarp();
            return;
        }
        total += __popc(__ballot_sync(ALL, is_coded));
        late += __popc(__ballot_sync(ALL, is_coded && table >= least));
    }
    u32 in_tail = step < d.tail_step ? 0 : step == d.tail_step ? d.tail_symbols : total;
    if (step == d.tail_step && late < in_tail) {
        if (lane == 0) d.status = SHORT_TAIL;
        __syncwarp();
        return;
    }

    // The symbols that are dealt to the lanes: those below `least`, then the late ones but for the tail's.
    u32 queued = 0, lanes = d.lanes;
    for (u32 pass = 0; pass < 2; ++pass) {
        u32 room = pass == 0 ? total - late : late - in_tail;
        for (u32 base = 0; base < size && room; base += WARP) {
            u32 table = 0, at = base + lane;
            bool is_coded = coded(box, d, t, at, table) && (table >= least) == (pass == 1);
            u32 mask = __ballot_sync(ALL, is_coded), taken = __popc(mask);
            u32 rank = below(mask, lane);
            if (is_coded && rank < room) {
                queued_positions[queued + rank] = at;
                queued_tables[queued + rank] = table;
            }
            taken = taken < room ? taken : room;
            room -= taken;
            queued += taken;
            __syncwarp();
            u32 done = 0;
            for (; queued - done >= lanes; done += lanes) {
                decode_row(d, t, region, mine, lane, lanes, queued_positions + done, queued_tables + done);
                if (d.status != OK) return;
            }
            u32 position = queued_positions[(done + lane) % (2 * WARP)], of = queued_tables[(done + lane) % (2 * WARP)];
            __syncwarp();
            queued_positions[lane] = position;
            queued_tables[lane] = of;
            queued -= done;
            __syncwarp();
        }
    }
    if (queued) decode_row(d, t, region, mine, lane, queued, queued_positions, queued_tables);
    if (d.status != OK) return;
    if (d.pointer > d.region_size / 2) {
        __syncwarp();
        if (lane == 0) d.status = LOST_POINTER;
        __syncwarp();
        return;
    }
    if (step == d.tail_step) {
        enter_tail(d, lane);
        if (d.status != OK) return;
    }

    // The tail's symbols, one after another: what is left of the late ones.
    u32 before = late - in_tail, seen = 0;
    for (u32 base = 0; base < size && in_tail; base += WARP) {
        u32 table = 0, at = base + lane;
        bool is_late = coded(box, d, t, at, table) && table >= least;
        for (u32 left = __ballot_sync(ALL, is_late); left; left &= left - 1, ++seen) {
            u32 from = __ffs(left) - 1, of = __shfl_sync(ALL, table, from);
            if (seen < before) continue;
            decode_tail(d, t, region, mine, lane, of, base + from);
            if (d.status != OK) return;
        }
    }
    __syncwarp();
    if (lane == 0) {
        hashes[stream * steps + step] = d.hash;
        d.steps_done = step + 1;
    }
}

// Codes the symbols of each stream from the last to the first. Block = one warp = one stream.
//
// keys: u32, all streams behind one another, each as the CPU's encoder has it. bounds: u32 [streams, steps + 1], where each
// step begins in `keys`, and the end. states: u32 [streams, 32], what the lanes begin with, and then end with. words: u16,
// one place a key; the words of a stream end where its keys end. first: u32 [streams], where they begin.
extern "C" __global__ void ptp_encode_lanes(
    const u32* keys, const u32* bounds, u32 steps, u32 lanes, const u32* entries, u32* states, u16* words, u32* first
) {
    u32 lane = threadIdx.x, stream = blockIdx.x;
    const u32* steps_of = bounds + stream * (steps + 1);
    u32 x = states[stream * WARP + lane], word = steps_of[steps];
    for (u32 step = steps; step-- > 0;) {
        u32 begin = steps_of[step], end = steps_of[step + 1];
        u32 rows = (end - begin + lanes - 1) / lanes;
        for (u32 row = rows; row-- > 0;) {
            u32 at = begin + row * lanes + lane;
            bool mine = lane < lanes && at < end;
            u32 entry = mine ? entries[keys[at]] : 1u, frequency = entry & 0xffffu;
            bool gives = mine && x >> 20 >= frequency;
            u32 mask = __ballot_sync(ALL, gives);
            word -= __popc(mask);
            if (gives) {
                words[word + below(mask, lane)] = (u16)x;
                x >>= 16;
            }
            if (mine) {
                u32 quotient = x / frequency;
                x = (quotient << 12) + (x - quotient * frequency) + (entry >> 16);
            }
        }
    }
    states[stream * WARP + lane] = x;
    if (lane == 0) first[stream] = word;
}
