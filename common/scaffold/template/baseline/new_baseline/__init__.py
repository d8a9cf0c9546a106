"""NewBaseline. TODO: say which paper this replicates."""
