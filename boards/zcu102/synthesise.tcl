# Stage synthesise.

reset_run synth_1
run synth_1
