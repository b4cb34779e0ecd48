"""Exported graphs and a numpy host loop that makes their choices: answers without torch."""

from __future__ import annotations

from avglance.runtime.choosing import Decision
from avglance.runtime.folder import (
    GRAPHS,
    GraphEntry,
    GraphFolder,
    Manifest,
    has_graphs,
    read_graphs,
    reads_graphs,
    write_graphs,
)
from avglance.runtime.graph import BY, By
from avglance.runtime.hosts import Host, LoadedGraphs, load_graphs
from avglance.runtime.shared import share

__all__ = [
    "BY",
    "GRAPHS",
    "By",
    "Decision",
    "GraphEntry",
    "GraphFolder",
    "Host",
    "LoadedGraphs",
    "Manifest",
    "has_graphs",
    "load_graphs",
    "read_graphs",
    "reads_graphs",
    "share",
    "write_graphs",
]
