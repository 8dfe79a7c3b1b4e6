"""The rules: what follows from a request. One file an operation, each a pure function of all it depends on."""
