"""FedProx: Federated Optimization in Heterogeneous Networks (Li et al. 2020, arXiv 1812.06127)."""
