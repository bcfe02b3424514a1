#pragma once

#include <cstdint>
#include <vector>

extern std::vector<uint8_t> dram;  // byte 0 is at the base address
