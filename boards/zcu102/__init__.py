"""The ZCU102 of AMD: a Zynq UltraScale+ whose processors run Linux beside the accelerator."""
