"""Train nano, the embedded model, from nothing but this repository."""
