"""The ULX3S: an ECP5-85F with SDRAM and a serial port over USB, finished with open tools."""
