// Rows that never leave user mode: integers, branches, floating point.
#include <emmintrin.h>
#include <stddef.h>

#include "bench.h"

// -- integer: SHA-256's compression function (FIPS 180-4, section 6.2.2) -------------------------

static const uint32_t sha_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t value, int by)
{
    return value >> by | value << (32 - by);
}

static void sha_block(uint32_t state[8], const uint32_t block[16])
{
    uint32_t w[64], s[8];

    for (int i = 0; i < 16; i++) {
        w[i] = block[i];
    }
    for (int i = 16; i < 64; i++) {
        w[i] = w[i - 16] + (rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
               (rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10);
    }
    for (int i = 0; i < 8; i++) {
        s[i] = state[i];
    }
    for (int i = 0; i < 64; i++) {
        uint32_t first = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) +
                         ((s[4] & s[5]) ^ (~s[4] & s[6])) + sha_k[i] + w[i];
        uint32_t second = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) +
                          ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));

        for (int j = 7; j > 0; j--) {
            s[j] = s[j - 1];
        }
        s[4] += first;
        s[0] = first + second;
    }
    for (int i = 0; i < 8; i++) {
        state[i] += s[i];
    }
}

static void integer(uint64_t rounds)
{
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint32_t block[16] = {1};

    while (rounds--) {
        sha_block(state, block);
        block[rounds & 15] ^= state[0];
    }
    sink = state[0];
}

// 64-bit divisions, whose operands differ in size.
static void divide(uint64_t rounds)
{
    uint64_t value = 0x123456789abcdefull, sum = 0;

    while (rounds--) {
        value = value * 6364136223846793005ull + 1442695040888963407ull;
        sum += value / ((value >> 33) | 1) + value % ((value >> 40) | 1);
    }
    sink = sum;
}

// -- branches -----------------------------------------------------------------------------------

enum { SORTED = 4096 };

// Heap sort of random numbers: compares that nothing predicts.
static void sort(uint64_t rounds)
{
    static uint32_t heap[SORTED];
    uint32_t random = 1;

    while (rounds--) {
        for (int i = 0; i < SORTED; i++) {
            heap[i] = random = random * 1664525 + 1013904223;
        }
        for (int start = SORTED / 2 - 1, end = SORTED; end > 1;) {
            int root;

            if (start >= 0) {
                root = start--;
            } else {
                uint32_t last = heap[--end];

                heap[end] = heap[0];
                heap[0] = last;
                root = 0;
            }
            for (int child; (child = 2 * root + 1) < end; root = child) {
                uint32_t value = heap[root];

                if (child + 1 < end && heap[child] < heap[child + 1]) {
                    child++;
                }
                if (value >= heap[child]) {
                    break;
                }
                heap[root] = heap[child];
                heap[child] = value;
            }
        }
        sink = heap[SORTED / 2];
    }
}

// A byte-code interpreter: an indirect jump an instruction.
static void interpreter(uint64_t rounds)
{
    enum { ADD, XOR, SHIFT, ROTATE, SUBTRACT, MULTIPLY, SWAP, LOOP };
    static const void *const labels[] = {&&add,      &&exclusive_or, &&shift, &&rotate_,
                                         &&subtract, &&multiply,     &&swap,  &&loop};
    static const uint8_t program[] = {ADD,      XOR, SWAP, ADD, SHIFT,    SUBTRACT, ADD,    ROTATE,
                                      MULTIPLY, XOR, SWAP, ADD, SUBTRACT, SHIFT,    ROTATE, LOOP};
    uint64_t a = 1, b = 0x9e3779b97f4a7c15ull, other;
    const uint8_t *at = program;

#define NEXT goto *labels[*at++]
    NEXT;
add:
    a += b;
    NEXT;
exclusive_or:
    a ^= b >> 7;
    NEXT;
shift:
    b += a >> 3;
    NEXT;
rotate_:
    a = a << 13 | a >> 51;
    NEXT;
subtract:
    b -= a;
    NEXT;
multiply:
    a *= 0xbf58476d1ce4e5b9ull;
    NEXT;
swap:
    other = a;
    a = b;
    b = other;
    NEXT;
loop:
    at = program;
    if (--rounds) {
        NEXT;
    }
    sink = a;
#undef NEXT
}

// Calls and returns: Takeuchi's function.
__attribute__((noinline, noclone)) static int tak(int x, int y, int z)
{
    if (y >= x) {
        return z;
    }
    return tak(tak(x - 1, y, z), tak(y - 1, z, x), tak(z - 1, x, y));
}

static void calls(uint64_t rounds)
{
    while (rounds--) {
        int x = 12;

        // Each round may differ, for all the compiler knows.
        __asm__ volatile("" : "+r"(x));
        sink = (uint64_t)tak(x, 8, 4);
    }
}

// -- floating point -----------------------------------------------------------------------------

