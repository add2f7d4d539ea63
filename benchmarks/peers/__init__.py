"""The peers, one module each. Adding one is described in ``benchmarks/README.md``."""
