// Runs a program image on a simulated system (system.py) and reports what its registers say.
//
//   harness --image IN --output OUT [--write ADDRESS=VALUE]... [--read NAME=ADDRESS]...
//           [--sample ADDRESS]... [--window N] [--limit N] [--latency N] [--bandwidth N] [--base N]
//           [--error-first N] [--error-end N] [--trace FILE]
//
// Resets the system, does the writes in their order, and waits for the interrupt. Meanwhile it reads
// the sampled registers every window, and prints "progress CYCLES" twice a second. In the end it
// writes the memory to OUT, reads the registers, and prints one line of JSON:
//
//   {"status": "done" or "limit", "cycles": since the last write, "seconds": for these,
//    "registers": {NAME: value}, "samples": [[value of each sampled register] of each window]}
//
//   harness --serve BYTES [--latency N] ...
//
// Does what is asked on standard input (server.h), with a memory of so many bytes.
//
// Exit code: 0 whether done or at the limit; 1 if the system does not answer; 2 for bad arguments.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "server.h"
#include "system.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Arguments : Settings {
    std::string image, output;
    std::vector<std::pair<uint32_t, uint32_t>> writes;
    std::vector<std::pair<std::string, uint32_t>> reads;
    std::vector<uint32_t> samples;
    uint64_t window = 1024, limit = 1000000, serve = 0;
};

uint64_t number(const std::string& text) {
    char* end = nullptr;
    const uint64_t value = std::strtoull(text.c_str(), &end, 0);
    if (text.empty() || *end) throw std::invalid_argument("Not a number: " + text);
    return value;
}

Arguments parse(int argc, char** argv) {
    Arguments a;
    const std::map<std::string, std::string*> texts{
        {"--image", &a.image}, {"--output", &a.output}, {"--trace", &a.trace}};
    const std::map<std::string, uint64_t*> numbers{
        {"--window", &a.window}, {"--limit", &a.limit}, {"--latency", &a.latency},
        {"--bandwidth", &a.bandwidth}, {"--base", &a.base}, {"--error-first", &a.error_first},
        {"--error-end", &a.error_end}, {"--serve", &a.serve}};
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string name = argv[i], value = argv[i + 1];
        const size_t split = std::min(value.find('='), value.size() - 1);
        const std::string left = value.substr(0, split), right = value.substr(split + 1);
        if (texts.count(name)) *texts.at(name) = value;
        else if (numbers.count(name)) *numbers.at(name) = number(value);
        else if (name == "--write") a.writes.emplace_back(number(left), number(right));
        else if (name == "--read") a.reads.emplace_back(left, number(right));
        else if (name == "--sample") a.samples.push_back(number(value));
        else throw std::invalid_argument("Unknown argument: " + name);
    }
    if (argc % 2 == 0 || (!a.serve && (a.image.empty() || a.output.empty())))
        throw std::invalid_argument(
            "Arguments must be pairs, --serve or both --image and --output among them");
    return a;
}

void load(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::invalid_argument("Cannot read " + path);
    dram.assign(std::istreambuf_iterator<char>(file), {});
}

void save(const std::string& path) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(dram.data()), dram.size());
    if (!file.flush()) throw std::runtime_error("Cannot write " + path);
}

void run(const Arguments& a) {
    System system(a);
    for (const auto& [address, value] : a.writes) system.write(address, value);

    const auto begin = Clock::now();
    auto shown = begin;
    const uint64_t start = system.cycles;
    uint64_t next_sample = start + a.window;
    std::string samples;
    while (!system.interrupt() && system.cycles - start < a.limit) {
        if (system.cycles >= next_sample) {
            samples += samples.empty() ? "[" : ", [";
            for (size_t i = 0; i < a.samples.size(); ++i)
                samples += (i ? ", " : "") + std::to_string(system.read(a.samples[i]));
            samples += "]";
            next_sample += a.window;
        } else {
            system.cycle();
        }
        if (system.cycles % 64 == 0 && Clock::now() - shown > std::chrono::milliseconds(500)) {
            shown = Clock::now();
            std::printf("progress %llu\n", (unsigned long long)(system.cycles - start));
            std::fflush(stdout);
        }
    }
    const bool done = system.interrupt();
    const uint64_t cycles = system.cycles - start;
    const std::chrono::duration<double> seconds = Clock::now() - begin;

    save(a.output);
    std::string registers;
    for (const auto& [name, address] : a.reads)
        registers += (registers.empty() ? "\"" : ", \"") + name +
                     "\": " + std::to_string(system.read(address));
    std::printf("{\"status\": \"%s\", \"cycles\": %llu, \"seconds\": %.6f, \"registers\": {%s}, "
                "\"samples\": [%s]}\n", done ? "done" : "limit", (unsigned long long)cycles,
                seconds.count(), registers.c_str(), samples.c_str());
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const Arguments arguments = parse(argc, argv);
        if (arguments.serve) {
            serve(arguments, arguments.serve);
        } else {
            load(arguments.image);
            run(arguments);
        }
        return 0;
    } catch (const std::invalid_argument& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 2;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
