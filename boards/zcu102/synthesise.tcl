# Stage synthesise.

reset_run synth_1
complete_run synth_1
