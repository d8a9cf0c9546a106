"""Server side: sampling, stragglers, FedAvg, FedProx, adaptive mu."""
