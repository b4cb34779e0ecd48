"""Official lists of public benchmarks, read as people have them; nothing is downloaded."""

from avglance.data.benchmarks.listed import Listed, Listing
from avglance.data.benchmarks.making import READERS, Made, make_dataset, make_from_list, read_benchmark

__all__ = ["READERS", "Listed", "Listing", "Made", "make_dataset", "make_from_list", "read_benchmark"]
