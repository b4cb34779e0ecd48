"""The command and the public calls: the only room that prints."""
