"""How a step is computed: devices and processes, precision, recorded graphs, and kernels that the library lacks."""
