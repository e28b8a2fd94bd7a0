"""The input pipeline: from the faces of a split to varied, mixed batches with their targets."""
