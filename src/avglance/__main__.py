"""``python -m avglance`` is the command ``avglance``."""

from avglance.app.cli import entry

if __name__ == "__main__":
    entry()
