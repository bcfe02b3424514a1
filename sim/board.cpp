// Runs a simulated board (board.py) whose serial port is a pseudo-terminal.
//
//   board DIVISOR
//
// Prints the name of the terminal, then clocks the board until standard input ends. A byte that is
// written to the terminal reaches pin rx bit by bit, DIVISOR cycles a bit. What pin tx sends is
// sampled in the middle of each bit, and can be read from the terminal.
//
// Exit code: 0; 1 if tx sends what is no byte, or if the board reports a fault; 2 for bad arguments.

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <deque>
#include <memory>
#include <stdexcept>
#include <string>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr unsigned BITS = 10;             // start, eight of data, stop
constexpr uint64_t LOOK = 256;            // cycles between looks at the terminal
constexpr uint64_t LOOK_AT_INPUT = 65536;  // and at standard input

class Terminal {
public:
    Terminal() : master_(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK)) {
        if (master_ < 0 || grantpt(master_) || unlockpt(master_))
            throw std::runtime_error("There is no pseudo-terminal");
        // The other end stays open here too, so that the programs that use it may come and go.
        const int slave = open(ptsname(master_), O_RDWR | O_NOCTTY);
        termios settings;
        if (slave < 0 || tcgetattr(slave, &settings))
            throw std::runtime_error("The pseudo-terminal cannot be set up");
        cfmakeraw(&settings);
        tcsetattr(slave, TCSANOW, &settings);
        std::printf("%s\n", ptsname(master_));
        std::fflush(stdout);
    }

    std::deque<uint8_t> in, out;

    void look() {
        uint8_t buffer[4096];
        const ssize_t count = ::read(master_, buffer, sizeof buffer);
        if (count > 0) in.insert(in.end(), buffer, buffer + count);
        while (!out.empty() && ::write(master_, &out.front(), 1) == 1) out.pop_front();
    }

private:
    const int master_;
};

// Bytes to the level of pin rx, cycle by cycle.
class Sender {
public:
    explicit Sender(unsigned divisor) : divisor_(divisor) {}

    bool level(std::deque<uint8_t>& bytes) {
        if (cycle_ == BITS * divisor_) {
            if (bytes.empty()) return true;
            bits_ = 1u << (BITS - 1) | bytes.front() << 1;
            bytes.pop_front();
            cycle_ = 0;
        }
        return bits_ >> cycle_++ / divisor_ & 1;
    }

private:
    const unsigned divisor_;
    unsigned bits_ = 0, cycle_ = BITS * divisor_;
};

// The level of pin tx to bytes.
class Receiver {
public:
    explicit Receiver(unsigned divisor) : divisor_(divisor) {}

    void level(bool level, std::deque<uint8_t>& bytes) {
        if (cycle_ == 0 && level) return;
        if (cycle_++ % divisor_ != divisor_ / 2) return;
        bits_ = bits_ >> 1 | level << (BITS - 1);
        if (cycle_ < (BITS - 1) * divisor_) return;
        if (!level || bits_ & 1) throw std::runtime_error("Pin tx must send bytes");
        bytes.push_back(bits_ >> 1);
        cycle_ = 0;
    }

private:
    const unsigned divisor_;
    unsigned bits_ = 0, cycle_ = 0;
};

bool ended() {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    char byte;
    return poll(&input, 1, 0) > 0 && ::read(STDIN_FILENO, &byte, 1) <= 0;
}

void run(unsigned divisor) {
    VerilatedContext context;
    // Whatever the design does not initialise is random: nothing may depend on it.
    context.randReset(2);
    context.randSeed(1);
    const auto top = std::make_unique<Vtop>(&context);
    Terminal terminal;
    Sender sender(divisor);
    Receiver receiver(divisor);
    top->rx = 1;
    for (uint64_t cycle = 0; cycle % LOOK_AT_INPUT || !ended(); ++cycle) {
        top->rst = cycle < 4;
        if (cycle % LOOK == 0) terminal.look();
        for (const int level : {0, 1}) {
            top->clk = level;
            top->eval();
            context.timeInc(1);
        }
        if (top->rst) continue;
        top->rx = sender.level(terminal.in);
        receiver.level(top->tx, terminal.out);
        if (top->fault)
            throw std::runtime_error("The board reports fault " + std::to_string(top->fault));
    }
    top->final();
}

}  // namespace

int main(int argc, char** argv) {
    const int divisor = argc == 2 ? std::atoi(argv[1]) : 0;
    if (divisor < 1) {
        std::fprintf(stderr, "Argument must be the cycles of a bit\n");
        return 2;
    }
    try {
        run(divisor);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
