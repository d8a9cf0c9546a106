"""Server side: sampling, stragglers, FedAvg, FedProx, adaptive mu.

Nothing is imported here: a configuration is checked with :mod:`common.strategy.cohort` alone,
before torch and Flower are there.
"""
