"""python -m validation.gpu."""

from validation.gpu.run import main

main()
