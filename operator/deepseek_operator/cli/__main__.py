"""`python -m deepseek_operator.cli`."""

from deepseek_operator.cli.start import main

if __name__ == "__main__":
    main()
