"""The user's own machine: what is installed and works (`mien doctor`), and how fast it is (`mien bench`)."""
