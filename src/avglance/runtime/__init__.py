"""Exported graphs and a numpy host loop that makes their choices: answers without torch."""

from __future__ import annotations

from avglance.runtime.choosing import Decision
from avglance.runtime.folder import GRAPHS, GraphEntry, Manifest, has_graphs, read_graphs, write_graphs
from avglance.runtime.hosts import Host, LoadedGraphs, load_graphs
from avglance.runtime.session import can_run

__all__ = [
    "GRAPHS",
    "Decision",
    "GraphEntry",
    "Host",
    "LoadedGraphs",
    "Manifest",
    "can_run",
    "has_graphs",
    "load_graphs",
    "read_graphs",
    "write_graphs",
]
