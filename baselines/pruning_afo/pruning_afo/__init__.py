"""Gradient compression, model pruning and adaptive federated optimisation on CIFAR-10."""
