"""Benchmarks of the whole product: what each idea, engine and process costs, in one run."""
