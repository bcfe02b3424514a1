// The DRAM image of a simulated system, and the functions by which storage.sv reaches it.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "svdpi.h"

std::vector<uint8_t> dram;  // byte 0 is at the base address

// Bytes beyond the image read as zero.
extern "C" void heddle_dram_read(unsigned long long offset, int bytes, svBitVecVal* data) {
    std::memset(data, 0, bytes);
    if (offset < dram.size())
        std::memcpy(data, &dram[offset], std::min<size_t>(bytes, dram.size() - offset));
}

// A write beyond the image makes it longer.
extern "C" void heddle_dram_write(unsigned long long offset, int bytes, const svBitVecVal* data,
                                  const svBitVecVal* strobe) {
    if (offset + bytes > dram.size()) dram.resize(offset + bytes);
    const uint8_t* source = reinterpret_cast<const uint8_t*>(data);
    for (int i = 0; i < bytes; ++i)
        if (strobe[i / 32] >> i % 32 & 1) dram[offset + i] = source[i];
}
