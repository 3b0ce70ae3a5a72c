"""Facts of this machine: cores, GPUs, ports; nothing is chosen here."""
