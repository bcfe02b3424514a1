// A simulated system that does what standard input asks, line by line, and answers each line:
//
//   read ADDRESS           the register, in decimal
//   write ADDRESS VALUE    "done"
//   run CYCLES             lets time pass until the interrupt is high, or so many cycles: 1 or 0
//   put OFFSET SIZE        SIZE bytes follow, which go to the memory: "done"
//   get OFFSET SIZE        SIZE bytes of the memory
//
// It ends with its input. A line that is none of these, or goes beyond the memory, is an exception.

#pragma once

#include <iostream>
#include <sstream>

#include "system.h"

inline void serve(const Settings& settings, uint64_t size) {
    dram.assign(size, 0);
    System system(settings);
    std::string line;
    while (std::getline(std::cin, line)) {
        std::istringstream words(line);
        std::string command;
        uint64_t first = 0, second = 0;
        words >> command >> first >> second;
        const bool memory = command == "put" || command == "get";
        if (memory && (first > size || second > size - first))
            throw std::out_of_range("Beyond the memory: " + line);
        char* place = reinterpret_cast<char*>(dram.data() + first);
        if (command == "read") {
            std::cout << system.read(first) << '\n';
        } else if (command == "write") {
            system.write(first, second);
            std::cout << "done\n";
        } else if (command == "run") {
            for (uint64_t i = 0; i < first && !system.interrupt(); ++i) system.cycle();
            std::cout << system.interrupt() << '\n';
        } else if (command == "put") {
            std::cin.read(place, second);
            std::cout << "done\n";
        } else if (command == "get") {
            std::cout.write(place, second);
        } else {
            throw std::invalid_argument("Unknown command: " + line);
        }
        std::cout.flush();
    }
}
