"""``python -m meterhouse`` is the command ``meterhouse``."""

from meterhouse.cli import main

if __name__ == "__main__":
    main()
