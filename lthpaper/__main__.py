"""python -m lthpaper"""

from lthpaper.cli.main import main

main()