// Points of the Mandelbrot set: additions, multiplications, a comparison.
#define MANDELBROT(name, type)                                                                               \
    static void name(uint64_t rounds)                                                                        \
    {                                                                                                        \
        uint64_t inside = 0;                                                                                 \
                                                                                                             \
        while (rounds--) {                                                                                   \
            type re = (type)(rounds % 64) / 32 - (type)1.5, im = (type)(rounds % 37) / 37;                   \
            type x = 0, y = 0, xx = 0, yy = 0;                                                               \
            int steps = 0;                                                                                   \
                                                                                                             \
            for (; steps < 200 && xx + yy < 4; steps++) {                                                    \
                y = 2 * x * y + im;                                                                          \
                x = xx - yy + re;                                                                            \
                xx = x * x;                                                                                  \
                yy = y * y;                                                                                  \
            }                                                                                                \
            inside += (uint64_t)steps;                                                                       \
        }                                                                                                    \
        sink = inside;                                                                                       \
    }

MANDELBROT(scalar_double, double)
MANDELBROT(x87, long double)

// SQRTSD, and no call of the C library for what may set errno.
static double square_root(double value)
{
    __m128d vector = _mm_set_sd(value);

    return _mm_cvtsd_f64(_mm_sqrt_sd(vector, vector));
}

static void division_and_root(uint64_t rounds)
{
    double sum = 0;

    while (rounds--) {
        double value = (double)(rounds & 1023) + 1.5;

        sum += square_root(value) / (sum + value);
    }
    sink = (uint64_t)sum;
}

enum { ORDER = 32 };

// Product of two matrices of single-precision numbers, four at a time.
static void packed_single(uint64_t rounds)
{
    static float a[ORDER][ORDER] __attribute__((aligned(16))), b[ORDER][ORDER] __attribute__((aligned(16)));
    static float c[ORDER][ORDER] __attribute__((aligned(16)));

    for (int i = 0; i < ORDER * ORDER; i++) {
        a[i / ORDER][i % ORDER] = (float)(i % 7) / 7;
        b[i / ORDER][i % ORDER] = (float)(i % 5) / 5;
    }
    while (rounds--) {
        for (int i = 0; i < ORDER; i++) {
            for (int j = 0; j < ORDER; j += 4) {
                __m128 sum = _mm_setzero_ps();

                for (int k = 0; k < ORDER; k++) {
                    sum = _mm_add_ps(sum, _mm_mul_ps(_mm_set1_ps(a[i][k]), _mm_load_ps(&b[k][j])));
                }
                _mm_store_ps(&c[i][j], sum);
            }
        }
        a[rounds % ORDER][3] = c[5][rounds % ORDER] / 64;
    }
    sink = (uint64_t)c[3][3];
}

// Bytes in vectors, as code for images and strings has them.
static void packed_integer(uint64_t rounds)
{
    static uint8_t pixels[4096] __attribute__((aligned(16)));
    __m128i total = _mm_setzero_si128();

    for (int i = 0; i < 4096; i++) {
        pixels[i] = (uint8_t)(i * 7);
    }
    while (rounds--) {
        for (int i = 0; i < 4096 - 16; i += 16) {
            __m128i here = _mm_load_si128((const __m128i *)(pixels + i));
            __m128i next = _mm_loadu_si128((const __m128i *)(pixels + i + 1));
            __m128i mean = _mm_avg_epu8(here, next);
            __m128i mask = _mm_cmpgt_epi8(mean, here);

            mean = _mm_or_si128(_mm_and_si128(mask, here), _mm_andnot_si128(mask, mean));
            total = _mm_add_epi64(total, _mm_sad_epu8(mean, next));
            _mm_store_si128((__m128i *)(pixels + i), _mm_shuffle_epi32(mean, 0x39));
        }
    }
    sink = (uint64_t)_mm_cvtsi128_si64(total);
}

const struct row compute_rows[] = {
    {.name = "integer", .unit = "MB/s", .per_round = 64 / 1e6, .work = integer},
    {.name = "divide", .unit = "M/s", .per_round = 2 / 1e6, .work = divide},
    {.name = "sort", .unit = "M/s", .per_round = SORTED / 1e6, .work = sort},
    {.name = "interpreter", .unit = "M/s", .per_round = 16 / 1e6, .work = interpreter},
    {.name = "calls", .unit = "M/s", .per_round = 1733 / 1e6, .work = calls},
    {.name = "double", .unit = "points/s", .per_round = 1, .work = scalar_double},
    {.name = "sqrt", .unit = "M/s", .per_round = 1 / 1e6, .work = division_and_root},
    {.name = "x87", .unit = "points/s", .per_round = 1, .work = x87},
    {.name = "packed-single",
     .unit = "MFLOP/s",
     .per_round = 2.0 * ORDER * ORDER * ORDER / 1e6,
     .work = packed_single},
    {.name = "packed-integer", .unit = "MB/s", .per_round = 4080 / 1e6, .work = packed_integer},
    {.name = NULL},
};
