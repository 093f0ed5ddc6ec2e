"""`python -m picochat` is the command `picochat`."""

from picochat.cli import main

if __name__ == "__main__":
    main()
