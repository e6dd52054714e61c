"""`python -m fer_lightning` is `fer`."""

from fer_lightning.cli import main

if __name__ == "__main__":
    main()
