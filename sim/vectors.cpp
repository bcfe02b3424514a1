// Plays input vectors through a design, one a clock: from standard input to the wide port i, and
// from the wide port o, just after the rising edge, to standard output.
#include <cstdio>

#include "Vtop.h"

int main() {
    Vtop top;
    while (std::fread(&top.i, sizeof top.i, 1, stdin) == 1) {
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
        std::fwrite(&top.o, sizeof top.o, 1, stdout);
    }
}
