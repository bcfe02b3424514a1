// The simulated system (system.py) in Verilator: its clock, and accesses to its registers.

#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "Vtop.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

extern std::vector<uint8_t> dram;  // dram.cpp

struct Settings {
    uint64_t latency = 100, bandwidth = 48, base = 0, error_first = 0, error_end = 0;
    std::string trace;
};

class System {
public:
    uint64_t cycles = 0;

    explicit System(const Settings& a) {
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
