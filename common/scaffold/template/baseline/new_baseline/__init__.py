"""NewBaseline: say here which paper this replicates."""
