"""Where entries are kept: the promises (`protocol`), how turns become groups (`gather`), and the engines."""
