"""`python -m deepseek_server`, the same as the command `deepseek-server`."""

from deepseek_server.app import main

main()
