"""FedAvg and FedProx on ImageNet with a pre-trained ResNet: a benchmark that was never run."""
