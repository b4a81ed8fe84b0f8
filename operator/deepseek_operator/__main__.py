"""`python -m deepseek_operator`."""

from deepseek_operator.controller.main import main

if __name__ == "__main__":
    main()
