"""`python -m homelab` is the `homelab` command."""

from homelab.cli.main import main

if __name__ == "__main__":
    main()
