"""The rules and their words: pure, without clock, chance, socket, file, SQL or log."""
