"""python -m lthpaper"""

from lthpaper.cli import main

main()
