"""Local training: the optimiser step, the proximal term, control variates, the work budget.

Nothing is imported here: a configuration is checked with :mod:`common.client.work` alone, before
torch is there.
"""
