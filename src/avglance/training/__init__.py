"""Training: stages as data, one loop, a run folder that explains itself, and a state to resume from."""

from avglance.training.settings import Told, TrainSettings
from avglance.training.start import train

__all__ = ["Told", "TrainSettings", "train"]
