"""What a client's update weighs less by: sparsifiers, quantisers, error feedback, wire format.

Pure NumPy. Nothing is imported here: a configuration is checked with
:mod:`common.compression.options` alone.
"""
