"""How a step is computed: devices and processes, precision, recorded graphs, and kernels that the library lacks.

It stands above the input pipeline, whose batches it shares among processes.
"""
