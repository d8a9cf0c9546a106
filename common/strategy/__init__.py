"""Server side: sampling, stragglers, FedAvg, FedProx, mu over rounds, server optimisers, drift.

Nothing is imported here: a configuration is checked with :mod:`common.strategy.cohort` and
:mod:`common.strategy.mu_schedule` alone, before torch and Flower are there.
"""
