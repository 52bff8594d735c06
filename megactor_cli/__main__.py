"""`python -m megactor_cli`, and with it `accelerate launch -m megactor_cli`."""

from megactor_cli.app import main

main()
