"""When federated fine-tuning of DistilBERT on AG News breaks, measured fairly."""
