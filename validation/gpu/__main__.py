"""The command python -m validation.gpu."""

from validation.gpu.stages import main

main()
