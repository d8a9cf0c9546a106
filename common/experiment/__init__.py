"""A configuration -> a run and its files: front ends, checkpoints, recorder, sweeps.

Nothing is imported here: a configuration is checked with :mod:`common.experiment.config` alone,
before torch and Flower are there.
"""
