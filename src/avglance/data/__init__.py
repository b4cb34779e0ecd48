"""Datasets: records and their truth, the cache that training reads, and generated worlds."""
