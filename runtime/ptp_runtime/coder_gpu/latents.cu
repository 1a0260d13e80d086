// What lies between the coder and the networks: symbols and means to latents, and the feature's own size. Follows rans.cu
// in one source. A block is one warp, and has SHARE elements for each of its threads.

#define SHARE 8

__device__ static u32 my_element(u32 k) { return (blockIdx.x * SHARE + k) * WARP + threadIdx.x; }

// Integers as floats.
extern "C" __global__ void ptp_widen(const i16* values, float* out, u32 count) {
    for (u32 k = 0; k < SHARE; ++k) {
        u32 at = my_element(k);
        if (at < count) out[at] = (float)values[at];
    }
}

// Puts 16 · symbol + mean at the positions of a step in the latent [M, height, width]; elsewhere it stays what it is.
//
// symbols: [channels, rows, columns], of the step's box. means: likewise, i32 if `wide`, else i16.
extern "C" __global__ void ptp_write_decoded(
    const i16* symbols, const void* means, u32 wide, float* latent, u32 height, u32 width, u32 top, u32 left,
    u32 first_channel, u32 channels, u32 rows, u32 columns, u32 parity
) {
    Box box = {0, 0, first_channel, channels, rows, columns, parity};
    for (u32 k = 0; k < SHARE; ++k) {
        u32 channel = 0, at = my_element(k);
        if (!looked_at(box, at, channel)) continue;
        u32 within = at - channel * rows * columns, row = within / columns, column = within - row * columns;
        i32 mean = wide ? ((const i32*)means)[at] : ((const i16*)means)[at];
        latent[((first_channel + channel) * height + top + row) * width + left + column] =
            (float)(16 * symbols[at] + mean);
    }
}

// The first rows and columns of each plane, close together.
extern "C" __global__ void ptp_crop(
    const float* planes, float* out, u32 rows, u32 columns, u32 kept_rows, u32 kept_columns, u32 count
) {
    for (u32 k = 0; k < SHARE; ++k) {
        u32 at = my_element(k);
        if (at >= count) continue;
        u32 plane = at / (kept_rows * kept_columns), within = at - plane * kept_rows * kept_columns;
        u32 row = within / kept_columns, column = within - row * kept_columns;
        out[at] = planes[(plane * rows + row) * columns + column];
    }
}

// CRC-32 of a step's means, which a stream may seal (docs/bitstream-format.md): zlib's, of the values at the step's
// positions in C order, 2 bytes each. Each thread takes a stretch; stretches are joined as polynomials. The first ones may
// be shorter or empty: in front, zeros count for nothing.

#define POLYNOMIAL 0xedb88320u

// Product modulo CRC-32's polynomial. The highest power stands in the lowest bit.
__device__ static u32 times(u32 a, u32 b) {
    u32 product = 0;
    for (u32 mask = 1u << 31; mask; mask >>= 1) {
        if (a & mask) product ^= b;
        b = b & 1u ? b >> 1 ^ POLYNOMIAL : b >> 1;
    }
    return product;
}

__device__ static u32 power_of_x(u32 exponent) {
    u32 result = 1u << 31, power = 1u << 30;
    for (; exponent; exponent >>= 1) {
        if (exponent & 1u) result = times(power, result);
        power = times(power, power);
    }
    return result;
}

// The CRC, begun at 0, of the stretches of a warp; `shift` is x to the bits of one stretch. In the first thread.
__device__ static u32 joined(u32 crc, u32 shift, u32 lane) {
    for (u32 distance = 1; distance < WARP; distance *= 2) {
        u32 right = __shfl_sync(ALL, crc, (lane + distance) % WARP);
        crc = times(crc, shift) ^ right;
        shift = times(shift, shift);
    }
    return crc;
}

// WARP blocks: the CRC of each block's stretches. stretch: values of a thread, so that all threads have count at least.
extern "C" __global__ void ptp_crc_of_means(
    const void* means, u32 wide, u32* partial, u32 rows, u32 columns, u32 parity, u32 count, u32 stretch
) {
    __shared__ u32 table[16];
    u32 lane = threadIdx.x, entry = lane & 15u;
    for (u32 bit = 0; bit < 4; ++bit) entry = entry & 1u ? entry >> 1 ^ POLYNOMIAL : entry >> 1;
    if (lane < 16) table[lane] = entry;
    __syncwarp();
    u32 in_row = parity ? columns / 2 : columns, behind = (WARP * WARP - blockIdx.x * WARP - lane) * stretch;
    u32 first = count > behind ? count - behind : 0, end = count + stretch > behind ? count + stretch - behind : 0;
    u32 crc = 0;
    for (u32 number = first; number < end; ++number) {
        u32 row = number / in_row, column = number - row * in_row, at = number;
        // Rows of a plane are even in number: the row's parity does not depend on the plane.
        if (parity) at = row * columns + 2 * column + ((row + parity + 1u) & 1u);
        crc ^= wide ? (u32)((const i32*)means)[at] & 0xffffu : (u32)((const u16*)means)[at];
        for (u32 nibble = 0; nibble < 4; ++nibble) crc = table[crc & 15u] ^ crc >> 4;
    }
    crc = joined(crc, power_of_x(16 * stretch), lane);
    if (lane == 0) partial[blockIdx.x] = crc;
}

// One block: the CRC of all of them.
extern "C" __global__ void ptp_join_crc(const u32* partial, u32* out, u32 count, u32 stretch) {
    u32 lane = threadIdx.x, crc = joined(partial[lane], power_of_x(16 * stretch * WARP), lane);
    if (lane == 0) *out = crc ^ times(ALL, power_of_x(16 * count)) ^ ALL;
}
