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

#include "Vtop.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

extern std::vector<uint8_t> dram;  // dram.cpp

namespace {

using Clock = std::chrono::steady_clock;

struct Arguments {
    std::string image, output, trace;
    std::vector<std::pair<uint32_t, uint32_t>> writes;
    std::vector<std::pair<std::string, uint32_t>> reads;
    std::vector<uint32_t> samples;
    uint64_t window = 1024, limit = 1000000, latency = 100, bandwidth = 48;
    uint64_t base = 0, error_first = 0, error_end = 0;
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
        {"--error-end", &a.error_end}};
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
    if (argc % 2 == 0 || a.image.empty() || a.output.empty())
        throw std::invalid_argument("Arguments must be pairs, --image and --output among them");
    return a;
}

class System {
public:
    uint64_t cycles = 0;

    explicit System(const Arguments& a) {
        // Whatever the design does not initialise is random: nothing may depend on it.
        context_.randReset(2);
        context_.randSeed(1);
        top_ = std::make_unique<Vtop>(&context_);
#if VM_TRACE
        if (!a.trace.empty()) {
            context_.traceEverOn(true);
            top_->trace(&trace_, 99);
            trace_.open(a.trace.c_str());
        }
#endif
        top_->settings_latency = a.latency;
        top_->settings_bandwidth = a.bandwidth;
        top_->settings_base = a.base;
        top_->settings_size = dram.size();
        top_->settings_error_first = a.error_first;
        top_->settings_error_end = a.error_end;
        top_->s_axi_awvalid = top_->s_axi_wvalid = top_->s_axi_arvalid = 0;
        top_->s_axi_bready = top_->s_axi_rready = 1;
        top_->s_axi_wstrb = 15;
        top_->rst = 1;
        for (int i = 0; i < 4; ++i) cycle();
        top_->rst = 0;
    }

    ~System() { top_->final(); }

    bool interrupt() const { return top_->irq; }

    void cycle() {
        settle();
        edge();
    }

    void write(uint32_t address, uint32_t value) {
        top_->s_axi_awaddr = address;
        top_->s_axi_wdata = value;
        top_->s_axi_awvalid = top_->s_axi_wvalid = 1;
        transfer([this] {
            const bool end = top_->s_axi_bvalid;
            const bool address_taken = top_->s_axi_awready, data_taken = top_->s_axi_wready;
            edge();
            if (address_taken) top_->s_axi_awvalid = 0;
            if (data_taken) top_->s_axi_wvalid = 0;
            return end;
        });
    }

    uint32_t read(uint32_t address) {
        uint32_t value = 0;
        top_->s_axi_araddr = address;
        top_->s_axi_arvalid = 1;
        transfer([&] {
            const bool end = top_->s_axi_rvalid, taken = top_->s_axi_arready;
            if (end) value = top_->s_axi_rdata;
            edge();
            if (taken) top_->s_axi_arvalid = 0;
            return end;
        });
        return value;
    }

private:
    VerilatedContext context_;
    std::unique_ptr<Vtop> top_;
#if VM_TRACE
    VerilatedVcdC trace_;
#endif

    // The signals just before the clock edge.
    void settle() {
        top_->clk = 0;
        eval();
    }

    void edge() {
        top_->clk = 1;
        eval();
        ++cycles;
    }

    void eval() {
        top_->eval();
        context_.timeInc(1);
#if VM_TRACE
        if (trace_.isOpen()) trace_.dump(context_.time());
#endif
    }

    template <typename Step>
    void transfer(Step step) {
        for (int i = 0; i < 1000; ++i) {
            settle();
            if (step()) return;
        }
        throw std::runtime_error("The registers did not answer within 1000 cycles");
    }
};

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
        load(arguments.image);
        run(arguments);
        return 0;
    } catch (const std::invalid_argument& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 2;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
